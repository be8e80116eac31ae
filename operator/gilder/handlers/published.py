"""ConfigMaps that tell released versions, as last listed, by the GoldenImage that owns them."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from gilder.api.names import ANNOTATION_DATA, LABEL_IMAGE
from gilder.core.actions import PutConfigMap, ReleaseConfigMap
from gilder.core.published import Maps, SeenMap
from gilder.handlers.store import Key


class PublishedList:
    """Replaced as a whole by each listing; safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._maps: dict[Key, tuple[SeenMap, ...]] = {}
        self._made: dict[tuple[str, str], tuple[SeenMap | None, Key | None, float]] = {}
        self._failure = ""
        self._listed = False

    def now(self) -> float:
        """For `replace`: when its listing was begun."""
        return self._clock()

    def replace(
        self, bodies: Iterable[Mapping[str, Any]], began: float, wanted: Iterable[Key] = ()
    ) -> set[Key]:
        """Take in a listing; the GoldenImages whose ConfigMaps differ from before, or all that are
        `wanted` when there was none before that could be relied on."""
        found: dict[Key, list[SeenMap]] = {}
        for body in bodies:
            key, seen = parse(body)
            found.setdefault(key, []).append(seen)
        with self._lock:
            # What was written while the listing was under way may be older in it.
            self._made = {k: v for k, v in self._made.items() if v[2] >= began}
            for (namespace, name), (seen_now, owner, _) in self._made.items():
                _replace(found, namespace, name, owner, seen_now)
            now = {k: tuple(sorted(v, key=lambda m: m.name)) for k, v in found.items() if v}
            before, self._maps = self._maps, now
            relied = self._listed and not self._failure
            self._listed, self._failure = True, ""
        if not relied:
            return {*before, *now, *wanted}
        return {k for k in before.keys() | now.keys() if before.get(k) != now.get(k)}

    def failed(self, why: str) -> None:
        """They could not be listed; what was known is not to be relied on."""
        with self._lock:
            self._failure = why

    def rest(self) -> None:
        """Nobody looks from now on, so that what is known grows old."""
        with self._lock:
            self._listed = False

    def wrote(self, body: Mapping[str, Any]) -> None:
        """One was written just now; `body` is as Kubernetes answered."""
        key, seen = parse(body)
        self._note(seen.namespace, seen.name, key, seen)

    def left(self, namespace: str, name: str) -> None:
        """One was deleted just now."""
        self._note(namespace, name, None, None)

    def of(self, key: Key) -> Maps:
        with self._lock:
            good = self._listed and not self._failure
            waits = not self._listed and not self._failure
            return Maps(good, self._maps.get(key, ()), self._failure, waits)

    def _note(self, namespace: str, name: str, owner: Key | None, seen: SeenMap | None) -> None:
        with self._lock:
            found = {k: list(v) for k, v in self._maps.items()}
            _replace(found, namespace, name, owner, seen)
            self._maps = {k: tuple(v) for k, v in found.items() if v}
            self._made[(namespace, name)] = (seen, owner, self._clock())


def _replace(
    found: dict[Key, list[SeenMap]],
    namespace: str,
    name: str,
    owner: Key | None,
    seen: SeenMap | None,
) -> None:
    for key, some in found.items():
        if key.namespace == namespace:
            some[:] = [m for m in some if m.name != name]
    if owner is not None and seen is not None:
        found.setdefault(owner, []).append(seen)


def parse(body: Mapping[str, Any]) -> tuple[Key, SeenMap]:
    """A ConfigMap with the GoldenImage that owns it, by owner reference or else by its label."""
    meta = body["metadata"]
    labels = dict(meta.get("labels") or {})
    owner: Mapping[str, Any] = next(
        (o for o in meta.get("ownerReferences") or [] if o.get("kind") == "GoldenImage"), {}
    )
    namespace = meta.get("namespace", "default")
    name = str(owner.get("name") or labels.get(LABEL_IMAGE, ""))
    return Key("GoldenImage", namespace, name), SeenMap(
        namespace=namespace,
        name=meta["name"],
        uid=str(meta.get("uid", "")),
        resource_version=str(meta.get("resourceVersion", "")),
        data=dict(body.get("data") or {}),
        labels={k: v for k, v in labels.items() if k == LABEL_IMAGE},
        digest=str((meta.get("annotations") or {}).get(ANNOTATION_DATA, "")),
        owner=str(owner.get("uid", "")),
        deleting=bool(meta.get("deletionTimestamp")),
    )


class Writer(Protocol):
    """What handlers.kube offers."""

    def put_map(self, action: PutConfigMap) -> Mapping[str, Any]: ...
    def delete_map(self, namespace: str, name: str, uid: str) -> None: ...
    def release_map(self, action: ReleaseConfigMap) -> None: ...


class ListedMaps:
    """ConfigMaps of the cluster, as gilder.reconcile.ports.PublishedMaps; what is done to them is
    noted."""

    def __init__(self, kube: Writer, known: PublishedList) -> None:
        self._kube = kube
        self._known = known

    def put(self, action: PutConfigMap) -> None:
        self._known.wrote(self._kube.put_map(action))

    def remove(self, namespace: str, name: str, uid: str) -> None:
        self._kube.delete_map(namespace, name, uid)
        self._known.left(namespace, name)

    def release(self, action: ReleaseConfigMap) -> None:
        self._kube.release_map(action)
        self._known.left(action.namespace, action.name)
