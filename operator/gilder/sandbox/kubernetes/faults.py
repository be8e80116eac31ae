"""Faults that tests inject: failing requests, dropped watches, lost history, an outage."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gilder.sandbox.kubernetes.errors import MODIFIED, ApiError, plain

if TYPE_CHECKING:
    from gilder.sandbox.kubernetes.server import Server


@dataclass
class _Rule:
    method: re.Pattern[str]
    path: re.Pattern[str]
    left: int
    error: Callable[[], ApiError]


Hook = Callable[[str, str], None]
WRITES = "POST|PUT|PATCH|DELETE"


class Faults:
    """Callable from any thread."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self.struck = 0  # requests that got an error
        self._hooks: list[tuple[re.Pattern[str], re.Pattern[str], Hook, bool]] = []
        # Answer a watch from a compacted version with HTTP 410 instead of an ERROR event.
        self.gone_as_status = False

    def fail(
        self,
        count: int = 1,
        *,
        method: str = ".*",
        path: str = ".*",
        status: int = 500,
        message: str = "injected fault",
    ) -> None:
        """Answer the next matching requests with an error; both patterns match anywhere."""
        self._add(count, method, path, lambda: plain(status, message))

    def conflict(self, count: int = 1, *, method: str = "PUT|PATCH", path: str = ".*") -> None:
        """Answer the next matching writes with 409 Conflict."""
        message = f"Operation cannot be fulfilled: {MODIFIED}"
        self._add(count, method, path, lambda: plain(409, message))

    def before(self, callback: Hook, *, method: str = WRITES, path: str = ".*") -> None:
        """Run `callback(method, path)` before requests take effect; an ApiError that it raises is
        the answer instead. It holds up the server."""
        self._hook(callback, method, path, after=False)

    def after(self, callback: Hook, *, method: str = WRITES, path: str = ".*") -> None:
        """The same after they took effect, before the answer is sent."""
        self._hook(callback, method, path, after=True)

    def clear(self) -> None:
        """Forget the rules that were not used up, and what is to be run."""
        with self._lock:
            self._rules.clear()
            self._hooks.clear()

    @property
    def pending(self) -> int:
        """How many requests are still to fail."""
        with self._lock:
            return sum(r.left for r in self._rules)

    def drop_watches(self) -> int:
        """Close all watches now, without an event; says how many there were."""
        return self._server.call(self._server.watches.drop)

    def compact(self) -> None:
        """Forget the history: watches from any version known by now answer 410."""
        self._server.call(self._server.store.compact)

    def expire_watches(self) -> int:
        """Compact, and end all running watches with an ERROR event of code 410."""

        def expire() -> int:
            self._server.store.compact()
            return self._server.watches.expire()

        return self._server.call(expire)

    def pause(self, seconds: float | None = None) -> None:
        """Take the API down: connections break and are refused until the time is over."""
        self._server.pause(seconds)

    def resume(self) -> None:
        """End a pause."""
        self._server.resume()

    def _add(self, count: int, method: str, path: str, error: Callable[[], ApiError]) -> None:
        rule = _Rule(re.compile(method), re.compile(path), count, error)
        with self._lock:
            self._rules.append(rule)

    def _hook(self, callback: Hook, method: str, path: str, *, after: bool) -> None:
        with self._lock:
            self._hooks.append((re.compile(method), re.compile(path), callback, after))

    def run(self, method: str, path: str, *, after: bool) -> None:
        """Run what is to be run around this request."""
        with self._lock:
            hooks = [
                h for m, p, h, a in self._hooks
                if a is after and m.fullmatch(method) and p.search(path)
            ]  # fmt: skip
        for hook in hooks:
            hook(method, path)

    def taken(self, method: str, path: str) -> ApiError | None:
        """The error that this request shall get; uses up one of its rule."""
        with self._lock:
            for rule in self._rules:
                if rule.method.fullmatch(method) and rule.path.search(path):
                    rule.left -= 1
                    self.struck += 1
                    if not rule.left:
                        self._rules.remove(rule)
                    return rule.error()
        return None
