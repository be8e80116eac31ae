"""Values that are remembered with the time at which their reading began."""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

NEVER = float("-inf")

Clock = Callable[[], float]


class Remembered(Generic[K, V]):
    """Values by key, each with the monotonic time at which its reading began."""

    def __init__(self) -> None:
        self._values: dict[K, tuple[V, float]] = {}
        self._expired: dict[K, float] = {}

    def get(self, key: K, since: float) -> V | None:
        value, at = self._values.get(key, (None, NEVER))
        return value if at >= since else None

    def put(self, key: K, value: V, at: float) -> V:
        if at >= self._expired.get(key, NEVER):
            self._expired.pop(key, None)
            self._values[key] = (value, at)
        return value

    def expire(self, key: K, at: float) -> None:
        """Forget a value, and do not take in one whose reading is under way and began before."""
        self._expired[key] = at
        self._values.pop(key, None)

    def keys_where(self, test: Callable[[V], bool]) -> list[K]:
        return [k for k, (value, _) in list(self._values.items()) if test(value)]

    def amend(self, key: K, change: Callable[[V], V], at: float) -> None:
        """Change a value that is known; it stays as old as it was. One whose reading is under way
        and began before is not taken in."""
        self._expired[key] = at
        if (known := self._values.get(key)) is not None:
            self._values[key] = (change(known[0]), known[1])

    def keep(self, only: Iterable[K]) -> None:
        """Drop every key that is not named, so that memory does not grow with what is gone."""
        wanted = set(only)
        for key in [k for k in self._values if k not in wanted]:
            del self._values[key]
        for key in [k for k in self._expired if k not in wanted]:
            del self._expired[key]
