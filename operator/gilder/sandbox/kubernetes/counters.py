"""Counts of requests by verb and resource, for benchmarks."""

import threading
from collections import Counter


class Requests:
    """Requests since the last reset; verbs are those of RBAC (get, list, watch, patch...)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, verb: str, resource: str) -> None:
        with self._lock:
            self._counts[verb, resource] += 1

    def reset(self) -> None:
        with self._lock:
            self._counts.clear()

    def snapshot(self) -> dict[tuple[str, str], int]:
        """A copy of all counts."""
        with self._lock:
            return dict(self._counts)

    def count(self, verb: str = "", resource: str = "") -> int:
        """Requests of a verb, of a resource, of both or (without arguments) all of them."""
        return sum(
            n
            for (v, r), n in self.snapshot().items()
            if (not verb or v == verb) and (not resource or r == resource)
        )
