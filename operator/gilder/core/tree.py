"""One GoldenImage as a tree: versions, Regions, where it is told, and the shares that select it.

Made of what is declared and what status says; nothing is asked of AWS.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any

from gilder.api.conditions import Condition, ConditionType
from gilder.api.goldenimage import GoldenImage, ImageVersion, Published, RegionalImage
from gilder.api.imageshare import ImageShare, ImageShareSpec, SharedImage
from gilder.core.conditions import get
from gilder.core.declared import declare
from gilder.core.observed import Principals
from gilder.core.shares import Gilded, Share, last_listed, recorded, selects
from gilder.core.times import passed


@dataclass(frozen=True, slots=True)
class Standing:
    """Ready, as status has it for this generation or an earlier one."""

    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    current: bool = True  # of the spec as it is now


@dataclass(frozen=True, slots=True)
class Place:
    """One AMI of a version. `retiring` says what becomes of it, and when."""

    region: str
    image_id: str
    role: str
    state: str
    progress: str = ""
    message: str = ""
    retiring: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """One version, newest first in its tree."""

    number: int
    marks: tuple[str, ...]  # released, candidate, pinned, retiring
    gate: str
    held: bool
    created_at: str | None
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Lag:
    """One DR Region; `lag` is how many seconds it has been behind, `age` how old what it has is."""

    region: str
    version: int
    image_id: str | None
    state: str
    lag: float
    age: float | None
    stale: bool
    progress: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Sharing:
    """One ImageShare that selects the image, or still holds AMIs of it.

    `principals` are those it declares now and those it holds; `missing` of them are not in place.
    """

    key: str
    select: str
    regions: tuple[str, ...]
    principals: tuple[str, ...]
    places: tuple[tuple[str, str, str], ...]  # Region, AMI id, state
    missing: tuple[str, ...]
    ready: Standing
    note: str = ""


@dataclass(frozen=True, slots=True)
class Tree:
    """One GoldenImage and what hangs on it."""

    key: str
    region: str
    account: str
    ready: Standing
    released: int = 0
    candidate: int = 0
    pinned: int = 0
    versions: tuple[Version, ...] = ()
    replicas: tuple[Lag, ...] = ()
    published: tuple[Published, ...] = ()
    leftovers: int = 0
    recycle_bin: tuple[str, ...] = ()
    shares: tuple[Sharing, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """For scripts: names as in the resources, `null` for what there is none of."""
        return {
            "name": self.key,
            "region": self.region,
            "account": self.account or None,
            "ready": _standing(self.ready),
            "released": self.released or None,
            "candidate": self.candidate or None,
            "pinned": self.pinned or None,
            "versions": [_version(v) for v in self.versions],
            "replicas": [_lag(r) for r in self.replicas],
            "published": [p.model_dump(by_alias=True) for p in self.published],
            "leftoverSnapshots": self.leftovers,
            "recycleBin": list(self.recycle_bin),
            "shares": [_sharing(s) for s in self.shares],
        }


def tree(image: GoldenImage, shares: Iterable[ImageShare], now: datetime) -> Tree:
    """The tree of one image among all shares that are known."""
    status = image.status
    released = status.latest.version if status.latest else 0
    candidate = status.candidate.version if status.candidate else 0
    going = {
        (r.region, r.id): f"{r.action} at {r.at}" + (f", held by {r.held_by}" if r.held_by else "")
        for r in status.retiring
    }
    gone = {r.version for r in status.retiring if r.version}
    marked = {
        "released": {released},
        "candidate": {candidate},
        "pinned": {image.spec.pinned_version or 0},
        "retiring": gone,
    }
    return Tree(
        key=image.metadata.key,
        region=image.spec.region,
        account=image.spec.account or status.account or "",
        ready=_ready(status.conditions, image.metadata.generation),
        released=released,
        candidate=candidate,
        pinned=image.spec.pinned_version or 0,
        versions=tuple(
            _of(v, tuple(m for m, numbers in marked.items() if v.version in numbers), going)
            for v in sorted(status.versions, key=lambda v: -v.version)
        ),
        replicas=tuple(
            Lag(
                region=r.region,
                version=r.version,
                image_id=r.image_id,
                state=r.state,
                lag=_since(r.behind_since, now) or 0.0,
                age=_since(r.recovery_point, now),
                stale=r.stale,
                progress=r.progress or "",
                message=r.message,
            )
            for r in status.replicas
        ),
        published=status.published,
        leftovers=status.leftover_count,
        recycle_bin=status.recycle_bin,
        shares=tuple(_shares(image, shares, now)),
    )


def _since(text: str | None, now: datetime) -> float | None:
    """Seconds since a time of the status; None where it says none that can be read."""
    found = passed(text, now)
    return max(0.0, found) if isfinite(found) else None


def _of(
    version: ImageVersion, marks: tuple[str, ...], going: Mapping[tuple[str, str], str]
) -> Version:
    def place(one: RegionalImage) -> Place:
        retiring = going.get((one.region, one.image_id), "")
        said = (one.progress or "", one.message or "", retiring)
        return Place(one.region, one.image_id, one.role, one.state, *said)

    places = tuple(place(i) for i in version.images)
    return Version(version.version, marks, version.gate, version.held, version.created_at, places)


def _shares(image: GoldenImage, shares: Iterable[ImageShare], now: datetime) -> Iterable[Sharing]:
    meta = image.metadata
    golden = Gilded(
        meta.key,
        meta.namespace,
        meta.name,
        labels=meta.labels,
        deleting=meta.deleting,
        allowed_namespaces=image.spec.allowed_namespaces,
    )
    mine = {(i.region, i.image_id) for v in image.status.versions for i in v.images}
    for share in sorted(shares, key=lambda s: s.metadata.key):
        spec, key = share.spec, share.metadata.key
        selected = selects(Share(key, share.metadata.namespace, spec), golden)
        by_id = any((i.region, i.id) in mine for i in spec.image_ref.images)
        held = [
            i for i in share.status.images
            if i.image == meta.key or (i.region, i.image_id) in mine
        ]  # fmt: skip
        if not (selected or by_id or held):
            continue
        note = ""
        if selected and not golden.admits(share.metadata.namespace):
            note = "spec.allowedNamespaces of the image does not let it in"
        elif not (selected or by_id):
            note = "does not select the image any more"
        if share.metadata.deleting:
            note = "is being deleted"
        yield Sharing(
            key=key,
            select=_select(spec),
            regions=spec.regions,
            principals=_principals(share, held, now),
            places=tuple((i.region, i.image_id, i.state) for i in held),
            missing=tuple(sorted({m for i in held for m in i.missing})),
            ready=_ready(share.status.conditions, share.metadata.generation),
            note=note,
        )


def _principals(share: ImageShare, held: Sequence[SharedImage], now: datetime) -> tuple[str, ...]:
    status = share.status
    listed = last_listed(status)
    plain = Share(share.metadata.key, share.metadata.namespace, share.spec, listed=listed)
    if not share.metadata.deleting:
        plain = declare(plain, {one.source: one.accounts for one in listed}, now)
        total = plain.principals
    else:
        total = Principals()
    claimed = recorded(status)
    for i in held:
        total |= claimed[(i.region, i.image_id)]
    return total.names()


def _select(spec: ImageShareSpec) -> str:
    if spec.image_ref.images:
        return "by id"
    chosen = spec.versions
    return f"{chosen.select} {chosen.count}" if chosen.count is not None else chosen.select


def _ready(conditions: Sequence[Condition], generation: int) -> Standing:
    found = get(conditions, ConditionType.READY)
    if found is None:
        return Standing(message="not looked at yet", current=False)
    current = found.observed_generation >= generation
    return Standing(found.status, found.reason, found.message, current)


def _standing(ready: Standing) -> dict[str, Any]:
    return {
        "status": ready.status,
        "reason": ready.reason,
        "message": ready.message,
        "current": ready.current,
    }


def _version(one: Version) -> dict[str, Any]:
    return {
        "version": one.number,
        "marks": list(one.marks),
        "gate": one.gate or None,
        "held": one.held,
        "createdAt": one.created_at,
        "images": [
            {
                "region": p.region,
                "imageId": p.image_id,
                "role": p.role,
                "state": p.state,
                "progress": p.progress or None,
                "message": p.message or None,
                "retiring": p.retiring or None,
            }
            for p in one.places
        ],
    }


def _lag(one: Lag) -> dict[str, Any]:
    return {
        "region": one.region,
        "version": one.version or None,
        "imageId": one.image_id,
        "state": one.state,
        "lagSeconds": round(one.lag),
        "recoveryPointAgeSeconds": None if one.age is None else round(one.age),
        "stale": one.stale,
        "progress": one.progress or None,
        "message": one.message or None,
    }


def _sharing(one: Sharing) -> dict[str, Any]:
    return {
        "name": one.key,
        "select": one.select,
        "regions": list(one.regions),
        "principals": list(one.principals),
        "missing": list(one.missing),
        "images": [{"region": r, "imageId": i, "state": s} for r, i, s in one.places],
        "ready": _standing(one.ready),
        "note": one.note or None,
    }
