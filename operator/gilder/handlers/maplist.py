"""ConfigMaps with account ids as last listed."""

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from gilder.reconcile.ports import ClusterError

Name = tuple[str, str]  # namespace, name

NOT_LISTED = "ConfigMaps were not listed yet"


class MapList:
    """Replaced as a whole by each listing; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._data: dict[Name, dict[str, str]] = {}
        self._failure = NOT_LISTED

    def replace(self, bodies: Iterable[Mapping[str, Any]], wanted: Iterable[Name]) -> set[Name]:
        """Take in a listing; the ConfigMaps that differ from before, or all that are `wanted` when
        there was none before that could be relied on."""
        now: dict[Name, dict[str, str]] = {}
        for body in bodies:
            meta = body["metadata"]
            now[(meta.get("namespace", "default"), meta["name"])] = dict(body.get("data") or {})
        with self._lock:
            before, self._data = self._data, now
            failed, self._failure = self._failure, ""
        if failed:
            return {*before, *now, *wanted}
        return {k for k in before.keys() | now.keys() if before.get(k) != now.get(k)}

    def failed(self, why: str) -> None:
        """They could not be listed; what was known is not to be relied on."""
        with self._lock:
            self._failure = why

    def read(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """As gilder.reconcile.ports.ConfigMaps."""
        with self._lock:
            if self._failure:
                raise ClusterError(self._failure, permanent=False)
            return self._data.get((namespace, name))
