"""What must hold at every moment, looked at after each change in AWS, inside of the local AWS: so
no call of the watch is counted, disturbed or struck."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.kms.models import kms_backends
from stage import Stage

from gilder.api.names import TAG_CLUSTER, TAG_IMAGE, TAG_ROLE, TAG_VERSION
from gilder.sandbox.aws.counting import CallKey
from gilder.sandbox.aws.model import Image, find_snapshot, images_in
from gilder.sandbox.aws.settings import DEFAULT_ACCOUNT

REGIONS = ("eu-west-1", "us-east-1", "eu-central-1")
CHANGES = "(Create|Copy|Register|Modify|Revoke|Retire|Delete|Deregister|Disable|Put|Reset).*"

Face = tuple[list[str], dict[str, str], bool]


class Watch:
    """`wrong` is what the operator made so and must never be. What hands made is not its fault,
    and it is not told of what was so before."""

    def __init__(self, stage: Stage, accounts: frozenset[str]) -> None:
        """`accounts` are those that are ever declared."""
        self._accounts = accounts
        self._stage = stage
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._others: dict[str, Face] = {}
        self.wrong: list[str] = []
        self._accept()
        self.arm()

    def arm(self) -> None:
        """Again, when the faults were cleared."""
        self._stage.aws.faults.after(CHANGES, self._look)

    @contextmanager
    def by_hand(self) -> Iterator[None]:
        """For what somebody else does in AWS."""
        with self._lock:
            self._compare("what was done before")
            try:
                yield
            finally:
                self._accept()

    def _accept(self) -> None:
        self._known = self._seen()
        self._others = {i.id: _face(i) for i in _all() if not ours(i)}

    def _look(self, key: CallKey) -> None:
        with self._lock:
            self._compare(key.action)

    def _compare(self, what: str) -> None:
        seen = self._seen()
        there = {i.id: i for i in _all()}
        for id_, before in self._others.items():
            if id_ not in there:
                seen.add(f"{id_} was deregistered, and is not ours")
            elif not ours(there[id_]) and _face(there[id_]) != before:
                seen.add(f"{id_} was changed, and is not ours")
        self.wrong += [f"after {what}: {text}" for text in sorted(seen - self._known)]
        self._known = seen
        self._others = {
            i: face for i, face in self._others.items() if i in there and not ours(there[i])
        }

    def _seen(self) -> set[str]:
        there = _all()
        found = {text for i in there if ours(i) for text in self._image(i)}
        return found | _doubled(there)

    def _image(self, image: Image) -> Iterator[str]:
        users = {str(p.get("UserId", "?")) for p in image.launch_permissions}
        parts = [find_snapshot(s, image.region) for s in image.snapshots]
        keys = {str(p.kms_key_id) for p in parts if p is not None and p.encrypted}
        for user in users:
            if user not in self._accounts:
                yield f"{image.id} may be launched by {user}"
            for arn in keys:
                if user not in _granted(arn, image.region):
                    yield f"{image.id} may be launched by {user} without {arn}"


def _face(image: Image) -> Face:
    """What may be changed of an AMI."""
    return (sorted(map(str, image.launch_permissions)), image.tags, image.disabled)


def _all() -> list[Image]:
    return [i for region in REGIONS for i in images_in(region)]


def ours(image: Image) -> bool:
    return image.owner_id == DEFAULT_ACCOUNT and {TAG_IMAGE, TAG_CLUSTER} <= image.tags.keys()


def _granted(arn: str, region: str) -> set[str]:
    """Accounts with a grant on a key."""
    backend: Any = kms_backends[arn.split(":")[4]][region]
    key = backend.keys.get(arn.rpartition("/")[2])
    grants = list(key.grants.values()) if key is not None else []
    return {g.grantee_principal.split(":")[4] for g in grants}


def _doubled(images: list[Image]) -> set[str]:
    """AMIs of one version in one place, none of them failed."""
    places: dict[tuple[str, ...], list[str]] = {}
    for image in images:
        if ours(image) and image.state != "failed":
            place = (
                image.region,
                *(image.tags.get(t, "") for t in (TAG_IMAGE, TAG_VERSION, TAG_ROLE)),
            )
            places.setdefault(place, []).append(image.id)
    return {f"made twice: {ids} of {place}" for place, ids in places.items() if len(ids) > 1}
