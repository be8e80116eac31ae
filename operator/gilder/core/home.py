"""The home AMI of a version: which version a source is, and what makes its AMI; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gilder.api.names import (
    TAG_ADOPTED,
    TAG_CLUSTER,
    TAG_IMAGE,
)
from gilder.core import rules
from gilder.core.actions import (
    CreateImage,
    TagResources,
)
from gilder.core.digest import digest
from gilder.core.observed import Image, Instance, Key, Observed, Problem, RegionView
from gilder.core.plan import Draft
from gilder.core.slots import (
    POLL,
    UNSEEN_GRACE,
    Slot,
    Turn,
    ami_name,
    best,
    keep,
    restored,
    turn,
    usable,
)
from gilder.core.times import passed
from gilder.core.wanted import Source, Wanted


def home_key(want: Wanted, view: RegionView, draft: Draft) -> Key | Problem | None:
    if want.spec.encryption is None:
        return None
    written = want.spec.encryption.kms_key_id
    found = rules.key_usable(
        written, view.keys.get(written), "spec.encryption.kmsKeyId", want.spec.region
    )
    if isinstance(found, Problem):
        draft.note(found)
    return found


def newest(owned: Iterable[Image], region: str, *, built: bool) -> int:
    """The newest version with an AMI in the home Region that can be launched, or else at all."""
    homes = [i for i in owned if i.region == region and i.role == "home"]
    launchable = [i.version for i in homes if i.available]
    if built:
        launchable = [i.version for i in homes if not i.failed]
    return max(launchable or [i.version for i in homes], default=0)


def fingerprint_of(source: Source, key: Key | None, owned: Iterable[Image]) -> str:
    """What a version is recognized by. A source that is a version of ours stays that version."""
    if source.build:
        return source.build
    for image in owned:
        same = source.image is not None and image.id == source.image.id
        ours = image.role == "home" and image.version and image.fingerprint
        if same and ours and (key is None or image.kms_keys == {key.arn}):
            return image.fingerprint
    parts = [source.kind, source.id, key.arn if key else ""]
    return digest(*parts, source.trigger) if source.trigger else digest(*parts)


def version_of(want: Wanted, source: Source, fingerprint: str, owned: Sequence[Image]) -> int:
    """The version this source is, or the next number."""
    made = [i for i in owned if i.fingerprint == fingerprint and i.version]
    if source.instance is not None:
        # An instance changes as it runs: once its AMI is gone, a capture is another version.
        made = [i for i in made if i.region == want.spec.region]
    if made:
        return max(i.version for i in made)
    remembered = want.memory.version_by_print.get(fingerprint)
    if remembered and source.instance is None:
        return remembered
    for role in ("home", "intermediate"):
        known = want.memory.images.get((remembered or 0, want.spec.region, role))
        if remembered and known is not None and not known.seen:
            return remembered  # asked for and not visible yet: not another capture
    return next_version(want, owned)


@dataclass(frozen=True, slots=True)
class Aim:
    """The version whose home AMI is to be there."""

    want: Wanted
    source: Source
    key: Key | None
    version: int
    fingerprint: str
    origin: str
    held: bool

    @property
    def home(self) -> Slot:
        return Slot(
            self.want, self.version, self.fingerprint, self.want.spec.region, "home", self.key,
            self.origin, self.held,
        )  # fmt: skip

    @property
    def stage(self) -> Slot:
        """Where an AMI waits that is copied to become the home AMI."""
        return Slot(
            self.want, self.version, self.fingerprint, self.want.spec.region, "intermediate",
            origin=self.origin,
        )  # fmt: skip


def make_home(
    aim: Aim, owned: Sequence[Image], seen: Observed, now: datetime, draft: Draft
) -> Image | None:
    """The home AMI if there is one; otherwise the action that makes it."""
    # By the tags alone: a fingerprint of image and instance holds the key already.
    slot = aim.home if aim.source.build else replace(aim.home, key=None)
    found = keep(slot, owned, draft)
    if found is not None or restored(slot, draft):
        return found
    there = slot.filled_by(owned)
    if aim.source.build:
        _home_from_build(aim, there, owned, now, draft)
    elif aim.source.image is not None:
        _home_from_image(aim, aim.source.image, there, seen, now, draft)
    elif aim.source.instance is not None:
        _home_from_instance(aim, aim.source.instance, there, owned, now, draft)
    return None


def _home_from_image(
    aim: Aim, image: Image, there: Sequence[Image], seen: Observed, now: datetime, draft: Draft
) -> None:
    slot = aim.home
    if not usable(image, "source", "spec.source.image", POLL, draft):
        return
    mine = image.owner == seen.account
    if mine and (slot.key is None or image.kms_keys == {slot.key.arn}):
        _adopt(slot, image, draft)
        return
    if problem := rules.product_code_copy(image):
        draft.note(problem)
        return
    if image.encrypted and slot.key is None:
        draft.stop(
            rules.KEY_REQUIRED,
            f"spec.encryption.kmsKeyId: required, since {image.id} of account {image.owner} is "
            "encrypted and its copy needs a key of yours. Name a customer-managed key of "
            f"{slot.region}",
            region=slot.region,
        )
        return
    if now_is := turn(slot, there, now, draft):
        draft.do(slot.copy(image, now_is.attempt, now_is.predecessor))


def _adopt(slot: Slot, image: Image, draft: Draft) -> None:
    owner = image.tags.get(TAG_IMAGE)
    cluster = image.tags.get(TAG_CLUSTER)
    want = slot.want
    if owner and (owner != want.key or cluster != want.cluster):
        draft.stop(
            "OwnedByAnother",
            f"spec.source.image: {image.id} already belongs to GoldenImage {owner} of cluster "
            f"{cluster}. Share that one, or set spec.encryption.kmsKeyId to make a copy",
            region=image.region,
        )
        return
    _take(slot, image, {TAG_ADOPTED: "true"}, draft)


def _take(slot: Slot, image: Image, more: Mapping[str, str], draft: Draft) -> None:
    """Make an AMI ours as it is, by its tags."""
    tags = {**slot.tags(1), **more}
    ids = (image.id, *image.snapshots)
    draft.do(TagResources(region=image.region, resources=ids, tags=tags, adopts=True))


def _home_from_build(
    aim: Aim, there: Sequence[Image], owned: Sequence[Image], now: datetime, draft: Draft
) -> None:
    slot, built = aim.home, aim.source.image
    # Under another key: what is there of this version, or what the build has left.
    others = slot.under_other_keys(owned)
    first = best(aim.stage.filled_by(owned)) or best(others) or built
    last = aim.want.memory.last_build
    if first is None and last is not None and passed(last.finished_at, now) < UNSEEN_GRACE:
        draft.wait(f"{last.image_id}, which was built, to become visible", POLL)
        return
    if first is None:
        draft.stop(
            "BuiltImageNotFound",
            f"spec.source: the AMI of build {aim.fingerprint} does not exist any more. Ask for "
            "another build with the annotation goldenimage.dev/rebuild",
            region=slot.region,
        )
        return
    if problem := rules.instance_store_image(first):
        draft.note(problem)
        return
    if not first.available:
        if first.pending:
            draft.wait(f"built AMI {first.id} to become available", POLL)
        else:
            said = first.state_reason or f"it is {first.state}"
            draft.stop(
                "BuiltImageNotUsable", f"spec.source: {first.id}, which was built, cannot be used: "
                f"{said}. Ask for another build with the annotation goldenimage.dev/rebuild",
                region=slot.region,
            )  # fmt: skip
        return
    ours = first.belongs_to(aim.want.cluster, aim.want.key) and first.version == aim.version
    if slot.key is None or first.kms_keys == {slot.key.arn}:
        _take(replace(slot, key=None), first, {}, draft)
    elif not ours:
        _take(aim.stage, first, {}, draft)
    elif problem := rules.product_code_copy(first):
        draft.note(problem)
    elif now_is := turn(slot, there, now, draft, others):
        draft.do(slot.copy(first, now_is.attempt, now_is.predecessor))


def _home_from_instance(
    aim: Aim,
    instance: Instance,
    there: Sequence[Image],
    owned: Sequence[Image],
    now: datetime,
    draft: Draft,
) -> None:
    slot, stage = aim.home, aim.stage
    if problem := rules.instance_store_instance(instance, slot.region):
        draft.note(problem)
        return
    if slot.key is None:
        if now_is := turn(slot, there, now, draft):
            draft.do(_capture(slot, instance, now_is, ""))
        return
    # CreateImage cannot change encryption, so the encrypted AMI is a copy of a first one.
    first = keep(stage, owned, draft)
    if first is None:
        if now_is := turn(stage, stage.filled_by(owned), now, draft):
            draft.do(_capture(stage, instance, now_is, "-unencrypted"))
    elif first.available:
        if problem := rules.product_code_copy(first):
            draft.note(problem)
        elif now_is := turn(slot, there, now, draft):
            draft.do(slot.copy(first, now_is.attempt, now_is.predecessor))


def _capture(slot: Slot, instance: Instance, turn: Turn, suffix: str) -> CreateImage:
    if turn.attempt > 1:
        suffix += f"-r{turn.attempt}"
    source = slot.want.spec.source.instance
    return CreateImage(
        region=slot.region,
        instance=instance.id,
        name=ami_name(slot.want, slot.version, suffix),
        description=slot.want.spec.description,
        no_reboot=bool(source and source.no_reboot),
        tags=slot.tags(turn.attempt),
    )


def next_version(want: Wanted, owned: Iterable[Image]) -> int:
    """The next version number."""
    return max([i.version for i in owned] + [want.memory.highest], default=0) + 1
