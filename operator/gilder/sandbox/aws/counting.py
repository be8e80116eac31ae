"""Counts of AWS calls by service, action, Region and account."""

import threading
from collections import Counter, deque
from typing import NamedTuple


class CallKey(NamedTuple):
    """What is counted."""

    service: str
    action: str
    region: str
    account: str


class Requests:
    """Every call that reached the server, also those that a fault answered."""

    def __init__(self, history: int = 20_000) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[CallKey] = Counter()
        self._history: deque[CallKey] = deque(maxlen=history)

    def record(self, key: CallKey) -> None:
        with self._lock:
            self._counts[key] += 1
            self._history.append(key)

    def reset(self) -> None:
        with self._lock:
            self._counts.clear()
            self._history.clear()

    def snapshot(self) -> dict[CallKey, int]:
        with self._lock:
            return dict(self._counts)

    def history(self) -> list[CallKey]:
        """The calls in the order of their arrival (the newest 20,000)."""
        with self._lock:
            return list(self._history)

    def total(
        self,
        action: str | None = None,
        *,
        service: str | None = None,
        region: str | None = None,
        account: str | None = None,
    ) -> int:
        """The number of calls that match everything given."""
        wanted = (service, action, region, account)
        return sum(
            n
            for key, n in self.snapshot().items()
            if all(w is None or w == k for w, k in zip(wanted, key, strict=True))
        )

    def by_action(self) -> dict[str, int]:
        out: Counter[str] = Counter()
        for key, n in self.snapshot().items():
            out[f"{key.service}:{key.action}"] += n
        return dict(sorted(out.items()))
