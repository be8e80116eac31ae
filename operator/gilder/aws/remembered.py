"""Values that are remembered with the time at which their reading began."""

import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

LONGEST = 1800.0  # seconds that any reading may last
NEVER = float("-inf")

Clock = Callable[[], float]


class Remembered(Generic[K, V]):
    """Values by key, each with the monotonic time at which its reading began."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[K, tuple[V, float]] = {}
        self._expired: dict[K, float] = {}
        self._pruned = NEVER

    def get(self, key: K, since: float) -> V | None:
        with self._lock:
            value, at = self._values.get(key, (None, NEVER))
        return value if at >= since else None

    def put(self, key: K, value: V, at: float) -> V:
        with self._lock:
            if at >= self._expired.get(key, NEVER):
                self._expired.pop(key, None)
                self._values[key] = (value, at)
        return value

    def expire(self, key: K, at: float) -> None:
        """Forget a value, and do not take in one whose reading is under way and began before."""
        with self._lock:
            self._mark(key, at)
            self._values.pop(key, None)

    def keys_where(self, test: Callable[[V], bool]) -> list[K]:
        with self._lock:
            return [k for k, (value, _) in self._values.items() if test(value)]

    def amend(self, key: K, change: Callable[[V], V], at: float) -> None:
        """Change a value that is known; it stays as old as it was. One whose reading is under way
        and began before is not taken in."""
        with self._lock:
            self._mark(key, at)
            if (known := self._values.get(key)) is not None:
                self._values[key] = (change(known[0]), known[1])

    def keep(self, only: Iterable[K]) -> None:
        """Drop every value that is not named, so that memory does not grow with what is gone."""
        wanted = set(only)
        with self._lock:
            for key in [k for k in self._values if k not in wanted]:
                del self._values[key]

    def _mark(self, key: K, at: float) -> None:
        """Note since when a reading must have begun; what no reading lasts as long as is let go."""
        self._expired[key] = at
        if at - self._pruned > LONGEST:
            self._pruned = at
            self._expired = {k: t for k, t in self._expired.items() if at - t <= LONGEST}
