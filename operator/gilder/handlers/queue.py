"""A work queue of keys: each at most once waiting and once worked on, later with a pause, and
groups of keys (namespaces) in turn, so that a large one does not keep small ones waiting."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF = 1.0  # seconds; doubles with each failure in a row
LAST_BACKOFF = 300.0


class WorkQueue(Generic[K]):
    """Keys with the moment since which the data they are worked on with must be true."""

    def __init__(self, group: Callable[[K], Hashable] = lambda _: None) -> None:
        self._group = group
        # Group -> key -> since. Insertion order is the queue; a group that had its turn goes last.
        self._ready: dict[Hashable, dict[K, float]] = {}
        self._later: list[tuple[float, int, K, float]] = []
        self._due: dict[K, float] = {}  # the earliest time in _later that counts
        self._working: dict[K, float] = {}  # since when
        self._moved = time.monotonic()  # when work was last taken, or there was none
        self._failures: dict[K, int] = {}
        self._number = itertools.count()
        self._wake = asyncio.Condition()
        self._closed = False

    async def add(self, key: K, since: float) -> None:
        """Work on `key` with data not older than `since` (monotonic)."""
        async with self._wake:
            self._put(key, since)
            self._wake.notify_all()

    async def add_later(self, key: K, seconds: float, since: float) -> None:
        """As `add`, after a pause; the shortest pause asked for counts."""
        due = time.monotonic() + seconds
        async with self._wake:
            if due < self._due.get(key, float("inf")):
                self._due[key] = due
                heapq.heappush(self._later, (due, next(self._number), key, since))
            self._wake.notify_all()

    async def take(self) -> tuple[K, float] | None:
        """The next key that nobody works on, with its `since`; None once closed."""
        async with self._wake:
            while not self._closed:
                self._ripen()
                if (found := self._next()) is not None:
                    self._working[found[0]] = self._moved = time.monotonic()
                    self._due.pop(found[0], None)
                    return found
                pause = self._later[0][0] - time.monotonic() if self._later else None
                try:
                    await asyncio.wait_for(self._wake.wait(), pause)
                except TimeoutError:
                    continue
            return None

    async def done(self, key: K) -> None:
        async with self._wake:
            self._working.pop(key, None)
            self._wake.notify_all()

    def backoff(self, key: K) -> float:
        """The pause after one more failure of this key, in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return min(FIRST_BACKOFF * 2.0 ** min(failures, 16), LAST_BACKOFF)

    def forgive(self, key: K) -> None:
        self._failures.pop(key, None)

    async def close(self) -> None:
        async with self._wake:
            self._closed = True
            self._wake.notify_all()

    def __len__(self) -> int:
        return sum(len(keys) for keys in self._ready.values()) + len(self._working)

    def longest(self) -> tuple[K, float] | None:
        """What has been worked on for longest, and since when (monotonic)."""
        return min(self._working.items(), key=lambda item: item[1], default=None)

    def waiting(self) -> float | None:
        """Since when work has waited without any being taken (monotonic); None: there is none."""
        return self._moved if self._ready else None

    def _put(self, key: K, since: float) -> None:
        if not self._ready:
            self._moved = time.monotonic()
        keys = self._ready.setdefault(self._group(key), {})
        keys[key] = max(since, keys.get(key, since))

    def _next(self) -> tuple[K, float] | None:
        for group, keys in self._ready.items():
            for key, since in keys.items():
                if key in self._working:
                    continue
                del keys[key], self._ready[group]
                if keys:
                    self._ready[group] = keys
                return key, since
        return None

    def _ripen(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            due, _, key, since = heapq.heappop(self._later)
            if self._due.get(key) == due:  # else overtaken by an earlier look
                del self._due[key]
                self._put(key, since)
