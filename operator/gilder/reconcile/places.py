"""The cap of builds at once, over all GoldenImages of one operator."""

import threading


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
