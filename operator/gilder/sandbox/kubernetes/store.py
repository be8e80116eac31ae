"""Objects, their versions and the bounded history of changes; no HTTP and no rules of the API."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
Storage = tuple[str, str]
Key = tuple[str, str]  # namespace (empty when cluster-scoped) and name


class CompactedError(Exception):
    """The version asked for lies before the kept history."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {asked} ({oldest})")
        self.asked = asked
        self.oldest = oldest


@dataclass(frozen=True)
class Change:
    """One write: what an object was and what it became."""

    revision: int
    storage: Storage
    key: Key
    before: Object | None
    after: Object | None


class Store:
    """Stored objects are never mutated: a write replaces the whole object."""

    def __init__(self, history: int = 5000) -> None:
        self.revision = 1
        # The oldest revision that a new watch may start from, and the newest forgotten change.
        self.compacted = 0
        self._dropped = 0
        self.listeners: set[Callable[[], None]] = set()
        self._history: deque[Change] = deque()
        self._limit = history
        self._objects: dict[Storage, dict[Key, Object]] = {}

    def get(self, storage: Storage, key: Key) -> Object | None:
        return self._objects.get(storage, {}).get(key)

    def select(self, storage: Storage, namespace: str = "") -> list[Object]:
        """Objects in the order of etcd: by namespace and name."""
        found = self._objects.get(storage, {})
        return [found[k] for k in sorted(found) if not namespace or k[0] == namespace]

    def select_at(self, storage: Storage, revision: int, namespace: str = "") -> list[Object]:
        """Objects as they were at an earlier revision."""
        if revision == self.revision:
            return self.select(storage, namespace)
        if revision < self.compacted:
            raise CompactedError(revision, self.compacted)
        found = dict(self._objects.get(storage, {}))
        for change in reversed(self._history):
            if change.revision <= revision:
                break
            if change.storage != storage:
                continue
            if change.before is None:
                found.pop(change.key, None)
            else:
                found[change.key] = change.before
        return [found[k] for k in sorted(found) if not namespace or k[0] == namespace]

    def count(self, storage: Storage) -> int:
        return len(self._objects.get(storage, {}))

    def storages(self) -> list[Storage]:
        return [s for s, objects in self._objects.items() if objects]

    def put(self, storage: Storage, key: Key, obj: Object) -> Object:
        """Create or replace an object; the result carries its new version."""
        obj = _versioned(obj, self.revision + 1)
        before = self.get(storage, key)
        self._objects.setdefault(storage, {})[key] = obj
        self._record(storage, key, before, obj)
        return obj

    def remove(self, storage: Storage, key: Key) -> Object:
        """Remove an object; the result is its last state with the version of the removal."""
        before = self._objects[storage].pop(key)
        self._record(storage, key, before, None)
        return _versioned(before, self.revision)

    def changes(self, storage: Storage, since: int) -> Iterator[Change]:
        """Changes after a revision, oldest first, unless one of them was forgotten."""
        if since < self._dropped:
            raise CompactedError(since, self.compacted)
        newer: list[Change] = []
        for change in reversed(self._history):
            if change.revision <= since:
                break
            if change.storage == storage:
                newer.append(change)
        return reversed(newer)

    def compact(self) -> None:
        """Forget the history: every version that a client knows by now is too old."""
        if self._history:
            self._dropped = self._history[-1].revision
        self.revision += 1
        self._history.clear()
        self.compacted = self.revision

    def _record(
        self, storage: Storage, key: Key, before: Object | None, after: Object | None
    ) -> None:
        self.revision += 1
        self._history.append(Change(self.revision, storage, key, before, after))
        while len(self._history) > self._limit:
            self._dropped = self.compacted = self._history.popleft().revision
        for listener in list(self.listeners):
            listener()


def _versioned(obj: Object, revision: int) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}}


def versioned(obj: Object, revision: int) -> Object:
    """The object with another resourceVersion."""
    return _versioned(obj, revision)
