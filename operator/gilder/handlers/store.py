"""The custom resources as last seen, kept in memory and handed out as scopes."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from gilder.api import GoldenImage, ImageShare, SpecError, parse_object
from gilder.api.imageshare import ImageRef, ImageShareSpec, ImageShareStatus
from gilder.core.needs import RegionNeeds
from gilder.core.sharing import Share, recorded
from gilder.reconcile.inventory import ImageScope, Inventory, ShareScope

Kind = Literal["GoldenImage", "ImageShare"]
Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """One object of ours."""

    kind: Kind
    namespace: str
    name: str

    @property
    def path(self) -> str:
        """`<namespace>/<name>`."""
        return f"{self.namespace}/{self.name}"

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"


def key_of(body: Body) -> Key:
    meta = body["metadata"]
    return Key(body["kind"], meta.get("namespace", "default"), meta["name"])


class Store:
    """Bodies by key. An older resourceVersion never replaces a newer one of the same object."""

    def __init__(self, cluster: str) -> None:
        self._lock = threading.Lock()
        self._bodies: dict[Key, Body] = {}
        self._parsed: dict[Key, GoldenImage | ImageShare | SpecError] = {}
        self._inventory = Inventory(cluster)

    def put(self, body: Body) -> bool:
        """Take in an object; False when what is known is as new."""
        key = key_of(body)
        with self._lock:
            known = self._bodies.get(key)
            if known is not None and _older_or_same(body, known):
                return False
            self._bodies[key] = body
            self._parsed[key] = self._parse(key, body)
            return True

    def _parse(self, key: Key, body: Body) -> GoldenImage | ImageShare | SpecError:
        try:
            found = parse_object(body)
        except SpecError as error:
            if key.kind == "ImageShare":
                self._inventory.put_unreadable(_unreadable(key, body, str(error)))
            else:
                labels = body["metadata"].get("labels") or {}
                self._inventory.put_unreadable_image(key.namespace, key.name, labels)
            return error
        if isinstance(found, GoldenImage):
            self._inventory.put_image(found)
        else:
            self._inventory.put_share(found)
        return found

    def drop(self, key: Key) -> None:
        with self._lock:
            self._bodies.pop(key, None)
            self._parsed.pop(key, None)
            if key.kind == "GoldenImage":
                self._inventory.drop_image(key.path)
            else:
                self._inventory.drop_share(key.path)

    def replace(self, bodies: Iterable[Body]) -> None:
        """Take in a full listing; what it lacks is gone."""
        listed = list(bodies)
        keys = {key_of(b) for b in listed}
        for key in [k for k in self.known() if k not in keys]:
            self.drop(key)
        for body in listed:
            self.put(body)

    def known(self) -> list[Key]:
        with self._lock:
            return sorted(self._bodies, key=lambda k: (k.kind, k.namespace, k.name))

    def body(self, key: Key) -> Body | None:
        with self._lock:
            return self._bodies.get(key)

    def parsed(self, key: Key) -> GoldenImage | ImageShare | SpecError | None:
        with self._lock:
            return self._parsed.get(key)

    def image_scope(self, key: Key) -> ImageScope:
        with self._lock:
            return self._inventory.image_scope(key.path)

    def share_scope(self, key: Key) -> ShareScope:
        with self._lock:
            return self._inventory.share_scope(key.path)

    def shares_of(self, key: Key) -> list[Key]:
        """Shares that follow this GoldenImage."""
        with self._lock:
            return [_share_key(p) for p in sorted(self._inventory.shares_of(key.path))]

    def needs(self) -> dict[str, RegionNeeds]:
        with self._lock:
            return self._inventory.needs()

    def leaving_images(self, namespace: str) -> list[Key]:
        """GoldenImages of a namespace that are being deleted."""
        with self._lock:
            found = self._inventory.images.values()
            return [
                Key("GoldenImage", namespace, i.metadata.name)
                for i in found
                if i.metadata.namespace == namespace and i.metadata.deleting
            ]


def _share_key(path: str) -> Key:
    namespace, name = path.split("/", 1)
    return Key("ImageShare", namespace, name)


def _unreadable(key: Key, body: Body, why: str) -> Share:
    """A share whose spec is not understood: nothing is taken from what its status claims."""
    try:
        status = ImageShareStatus.model_validate(body.get("status") or {})
    except ValidationError:
        status = ImageShareStatus()
    spec = ImageShareSpec(image_ref=ImageRef(name=key.name))
    grants = frozenset((g.region, g.key_id) for g in status.grants)
    return Share(key.path, key.namespace, spec, recorded(status), grants, unreadable=why)


def _older_or_same(body: Body, known: Body) -> bool:
    if body["metadata"].get("uid") != known["metadata"].get("uid"):
        return False
    new, old = (b["metadata"].get("resourceVersion", "") for b in (body, known))
    if new.isdecimal() and old.isdecimal():
        return int(new) <= int(old)
    return bool(new == old)
