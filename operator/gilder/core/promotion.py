"""Which versions are held back from release, and when the next one is released; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from gilder.api.goldenimage import GoldenImageSpec
from gilder.api.lifecycle import seconds
from gilder.api.names import PROMOTE, TAG_RELEASE
from gilder.core.actions import TagResources
from gilder.core.gating import shut
from gilder.core.observed import Image
from gilder.core.plan import Draft
from gilder.core.times import passed, rfc3339
from gilder.core.wanted import Wanted

CANDIDATE, RELEASED = "candidate", "released"
COPIES = ("home", "replica")  # roles of AMIs that can be launched for good
SOON = 0.5  # seconds


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a version that passed its gates is not released. `since` nothing was missing."""

    reason: str
    message: str
    since: str = ""


def held(image: Image) -> bool:
    """Whether an AMI's tag says that its version was never released."""
    return image.tags.get(TAG_RELEASE) == CANDIDATE


def kept_back(image: Image) -> bool:
    """Whether nobody may be given an AMI, by what its tags say: not checked, or not released."""
    return shut(image) or held(image)


def withheld(spec: GoldenImageSpec, *, first: bool) -> bool:
    """Whether a new version waits before it is released; `first`: there is none to wait beside."""
    promotion = spec.promoting
    if spec.pinned_version is not None or promotion.mode != "Automatic":
        return True
    follows = first or promotion.replicas == "Follow"
    return not follows and any(r.schedule is None for r in spec.replicas)


def born_held(want: Wanted, version: int, owned: Sequence[Image]) -> bool:
    """Whether an AMI that is made for a version now is to be marked as a candidate."""
    made = [i for i in owned if i.version == version and i.role in COPIES and not i.failed]
    if made or version in want.memory.released:
        return any(held(i) for i in made)
    return withheld(want.spec, first=not any_released(want, owned))


def any_released(want: Wanted, owned: Iterable[Image]) -> bool:
    """Whether some version is, or was, released."""
    homes = (i for i in owned if i.role == "home" and i.region == want.spec.region)
    return want.memory.latest > 0 or any(
        i.version and not kept_back(i) and (i.available or i.state == "disabled") for i in homes
    )


def plan_release(
    want: Wanted,
    version: int,
    home: Image,
    lacking: Sequence[str],
    owned: Sequence[Image],
    now: datetime,
    draft: Draft,
) -> Hold | None:
    """The release of a version that passed its gates, or why it waits.

    `lacking` are replica Regions without a schedule that have no available copy of it yet. It
    counts as released once its tag is seen on the home AMI, which is the next look. That one is
    the last, so that no Region stays behind whose tag could not be written.
    """
    if not held(home):
        _mark(version, owned, draft)  # a Region whose tag could not be written then
        return None
    hold = _hold(want, version, lacking, owned, now, draft)
    if hold is None:
        regions = {r.region for r in want.spec.replicas}
        there = [i for i in owned if i.version == version and i.region in regions]
        copies = [i for i in there if i.role == "replica" and i.available and held(i)]
        together = want.spec.promoting.replicas == "Wait" and want.promoted != version
        _mark(version, copies if copies and together else owned, draft)
        draft.wake(SOON)
        # A soak that is over stays so until all tags are written.
        since = want.memory.complete.get(version) or rfc3339(now)
        return Hold("Releasing", f"version {version} is being released", since)
    return hold


def _hold(
    want: Wanted, version: int, lacking: Sequence[str], owned: Sequence[Image], now: datetime,
    draft: Draft,
) -> Hold | None:  # fmt: skip
    spec, promotion = want.spec, want.spec.promoting
    pinned = spec.pinned_version
    if pinned not in (None, version):
        told = f"version {version} is ready; spec.pinnedVersion keeps version {pinned} released"
        return Hold("Pinned", told)
    if want.promoted == version or pinned == version:
        return None
    if not withheld(spec, first=not any_released(want, owned)):
        return None
    if lacking and promotion.replicas == "Wait":
        return Hold(
            "AwaitingReplicas",
            f"version {version} is released once it is available in {', '.join(lacking)} too; the "
            f"annotation {PROMOTE}={version} releases it at once",
            # A Region that cannot be read for a moment, or a copy made anew, ends no soak.
            want.memory.complete.get(version, ""),
        )
    since = want.memory.complete.get(version) or rfc3339(now)
    if promotion.mode == "Manual":
        told = f"version {version} is released when the annotation {PROMOTE} is {version}"
        return Hold("AwaitingPromotion", told, since)
    if promotion.soak_time is not None:
        left = seconds(promotion.soak_time) - passed(since, now)
        if left > 0:
            draft.wake(left + 1.0)
            told = (
                f"version {version} soaks for {promotion.soak_time} since {since}; the annotation "
                f"{PROMOTE}={version} releases it at once"
            )
            return Hold("Soaking", told, since)
    return None


def _mark(version: int, owned: Iterable[Image], draft: Draft) -> None:
    for image in owned:
        if image.failed:
            continue  # it is cleared away
        if image.version == version and image.role in COPIES and held(image):
            ids = (image.id, *image.snapshots)
            tags = {TAG_RELEASE: RELEASED}
            draft.do(TagResources(region=image.region, resources=ids, tags=tags))
