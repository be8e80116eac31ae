"""Running watches: what each client has seen of the history and what it gets next."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from gilder.sandbox.kubernetes.errors import gone
from gilder.sandbox.kubernetes.kinds import Kind
from gilder.sandbox.kubernetes.registry import Registry
from gilder.sandbox.kubernetes.selectors import Predicate
from gilder.sandbox.kubernetes.store import Change, CompactedError, Object, Store, versioned
from gilder.sandbox.kubernetes.views import served

Render = Callable[[Object], Any]
Write = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Query:
    """What a client watches."""

    kind: Kind
    namespace: str
    matches: Predicate
    since: int
    timeout: float
    bookmarks: bool
    render: Render


class _Watch:
    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.end: Literal["", "dropped", "expired"] = ""

    def stop(self, how: Literal["dropped", "expired"]) -> None:
        self.end = how
        self.wake.set()


class DroppedError(Exception):
    """The connection of a watch is to be broken."""


class Watches:
    """All running watches of a server; lives in the server's event loop."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._running: set[_Watch] = set()
        self.bookmark_seconds = 60.0

    @property
    def running(self) -> int:
        return len(self._running)

    def drop(self) -> int:
        return self._stop("dropped")

    def expire(self) -> int:
        return self._stop("expired")

    def _stop(self, how: Literal["dropped", "expired"]) -> int:
        for watch in self._running:
            watch.stop(how)
        return len(self._running)

    async def stream(self, query: Query, write: Write) -> None:
        """Write events until the time is over, the version is too old or the kind is gone."""
        watch = _Watch()
        self._running.add(watch)
        self._store.listeners.add(watch.wake.set)
        try:
            await self._stream(watch, query, write)
        finally:
            self._running.discard(watch)
            self._store.listeners.discard(watch.wake.set)

    async def _stream(self, watch: _Watch, query: Query, write: Write) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + query.timeout
        bookmark = loop.time() + self.bookmark_seconds
        cursor = query.since
        if not cursor:
            cursor = self._store.revision
            for obj in self._store.select(query.kind.storage, query.namespace):
                if query.matches(obj):
                    await write(_event("ADDED", query.render(served(obj, query.kind))))
        live = not query.since
        while True:
            watch.wake.clear()
            if watch.end == "dropped":
                raise DroppedError
            try:
                if watch.end == "expired" or (not live and cursor < self._store.compacted):
                    raise CompactedError(cursor, self._store.compacted)
                for change in self._store.changes(query.kind.storage, cursor):
                    cursor = change.revision
                    for kind, obj in _seen(change, query):
                        await write(_event(kind, query.render(served(obj, query.kind))))
            except CompactedError as lost:
                await write(_event("ERROR", gone(str(lost)).status()))
                return
            live = True
            # A quiet watch keeps up with the writes to other resources.
            cursor = max(cursor, self._store.revision if not watch.wake.is_set() else 0)
            if self._registry.stored(query.kind.storage) is None:
                return
            now = loop.time()
            if query.bookmarks and now >= min(bookmark, deadline):
                await write(_event("BOOKMARK", query.render(_bookmark(query.kind, cursor))))
                bookmark = now + self.bookmark_seconds
            if now >= deadline:
                return
            until = min(deadline, bookmark) if query.bookmarks else deadline
            try:
                async with asyncio.timeout(until - now):
                    await watch.wake.wait()
            except TimeoutError:
                continue


def _event(kind: str, obj: Any) -> bytes:
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"


def _bookmark(kind: Kind, revision: int) -> Object:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"resourceVersion": str(revision), "creationTimestamp": None},
    }


def _seen(change: Change, query: Query) -> Iterator[tuple[str, Object]]:
    """What a change looks like through the selectors of a watch."""
    if query.namespace and change.key[0] != query.namespace:
        return
    before = change.before if change.before and query.matches(change.before) else None
    after = change.after if change.after and query.matches(change.after) else None
    if after is not None:
        yield ("ADDED" if before is None else "MODIFIED"), after
    elif before is not None:
        yield "DELETED", versioned(before, change.revision)
