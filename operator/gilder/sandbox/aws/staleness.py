"""Reads that lag behind writes: for some time after a change, what was answered before it."""

import re
import threading
import time
from collections.abc import Iterable
from typing import Any

from gilder.sandbox.aws.counting import CallKey

READS = re.compile("(Describe|Get|List).*")
# Never answered from before: they read nothing that is changed, or are what a change waits for.
NEVER = frozenset({"GetCallerIdentity", "DescribeRegions", "GetCommandInvocation"})

Reply = tuple[tuple[Any, ...], list[bytes]]


class Stale:
    """With `lag` seconds, a read that was made before the last change is answered as it was then
    until the change is that old. The account of the change does not matter."""

    def __init__(self) -> None:
        self.lag = 0.0
        self.served = 0  # answers from before a change
        self._lock = threading.Lock()
        self._known: dict[tuple[CallKey, bytes], tuple[float, Reply]] = {}
        self._wrote = float("-inf")

    def reset(self) -> None:
        with self._lock:
            self.lag = 0.0
            self._known.clear()

    def reply(self, key: CallKey, request: bytes, fresh: Reply) -> Reply:
        """The answer to give, of which `fresh` is the true one."""
        now = time.monotonic()
        with self._lock:
            if not READS.fullmatch(key.action):
                self._wrote = now
                return fresh
            if key.action in NEVER:
                return fresh
            at, before = self._known.get((key, request), (now, fresh))
            if at < self._wrote and now - self._wrote < self.lag:
                self.served += 1
                return before
            self._known[(key, request)] = (now, fresh)
            return fresh


def whole(sent: Iterable[tuple[Any, ...]], body: Iterable[bytes]) -> Reply:
    return (next(iter(sent)), [b"".join(body)])
