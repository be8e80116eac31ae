"""Caps: of builds of one operator at once, and of copies into one Region of an account."""

import threading
from collections.abc import Collection
from dataclasses import dataclass, field


class Places:
    """Places for builds, by `<namespace>/<name>`. Safe to use from several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._taken: set[str] = set()

    def admit(self, key: str) -> bool:
        """Take a place, or keep the one it has; False when all are taken."""
        with self._lock:
            if key not in self._taken and len(self._taken) >= self._most:
                return False
            self._taken.add(key)
            return True

    def hold(self, key: str) -> None:
        """A build that is under way has its place, however many there are."""
        with self._lock:
            self._taken.add(key)

    def leave(self, key: str) -> None:
        with self._lock:
            self._taken.discard(key)

    def __len__(self) -> int:
        return len(self._taken)


# Seconds that a place in the line is kept; who is refused asks again after the longest backoff.
PATIENCE = 900.0
UNSEEN = 300.0  # seconds that a place is kept for an AMI that is not seen yet
REFUSED = 60.0  # seconds for which AWS's refusal counts, unless a copy ends before


@dataclass(slots=True)
class _Line:
    """Copies into one Region. Times are those of the caller's clock, in seconds."""

    waiting: dict[str, float] = field(default_factory=dict)  # token -> when it asked last
    begun: dict[str, tuple[float, str]] = field(default_factory=dict)  # token -> when, AMI
    full: frozenset[str] = frozenset()  # what was under way when AWS refused one more
    full_at: float | None = None


class CopyPlaces:
    """The cap of copies at once into each Region of one account, first come, first served.

    What is under way is what the Region shows, so that a restart forgets nothing; copies that were
    begun but are not seen yet are remembered here. Safe to use from several threads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._lines: dict[str, _Line] = {}

    def admit(
        self, region: str, token: str, seen: Collection[str], pending: Collection[str], now: float
    ) -> bool:
        """Whether the copy with this ClientToken may begin; it keeps its turn if not.

        `seen` are the AMIs that the Region shows, `pending` those of them that are under way.
        """
        with self._lock:
            line = self._lines.setdefault(region, _Line())
            young = {t: b for t, b in line.begun.items() if now - b[0] < UNSEEN}
            line.begun = {t: b for t, b in young.items() if b[1] not in seen}
            line.waiting[token] = now
            line.waiting = {t: at for t, at in line.waiting.items() if now - at < PATIENCE}
            if line.full_at is not None:
                if now - line.full_at < REFUSED and line.full <= frozenset(pending):
                    return False
                line.full_at = None
            begun = len(line.begun) - (token in line.begun)
            free = self._most - len(pending) - begun
            if list(line.waiting).index(token) >= free:
                return False
            del line.waiting[token]
            line.begun[token] = (now, "")
            return True

    def begun(self, region: str, token: str, image: str) -> None:
        """The copy was accepted as this AMI."""
        with self._lock:
            if (known := self._lines[region].begun.get(token)) is not None:
                self._lines[region].begun[token] = (known[0], image)

    def refused(
        self, region: str, token: str, pending: Collection[str], now: float, *, full: bool
    ) -> None:
        """The copy did not begin; `full`: since AWS takes no more into the Region for now."""
        with self._lock:
            line = self._lines[region]
            line.begun.pop(token, None)
            line.waiting = {token: now, **line.waiting}  # its turn has come already
            if full:
                line.full, line.full_at = frozenset(pending), now
