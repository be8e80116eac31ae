"""Places that AMIs must fill: by whom, and when an empty or failed one is tried again; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, get_args

from gilder.api.names import (
    TAG_ADOPTED,
    TAG_ATTEMPT,
    TAG_CLUSTER,
    TAG_IMAGE,
    TAG_KEY,
    TAG_ORIGIN,
    TAG_RELEASE,
    TAG_ROLE,
    TAG_SOURCE,
    TAG_VERSION,
)
from gilder.core import rules
from gilder.core.actions import CopyImage, DeregisterImage, EnableImage, RestoreImage
from gilder.core.digest import digest
from gilder.core.gating import birth_tag
from gilder.core.observed import Image, Key, Problem
from gilder.core.plan import Draft
from gilder.core.promotion import CANDIDATE, COPIES
from gilder.core.times import passed
from gilder.core.wanted import Wanted

POLL = 15.0  # seconds between looks at a pending AMI; copies take minutes
FIRST_RETRY = 60.0  # seconds before a failed copy is made again; doubles
LAST_RETRY = 3600.0
UNSEEN_GRACE = 300.0  # seconds a requested AMI may stay invisible (EC2 reads lag behind writes)
NAME_LIMIT = 128  # CreateImage, parameter Name, in the EC2 API reference
NAME_LEAST = 3

Role = Literal["home", "replica", "intermediate"]
ROLES: tuple[str, ...] = get_args(Role)


def named(want: Wanted) -> str:
    """spec.naming.template with all but {version} filled in."""
    filled = want.spec.naming.template.replace("{namespace}", want.namespace)
    return filled.replace("{name}", want.name)


def ami_name(want: Wanted, version: int, suffix: str = "") -> str:
    """The AMI's name, cut to AWS's limit with a digest so that it stays unique."""
    name = named(want).replace("{version}", str(version)).rjust(NAME_LEAST, "0")
    if len(name) + len(suffix) > NAME_LIMIT:
        name = f"{name[: NAME_LIMIT - 13 - len(suffix)]}-{digest(name, length=12)}"
    return name + suffix


def usable(image: Image, word: str, field: str, seconds: float, draft: Draft) -> bool:
    """Whether a version can be made from this AMI, which `field` names; says why not."""
    if problem := rules.instance_store_image(image):
        draft.note(problem)
    elif image.pending:
        draft.wait(f"{word} {image.id} to become available", seconds)
    elif not image.available:
        draft.stop(
            "SourceNotAvailable",
            f"{field}: {image.id} is {image.state}. Enable it or choose another AMI",
            region=image.region,
        )
    else:
        return True
    return False


def best(images: Iterable[Image]) -> Image | None:
    """The AMI that fills a slot: available before pending before disabled, the oldest first."""
    rank = {"available": 0, "pending": 1, "transient": 1, "disabled": 2}
    usable = [i for i in images if i.state in rank]
    return min(usable, key=lambda i: (rank[i.state], i.created, i.id), default=None)


@dataclass(frozen=True, slots=True)
class Slot:
    """One place that an AMI must fill: a Region and a role of one version."""

    want: Wanted
    version: int
    fingerprint: str
    region: str
    role: Role
    key: Key | None = None
    origin: str = ""  # of a version that was built
    held: bool = False  # what fills it is born as a candidate

    def filled_by(self, owned: Iterable[Image]) -> list[Image]:
        return [
            i
            for i in owned
            if i.region == self.region
            and i.role == self.role
            and i.version == self.version
            and i.fingerprint == self.fingerprint
            and (self.key is None or self.key.arn in (i.tags.get(TAG_KEY), *i.kms_keys))
        ]

    def under_other_keys(self, owned: Iterable[Image]) -> list[Image]:
        """AMIs in its place under another key."""
        every = replace(self, key=None).filled_by(owned)
        there = self.filled_by(every)
        return [i for i in every if i not in there]

    def tags(self, attempt: int) -> dict[str, str]:
        """All tags of the AMI that fills it: the user's, and those that make it ours."""
        want = self.want
        tags = {
            **want.spec.tags,
            TAG_IMAGE: want.key,
            TAG_CLUSTER: want.cluster,
            TAG_VERSION: str(self.version),
            TAG_SOURCE: self.fingerprint,
            TAG_ROLE: self.role,
        }
        if attempt > 1:
            tags[TAG_ATTEMPT] = str(attempt)
        if self.key is not None:
            tags[TAG_KEY] = self.key.arn
        if self.origin:
            tags[TAG_ORIGIN] = self.origin
        if self.role == "home":
            tags |= birth_tag(want.spec.gates)
        if self.held and self.role in COPIES:
            tags[TAG_RELEASE] = CANDIDATE
        return tags

    def copy(self, of: Image, attempt: int, predecessor: str) -> CopyImage:
        key = self.key.arn if self.key else None
        suffix = f"-r{attempt}" if attempt > 1 else ""
        want = self.want
        minutes = next(
            (r.copy_duration_minutes for r in want.spec.replicas if r.region == self.region), None
        )
        paced = () if minutes is None else (minutes,)
        name, tags = ami_name(want, self.version, suffix), self.tags(attempt)
        return CopyImage(
            region=self.region,
            source_region=of.region,
            source_image=of.id,
            name=name,
            description=want.spec.description,
            key=key,
            tags=tags,
            # The predecessor makes the token new once the AMI it stood for is gone; the uid for a
            # GoldenImage that is made anew. All that the request says is in it, since AWS refuses a
            # token that it knows with anything else, even if its AMI is gone.
            token=digest(
                want.cluster, want.key, want.uid, self.version, self.region, self.role, of.id, key,
                predecessor, *paced, name, want.spec.description, tags, length=48,
            ),
            minutes=minutes,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Turn:
    """Leave to fill a slot now: which attempt it is, and which AMI it follows."""

    attempt: int
    predecessor: str


def turn(
    slot: Slot, there: Sequence[Image], now: datetime, draft: Draft, others: Sequence[Image] = ()
) -> Turn | None:
    """Whether an empty slot may be filled now; says what it waits for otherwise.

    `there` are AMIs that tried to fill it, `others` those in its place under another key.
    """
    if restored(slot, draft):
        return None
    known = slot.want.memory.images.get((slot.version, slot.region, slot.role))
    seen = {i.id for i in (*there, *others)}
    gone = known if known is not None and known.image_id not in seen else None
    if gone is not None and not gone.seen and passed(gone.at, now) < UNSEEN_GRACE:
        draft.wait(f"{gone.image_id} to become visible in {slot.region}", POLL)
        return None
    failed = sorted((i for i in there if i.failed), key=lambda i: (i.attempt, i.created, i.id))
    if failed:
        last = failed[-1]
        doublings = min(max(last.attempt, 1) - 1, 16)  # the tag may have been mangled by hand
        delay = min(FIRST_RETRY * 2**doublings, LAST_RETRY)
        left = delay - passed(last.created, now)
        draft.note(
            Problem(
                "CopyFailed" if slot.role != "intermediate" else "CreateFailed",
                f"{last.id} in {slot.region} failed: {last.state_reason or 'no reason given'}; "
                f"attempt {last.attempt + 1} follows",
                permanent=False,
                region=slot.region,
            )
        )
        if left > 0:
            draft.wait(f"the next attempt in {slot.region} after {last.id} failed", left)
            return None
        for image in failed[:-1]:  # the last one tells why, and what comes next
            if TAG_ADOPTED not in image.tags:
                draft.do(
                    DeregisterImage(region=image.region, image=image.id, snapshots=image.snapshots)
                )
        # Of what was made after it and is gone AWS would tell for ever, by the same token.
        follows = gone.image_id if gone is not None else last.id
        return Turn(_attempt([*there, *others]), follows)
    # An AMI under a former key holds the name, so the one under the new key gets a suffix.
    return Turn(_attempt(others), known.image_id if known else "")


def restored(slot: Slot, draft: Draft) -> bool:
    """Whether what filled the slot lies in the Recycle Bin, from where it is had back."""
    bin_ = slot.want.restorable.get(slot.region, {})
    known = slot.want.memory.images.get((slot.version, slot.region, slot.role))
    if known is None or known.image_id not in bin_:
        return False
    draft.do(RestoreImage(region=slot.region, image=known.image_id))
    draft.wait(f"{known.image_id} to be restored in {slot.region}", POLL)
    return True


def _attempt(before: Sequence[Image]) -> int:
    """The number after these attempts, whose name is free even where a tag was taken off."""
    attempt = max((i.attempt for i in before), default=0) + 1
    while any(i.name.endswith(f"-r{attempt}") for i in before):
        attempt += 1
    return attempt


def keep(slot: Slot, owned: Sequence[Image], draft: Draft) -> Image | None:
    """The AMI that fills the slot, kept whole; failed attempts beside it are cleared away."""
    there = slot.filled_by(owned)
    found = best(there)
    if found is None:
        return None
    for image in there:
        if image.failed and TAG_ADOPTED not in image.tags:
            draft.do(
                DeregisterImage(region=image.region, image=image.id, snapshots=image.snapshots)
            )
    if found.pending:
        draft.wait(f"{found.id} to become available in {found.region}", POLL)
    elif found.state == "disabled":
        draft.do(EnableImage(region=found.region, image=found.id))
    return found
