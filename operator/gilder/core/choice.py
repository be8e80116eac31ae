"""Which version is released: the newest one that may be, the one before it, or the pinned; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gilder.api.names import (
    TAG_GATES,
)
from gilder.core.actions import (
    RestoreImage,
)
from gilder.core.gating import FAILED, PENDING, shut
from gilder.core.observed import Image
from gilder.core.plan import Draft
from gilder.core.promotion import (
    Hold,
    kept_back,
    plan_release,
)
from gilder.core.slots import (
    POLL,
    UNSEEN_GRACE,
    Slot,
    ami_name,
    best,
    keep,
    restored,
)
from gilder.core.times import passed
from gilder.core.wanted import Wanted


@dataclass(frozen=True, slots=True)
class _Choice:
    """The released version. `shut`: nothing is, and it is the one that waits; `hold` says why."""

    version: int
    home: Image | None
    hold: Hold | None = None
    shut: bool = False


def choose(
    want: Wanted,
    version: int,
    home: Image | None,
    good: Image | None,
    coming: Mapping[str, Image],
    owned: Sequence[Image],
    now: datetime,
    draft: Draft,
) -> _Choice:
    """Which version is released: the pinned one, the one of spec.source, or the one before it."""
    spec = want.spec
    hold: Hold | None = None
    if good is not None:
        regions = [r.region for r in spec.replicas if r.schedule is None]
        lacking = [r for r in regions if r not in coming or not coming[r].available]
        hold = plan_release(want, version, good, lacking, owned, now, draft)
    free = good is not None and hold is None
    pinned = _pinned(want, owned, now, draft) if spec.pinned_version is not None else None
    if pinned is not None and pinned.version == version and free:
        return _Choice(version, home)
    if pinned is not None and pinned.version != version:
        waits = plan_release(want, pinned.version, pinned, (), owned, now, draft)
        if waits is None:
            return _Choice(pinned.version, _kept(want, pinned, owned, draft), hold)
        hold = hold or waits
    stays = spec.pinned_version is None or want.memory.latest in (0, version)
    if free and pinned is None and stays:
        return _Choice(version, home)
    if home is not None and home.state == "disabled" and _was_released(want, home):
        # It is enabled in this look: nobody is sent back to the version before for that.
        return _Choice(version, home, hold)
    former = _former(want, version, owned)
    if former is not None:
        return _Choice(former.version, _kept(want, former, owned, draft), hold)
    if want.memory.latest not in (0, version):
        restored(Slot(want, want.memory.latest, "", spec.region, "home"), draft)
    return _Choice(version, home, hold, shut=good is None or hold is not None)


def _was_released(want: Wanted, home: Image) -> bool:
    return home.version == want.memory.latest and not kept_back(home)


def _kept(want: Wanted, image: Image, owned: Sequence[Image], draft: Draft) -> Image | None:
    """The home AMI of a version that is not the one of spec.source, kept whole."""
    slot = Slot(want, image.version, image.fingerprint, want.spec.region, "home")
    return keep(slot, owned, draft)


def _pinned(want: Wanted, owned: Sequence[Image], now: datetime, draft: Draft) -> Image | None:
    """The home AMI of spec.pinnedVersion, had back from the Recycle Bin where it lies there."""
    spec, number = want.spec, want.spec.pinned_version or 0
    homes = [i for i in owned if i.region == spec.region and i.role == "home" and i.version]
    found = best(i for i in homes if i.version == number)
    if found is not None and not shut(found):
        return found
    there = sorted({i.version for i in homes if not i.failed and not shut(i)})
    others = f"Name one of {', '.join(map(str, there))}" if there else "Take the field away"
    if found is not None:
        draft.stop(
            "PinnedVersionNotUsable",
            f"spec.pinnedVersion: version {number} ({found.id}) has not passed its gates. {others}",
            region=spec.region,
        )
        return None
    known = want.memory.images.get((number, spec.region, "home"))
    if known is not None and not known.seen and passed(known.at, now) < UNSEEN_GRACE:
        draft.wait(f"{known.image_id} to become visible in {spec.region}", POLL)
        return None
    for image, name in sorted(want.restorable.get(spec.region, {}).items()):
        ours = name == ami_name(want, number) or (known is not None and known.image_id == image)
        if ours:
            draft.do(RestoreImage(region=spec.region, image=image))
            draft.wait(f"version {number} to be restored from the Recycle Bin", POLL)
            return None
    draft.stop(
        "PinnedVersionNotFound",
        f"spec.pinnedVersion: there is no AMI of version {number} in {spec.region}. {others}",
        region=spec.region,
    )
    return None


def _former(want: Wanted, version: int, owned: Sequence[Image]) -> Image | None:
    """The home AMI of the version that stays released while a newer one is made or checked."""
    homes = [
        i
        for i in owned
        if i.region == want.spec.region
        and i.role == "home"
        and 0 < i.version != version
        and (i.available or i.state == "disabled")
        and not kept_back(i)
    ]
    known = [i for i in homes if i.version == want.memory.latest]
    if not known and want.memory.latest in (0, version):
        known = [i for i in homes if i.version < version]
    return max(known, key=lambda i: (i.version, i.available, i.id), default=None)


def closed_of(want: Wanted, owned: Iterable[Image]) -> dict[int, str]:
    """Versions that have not passed their gates, by tag or as status has it: Pending or Failed."""
    tested = want.memory.tested.items()
    told: dict[int, str] = {v: t.state for v, t in tested if t.state in (PENDING, FAILED)}
    homes = (i for i in owned if i.role == "home" and i.region == want.spec.region)
    for image in homes:
        if image.failed:
            continue  # another attempt may have passed
        if shut(image):
            told[image.version] = PENDING if image.tags[TAG_GATES] == "pending" else FAILED
        elif TAG_GATES in image.tags:
            told.pop(image.version, None)  # the tag is the memory
    return told
