"""The custom resources as last seen, kept in memory and handed out as scopes."""

import json
import sys
import threading
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from gilder.api import GoldenImage, ImageShare, SpecError, parse_object
from gilder.api.imageshare import ImageRef, ImageShareSpec, ImageShareStatus
from gilder.core import pool
from gilder.core.needs import RegionNeeds
from gilder.core.shares import Share, recorded
from gilder.handlers.standing import Standing
from gilder.reconcile.inventory import ImageScope, Inventory, ShareScope, key_homes

# Levels of an object that are kept: some more than a pod template may have.
MOST_DEPTH = 100

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
    intern = sys.intern
    return Key(body["kind"], intern(meta.get("namespace", "default")), intern(meta["name"]))


class Store:
    """Bodies by key. An older resourceVersion never replaces a newer one of the same object."""

    def __init__(
        self, cluster: str, *, indexed: bool = False, accounts: Iterable[str] = ()
    ) -> None:
        self._lock = threading.Lock()
        self._standing: Standing[Key] | None = Standing() if indexed else None
        # As packed JSON, which takes a small fraction of the memory of what it is parsed to.
        self._bodies: dict[Key, bytes] = {}
        self._versions: dict[Key, tuple[str, str]] = {}  # uid, resourceVersion
        self._cluster = cluster
        self._inventory = Inventory(cluster, accounts)

    def put(self, body: Body) -> bool:
        """Take in an object; False when what is known is as new."""
        key = key_of(body)
        with self._lock:
            meta = body["metadata"]
            version = (meta.get("uid", ""), meta.get("resourceVersion", ""))
            if _older_or_same(version, self._versions.get(key)):
                return False
            self._versions[key] = version
            kept = {k: v for k, v in body.items() if k != "metadata"}
            kept["metadata"] = {k: v for k, v in meta.items() if k != "managedFields"}
            kept = shallow(kept)
            self._bodies[key] = zlib.compress(json.dumps(kept, separators=(",", ":")).encode())
            self._index(key, pool.strings(kept))
            return True

    def regroup(self, accounts: Iterable[str]) -> None:
        """The accounts that the operator acts in are others now."""
        with self._lock:
            self._inventory = Inventory(self._cluster, accounts)
            for key, text in self._bodies.items():
                self._index(key, json.loads(zlib.decompress(text)))

    def _index(self, key: Key, body: Body) -> None:
        if self._standing is not None:
            self._standing.put(key, body)
        try:
            found = parse_object(body)
        except SpecError as error:
            if key.kind == "ImageShare":
                status = _status(body)
                share = _unreadable(key, status, str(error))
                self._inventory.put_unreadable(share, status)
            else:
                labels = body["metadata"].get("labels") or {}
                self._inventory.put_unreadable_image(key.namespace, key.name, labels)
            return
        if isinstance(found, GoldenImage):
            self._inventory.put_image(found)
        else:
            self._inventory.put_share(found)

    def drop(self, key: Key) -> None:
        with self._lock:
            self._bodies.pop(key, None)
            self._versions.pop(key, None)
            if self._standing is not None:
                self._standing.drop(key)
            if key.kind == "GoldenImage":
                self._inventory.drop_image(key.path)
            else:
                self._inventory.drop_share(key.path)

    def take(self, bodies: Iterable[Body]) -> set[Key]:
        """Put what was listed; the keys of it."""
        listed = set()
        for body in bodies:
            self.put(body)
            listed.add(key_of(body))
        return listed

    def standing_on(self, names: Iterable[str]) -> set[Key]:
        """Objects that name one of these AMIs, snapshots or keys; none where not `indexed`."""
        with self._lock:
            return self._standing.on(names) if self._standing is not None else set()

    def known(self) -> list[Key]:
        with self._lock:
            return sorted(self._bodies, key=lambda k: (k.kind, k.namespace, k.name))

    def body(self, key: Key) -> Body | None:
        with self._lock:
            text = self._bodies.get(key)
        return None if text is None else json.loads(zlib.decompress(text))

    def parsed(self, key: Key) -> GoldenImage | ImageShare | SpecError | None:
        body = self.body(key)
        if body is None:
            return None
        try:
            return parse_object(body)
        except SpecError as error:
            return error

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

    def needs(self) -> dict[str, dict[str, RegionNeeds]]:
        with self._lock:
            return self._inventory.needs()

    def building(self, *, jobs: bool = False) -> set[str]:
        """GoldenImages with a build under way, as `<namespace>/<name>`; with `jobs` by a Job."""
        with self._lock:
            return self._inventory.building(jobs=jobs)

    def test_regions(self) -> frozenset[str]:
        """Regions in which test instances may run."""
        with self._lock:
            return self._inventory.test_regions()

    def has_image(self, path: str) -> bool:
        """Whether there is a GoldenImage `<namespace>/<name>`."""
        namespace, _, name = path.partition("/")
        with self._lock:
            return Key("GoldenImage", namespace, name) in self._bodies

    def leaving_images(self) -> list[Key]:
        """GoldenImages that are being deleted."""
        with self._lock:
            paths = self._inventory.leaving_images()
        return [Key("GoldenImage", *path.split("/", 1)) for path in paths]

    def config_maps(self) -> set[tuple[str, str]]:
        """Namespace and name of the ConfigMaps that shares take accounts from."""
        with self._lock:
            return self._inventory.config_maps()

    def mapped(self) -> set[Key]:
        """GoldenImages that publish to a ConfigMap, or did."""
        with self._lock:
            paths = self._inventory.mapped()
        return {Key("GoldenImage", *path.split("/", 1)) for path in paths}

    def listing(self, maps: Iterable[tuple[str, str]]) -> set[Key]:
        """Shares that take accounts from one of these ConfigMaps."""
        with self._lock:
            return {_share_key(s) for m in maps for s in self._inventory.listing(*m)}

    def following(self, parameters: Iterable[str]) -> set[Key]:
        """Shares that take accounts from one of these SSM parameters, GoldenImages that are made
        from one, or published to it."""
        with self._lock:
            names = tuple(parameters)
            shares = {_share_key(s) for p in names for s in self._inventory.following(p)}
            images = {i for p in names for i in self._inventory.told_by(p)}
        return shares | {Key("GoldenImage", *path.split("/", 1)) for path in images}

    def of_organizations(self) -> set[Key]:
        """Shares that take accounts from AWS Organizations."""
        with self._lock:
            return {_share_key(s) for s in self._inventory.of_organizations()}


def shallow(body: dict[str, Any], most: int = MOST_DEPTH) -> dict[str, Any]:
    """The body, without what lies deeper than any model reads: a pod template takes anything, and
    one that is nested thousands of levels deep must not end the work on all others.

    What is left is too deep for the model as well, which refuses it.
    """
    level: list[Any] = [body]
    for _ in range(most):
        level = [i for one in level for i in _inside(one) if isinstance(i, dict | list)]
        if not level:
            return body
    return {k: _cut(v, most - 1) for k, v in body.items()}


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _cut(value: Any, left: int) -> Any:
    if isinstance(value, dict):
        return {k: _cut(v, left - 1) for k, v in value.items()} if left else {}
    if isinstance(value, list):
        return [_cut(v, left - 1) for v in value] if left else []
    return value


def _share_key(path: str) -> Key:
    namespace, name = path.split("/", 1)
    return Key("ImageShare", namespace, name)


def _status(body: Body) -> ImageShareStatus:
    try:
        return ImageShareStatus.model_validate(body.get("status") or {})
    except ValidationError:
        return ImageShareStatus()


def _unreadable(key: Key, status: ImageShareStatus, why: str) -> Share:
    """A share whose spec is not understood: nothing is taken from what its status claims."""
    spec = ImageShareSpec(image_ref=ImageRef(name=key.name))
    return Share(
        key.path,
        key.namespace,
        spec,
        recorded(status),
        frozenset((g.region, g.key_id) for g in status.grants),
        frozenset((p.region, p.key_id) for p in status.key_policies),
        frozenset((i.region, i.image_id) for i in status.images if i.snapshots),
        unreadable=why,
        homes={(i.region, i.image_id): i.account for i in status.images if i.account},
        key_homes=key_homes(status),
    )


def _older_or_same(version: tuple[str, str], known: tuple[str, str] | None) -> bool:
    if known is None or version[0] != known[0]:
        return False
    new, old = version[1], known[1]
    if new.isdecimal() and old.isdecimal():
        return int(new) <= int(old)
    return new == old
