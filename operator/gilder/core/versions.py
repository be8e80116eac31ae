"""The plan of one GoldenImage: which version is wanted, and what it lacks in each Region."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from gilder.api.goldenimage import GoldenImageSpec, GoldenImageStatus, Replica
from gilder.api.names import (
    TAG_ADOPTED,
    TAG_ATTEMPT,
    TAG_CLUSTER,
    TAG_IMAGE,
    TAG_KEY,
    TAG_PREFIX,
    TAG_ROLE,
    TAG_SOURCE,
    TAG_VERSION,
)
from gilder.core import rules
from gilder.core.actions import (
    CopyImage,
    CreateImage,
    DeregisterImage,
    EnableImage,
    TagResources,
    UntagResources,
)
from gilder.core.digest import digest
from gilder.core.observed import Image, Instance, Key, Observed, Problem, RegionView
from gilder.core.plan import Draft, Plan, freeze

POLL = 15.0  # seconds between looks at a pending AMI; copies take minutes
FIRST_RETRY = 60.0  # seconds before a failed copy is made again; doubles
LAST_RETRY = 3600.0
UNSEEN_GRACE = 300.0  # seconds a requested AMI may stay invisible (EC2 reads lag behind writes)
NAME_LIMIT = 128  # CreateImage, parameter Name, in the EC2 API reference

Role = Literal["home", "replica", "intermediate"]


@dataclass(frozen=True, slots=True)
class Source:
    """What spec.source resolved to: exactly one of image and instance."""

    image: Image | None = None
    instance: Instance | None = None

    @property
    def id(self) -> str:
        return self.image.id if self.image else self.instance.id if self.instance else ""

    @property
    def kind(self) -> str:
        return "image" if self.image else "instance"


@dataclass(frozen=True, slots=True)
class Known:
    """An AMI that status recorded. `seen`: it was observed, not just asked for."""

    image_id: str
    seen: bool
    at: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What status adds to the tags: AMIs that are gone, and tag keys that were ours."""

    images: Mapping[tuple[int, str, str], Known] = field(default_factory=dict)
    fingerprints: Mapping[str, int] = field(default_factory=dict)  # to version
    highest: int = 0
    latest: int = 0
    tag_keys: tuple[str, ...] = ()


def remember(status: GoldenImageStatus) -> Memory:
    """Memory of a status; of an empty one when status was lost."""
    images = {
        (v.version, i.region, i.role): Known(
            i.image_id, i.state != "requested", i.requested_at or v.created_at or ""
        )
        for v in status.versions
        for i in v.images
    }
    numbers = [v.version for v in status.versions]
    latest = status.latest.version if status.latest else 0
    # Captures of one instance share a fingerprint, which stands for the newest of them.
    newest_last = sorted(status.versions, key=lambda v: v.version)
    return Memory(
        images,
        {v.fingerprint: v.version for v in newest_last if v.fingerprint},
        max([*numbers, latest], default=0),
        latest,
        status.managed_tag_keys,
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """One GoldenImage as the plan needs it."""

    cluster: str
    namespace: str
    name: str
    spec: GoldenImageSpec
    memory: Memory = Memory()

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """A Plan with the version it is for. `version` is 0 while none can be chosen."""

    plan: Plan
    version: int = 0
    home: Image | None = None
    replicas: Mapping[str, Image] = field(default_factory=dict)  # by Region, available ones
    source: Source | None = None
    fingerprint: str = ""


def ami_name(want: Wanted, version: int, suffix: str = "") -> str:
    """The AMI's name, cut to AWS's limit with a digest so that it stays unique."""
    name = want.spec.naming.template
    for key, value in (("namespace", want.namespace), ("name", want.name), ("version", version)):
        name = name.replace("{" + key + "}", str(value))
    if len(name) + len(suffix) > NAME_LIMIT:
        name = f"{name[: NAME_LIMIT - 13 - len(suffix)]}-{digest(name, length=12)}"
    return name + suffix


def plan_image(want: Wanted, source: Source | Problem, seen: Observed, now: datetime) -> ImagePlan:
    """What makes AWS match `want`.

    `source` is what spec.source resolved to. A source that cannot be resolved, or a home key that
    cannot be used, stops new versions only: the latest one is still looked after.
    """
    draft = Draft()
    spec = want.spec
    home_view = seen.region(spec.region)
    if home_view.problem:
        draft.note(home_view.problem)
        return ImagePlan(freeze(draft))
    key = _home_key(want, home_view, draft)
    owned = _owned(want, seen, draft)

    if isinstance(source, Problem):
        draft.note(source)
    resolved = None if isinstance(source, Problem) else source
    if isinstance(source, Problem) or isinstance(key, Problem):
        version = want.memory.latest or _newest(owned, spec.region)
        fingerprint = next((i.fingerprint for i in owned if i.version == version), "")
        slot = _Slot(want, version, fingerprint, spec.region, "home")
        home = _keep(slot, owned, draft) if version else None
    else:
        fingerprint = _fingerprint(source, key, owned)
        version = _version(want, source, fingerprint, owned)
        home = _home(want, source, key, version, fingerprint, owned, seen, now, draft)

    replicas: dict[str, Image] = {}
    if version and home is not None:
        for replica in spec.replicas:
            copy = _replica(want, replica, version, fingerprint, home, owned, seen, now, draft)
            if copy is not None:
                replicas[replica.region] = copy
    for image in owned:
        if image.version == version and not image.failed and image.role != "intermediate":
            _tags(want, image, seen.region(image.region), draft)
    available = home if home and home.available else None
    ready = {r: i for r, i in replicas.items() if i.available}
    return ImagePlan(freeze(draft), version, available, ready, resolved, fingerprint)


def plan_deletion(want: Wanted, seen: Observed, in_use: Mapping[str, str]) -> Plan:
    """What spec.deletionPolicy asks of AWS once no ImageShare needs the image.

    `in_use` maps AMI ids to what uses them; such an AMI is never deregistered.
    """
    draft = Draft()
    policy = want.spec.deletion_policy
    for view in seen.regions.values():
        if view.problem and policy != "Retain":
            draft.note(view.problem)
    for image in seen.owned(want.cluster, want.key):
        if policy == "Orphan":
            keys = tuple(sorted(k for k in image.tags if k.startswith(TAG_PREFIX)))
            ids = (image.id, *image.snapshots)
            draft.do(UntagResources(region=image.region, resources=ids, keys=keys))
        elif policy == "Delete" and image.id in in_use:
            draft.stop(
                "ImageInUse",
                f"{image.id} in {image.region} is used by {in_use[image.id]} and stays. Stop using "
                "it, or set spec.deletionPolicy to Retain or Orphan",
                region=image.region,
            )
        elif policy == "Delete":
            draft.do(
                DeregisterImage(region=image.region, image=image.id, snapshots=image.snapshots)
            )
    return freeze(draft)


def _owned(want: Wanted, seen: Observed, draft: Draft) -> list[Image]:
    """AMIs of ours by tag; ownership tags that were taken off or altered are put back first."""
    owned = {i.id: i for i in seen.owned(want.cluster, want.key)}
    fingerprints = {v: f for f, v in want.memory.fingerprints.items()}
    for (version, region, role), known in want.memory.images.items():
        image = seen.region(region).images.get(known.image_id)
        if image is None or image.owner != seen.account or version not in fingerprints:
            continue
        expected = {
            TAG_IMAGE: want.key,
            TAG_CLUSTER: want.cluster,
            TAG_VERSION: str(version),
            TAG_SOURCE: fingerprints[version],
            TAG_ROLE: role,
        }
        wrong = {k: v for k, v in expected.items() if image.tags.get(k) != v}
        if wrong:
            ids = (image.id, *image.snapshots)
            draft.do(TagResources(region=region, resources=ids, tags=wrong))
            owned[image.id] = replace(image, tags={**image.tags, **wrong})
    return sorted(owned.values(), key=lambda i: (i.version, i.region, i.created, i.id))


def _home_key(want: Wanted, view: RegionView, draft: Draft) -> Key | Problem | None:
    if want.spec.encryption is None:
        return None
    written = want.spec.encryption.kms_key_id
    found = rules.key_usable(
        written, view.keys.get(written), "spec.encryption.kmsKeyId", want.spec.region
    )
    if isinstance(found, Problem):
        draft.note(found)
    return found


def _newest(owned: Iterable[Image], region: str) -> int:
    """The newest version with an AMI in the home Region that can be launched, or else at all."""
    homes = [i for i in owned if i.region == region and i.role == "home"]
    launchable = [i.version for i in homes if i.available]
    return max(launchable or [i.version for i in homes], default=0)


def _fingerprint(source: Source, key: Key | None, owned: Iterable[Image]) -> str:
    """What a version is recognized by. A source that is a version of ours stays that version."""
    for image in owned:
        same = source.image is not None and image.id == source.image.id
        ours = image.role == "home" and image.version and image.fingerprint
        if same and ours and (key is None or image.kms_keys == {key.arn}):
            return image.fingerprint
    return digest(source.kind, source.id, key.arn if key else "")


def _version(want: Wanted, source: Source, fingerprint: str, owned: Sequence[Image]) -> int:
    """The version this source is, or the next number."""
    made = [i for i in owned if i.fingerprint == fingerprint and i.version]
    if source.instance is not None:
        # An instance changes as it runs: once its AMI is gone, a capture is another version.
        made = [i for i in made if i.region == want.spec.region]
    if made:
        return max(i.version for i in made)
    remembered = want.memory.fingerprints.get(fingerprint)
    if remembered and source.image is not None:
        return remembered
    for role in ("home", "intermediate"):
        known = want.memory.images.get((remembered or 0, want.spec.region, role))
        if remembered and known is not None and not known.seen:
            return remembered  # asked for and not visible yet: not another capture
    return max([i.version for i in owned] + [want.memory.highest], default=0) + 1


def _best(images: Iterable[Image]) -> Image | None:
    """The AMI that fills a slot: available before pending before disabled, the oldest first."""
    rank = {"available": 0, "pending": 1, "transient": 1, "disabled": 2}
    usable = [i for i in images if i.state in rank]
    return min(usable, key=lambda i: (rank[i.state], i.created, i.id), default=None)


def _ownership(
    want: Wanted, version: int, fingerprint: str, role: Role, attempt: int, key: Key | None
) -> dict[str, str]:
    tags = {
        **want.spec.tags,
        TAG_IMAGE: want.key,
        TAG_CLUSTER: want.cluster,
        TAG_VERSION: str(version),
        TAG_SOURCE: fingerprint,
        TAG_ROLE: role,
    }
    if attempt > 1:
        tags[TAG_ATTEMPT] = str(attempt)
    if key is not None:
        tags[TAG_KEY] = key.arn
    return tags


@dataclass(frozen=True, slots=True)
class _Slot:
    """One place that an AMI must fill: a Region and a role of one version."""

    want: Wanted
    version: int
    fingerprint: str
    region: str
    role: Role
    key: Key | None = None

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

    def tags(self, attempt: int) -> dict[str, str]:
        return _ownership(self.want, self.version, self.fingerprint, self.role, attempt, self.key)

    def copy(self, of: Image, attempt: int, predecessor: str) -> CopyImage:
        key = self.key.arn if self.key else None
        suffix = f"-r{attempt}" if attempt > 1 else ""
        want = self.want
        return CopyImage(
            region=self.region,
            source_region=of.region,
            source_image=of.id,
            name=ami_name(want, self.version, suffix),
            description=want.spec.description,
            key=key,
            tags=self.tags(attempt),
            # The predecessor makes the token new once the AMI it stood for is gone.
            token=digest(
                want.cluster, want.key, self.version, self.region, self.role, of.id, key,
                predecessor, length=48,
            ),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Turn:
    """Leave to fill a slot now: which attempt it is, and which AMI it follows."""

    attempt: int
    predecessor: str


def _turn(
    slot: _Slot, there: Sequence[Image], now: datetime, draft: Draft, others: Sequence[Image] = ()
) -> _Turn | None:
    """Whether an empty slot may be filled now; says what it waits for otherwise.

    `there` are AMIs that tried to fill it, `others` those in its place under another key.
    """
    failed = sorted((i for i in there if i.failed), key=lambda i: (i.attempt, i.created, i.id))
    if failed:
        last = failed[-1]
        doublings = min(max(last.attempt, 1) - 1, 16)  # the tag may have been mangled by hand
        delay = min(FIRST_RETRY * 2**doublings, LAST_RETRY)
        left = delay - _seconds(last.created, now)
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
        return _Turn(_attempt([*there, *others]), last.id)
    known = slot.want.memory.images.get((slot.version, slot.region, slot.role))
    if known is not None and not known.seen:
        age = _seconds(known.at, now)
        if age < UNSEEN_GRACE:
            draft.wait(f"{known.image_id} to become visible in {slot.region}", POLL)
            return None
    # An AMI under a former key holds the name, so the one under the new key gets a suffix.
    return _Turn(_attempt(others), known.image_id if known else "")


def _attempt(before: Sequence[Image]) -> int:
    """The number after these attempts, whose name is free even where a tag was taken off."""
    attempt = max((i.attempt for i in before), default=0) + 1
    while any(i.name.endswith(f"-r{attempt}") for i in before):
        attempt += 1
    return attempt


def _seconds(since: str, now: datetime) -> float:
    try:
        return (now - datetime.fromisoformat(since)).total_seconds()
    except ValueError:
        return float("inf")


def _keep(slot: _Slot, owned: Sequence[Image], draft: Draft) -> Image | None:
    """The AMI that fills the slot, kept whole; failed attempts beside it are cleared away."""
    there = slot.filled_by(owned)
    best = _best(there)
    if best is None:
        return None
    for image in there:
        if image.failed and TAG_ADOPTED not in image.tags:
            draft.do(
                DeregisterImage(region=image.region, image=image.id, snapshots=image.snapshots)
            )
    if best.pending:
        draft.wait(f"{best.id} to become available in {best.region}", POLL)
    elif best.state == "disabled":
        draft.do(EnableImage(region=best.region, image=best.id))
    return best


def _home(
    want: Wanted,
    source: Source,
    key: Key | None,
    version: int,
    fingerprint: str,
    owned: Sequence[Image],
    seen: Observed,
    now: datetime,
    draft: Draft,
) -> Image | None:
    """The home AMI if there is one; otherwise the action that makes it."""
    region = want.spec.region
    slot = _Slot(want, version, fingerprint, region, "home")
    there = slot.filled_by(owned)
    best = _keep(slot, owned, draft)
    stage = _Slot(want, version, fingerprint, region, "intermediate")
    if best is not None:
        if best.available:
            for image in stage.filled_by(owned):
                draft.do(DeregisterImage(region=region, image=image.id, snapshots=image.snapshots))
        return best
    if source.image is not None:
        _home_from_image(
            _Slot(want, version, fingerprint, region, "home", key),
            source.image, there, seen, now, draft,
        )  # fmt: skip
    elif source.instance is not None:
        _home_from_instance(
            _Slot(want, version, fingerprint, region, "home", key),
            stage, source.instance, there, owned, now, draft,
        )  # fmt: skip
    return None


def _home_from_image(
    slot: _Slot,
    image: Image,
    there: Sequence[Image],
    seen: Observed,
    now: datetime,
    draft: Draft,
) -> None:
    if problem := rules.instance_store_image(image):
        draft.note(problem)
        return
    if image.pending:
        draft.wait(f"source {image.id} to become available", POLL)
        return
    if not image.available:
        draft.stop(
            "SourceNotAvailable",
            f"spec.source.image: {image.id} is {image.state}. Enable it or choose another AMI",
            region=image.region,
        )
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
    if turn := _turn(slot, there, now, draft):
        draft.do(slot.copy(image, turn.attempt, turn.predecessor))


def _adopt(slot: _Slot, image: Image, draft: Draft) -> None:
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
    tags = {**slot.tags(1), TAG_ADOPTED: "true"}
    ids = (image.id, *image.snapshots)
    draft.do(TagResources(region=image.region, resources=ids, tags=tags, adopts=True))


def _home_from_instance(
    slot: _Slot,
    stage: _Slot,
    instance: Instance,
    there: Sequence[Image],
    owned: Sequence[Image],
    now: datetime,
    draft: Draft,
) -> None:
    if problem := rules.instance_store_instance(instance, slot.region):
        draft.note(problem)
        return
    if slot.key is None:
        if turn := _turn(slot, there, now, draft):
            draft.do(_capture(slot, instance, turn, ""))
        return
    # CreateImage cannot change encryption, so the encrypted AMI is a copy of a first one.
    first = _keep(stage, owned, draft)
    if first is None:
        if turn := _turn(stage, stage.filled_by(owned), now, draft):
            draft.do(_capture(stage, instance, turn, "-unencrypted"))
    elif first.available:
        if problem := rules.product_code_copy(first):
            draft.note(problem)
        elif turn := _turn(slot, there, now, draft):
            draft.do(slot.copy(first, turn.attempt, turn.predecessor))


def _capture(slot: _Slot, instance: Instance, turn: _Turn, suffix: str) -> CreateImage:
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


def _replica(
    want: Wanted,
    replica: Replica,
    version: int,
    fingerprint: str,
    home: Image,
    owned: Sequence[Image],
    seen: Observed,
    now: datetime,
    draft: Draft,
) -> Image | None:
    """The copy in one DR Region if there is one; otherwise the action that makes it."""
    view = seen.region(replica.region)
    if view.problem:
        draft.note(view.problem)
        return None
    field_name = f"spec.replicas[{replica.region}].kmsKeyId"
    key: Key | None = None
    if replica.kms_key_id is not None:
        found = rules.key_usable(
            replica.kms_key_id, view.keys.get(replica.kms_key_id), field_name, replica.region
        )
        if isinstance(found, Problem):
            draft.note(found)
            return None
        key = found
    elif home.encrypted:
        draft.stop(
            rules.KEY_REQUIRED,
            f"{field_name}: required, since {home.id} is encrypted and KMS keys are Regional. Name "
            f"a customer-managed key of {replica.region}",
            region=replica.region,
        )
        return None
    slot = _Slot(want, version, fingerprint, replica.region, "replica", key)
    best = _keep(slot, owned, draft)
    if best is not None:
        return best
    if problem := rules.product_code_copy(home):
        draft.note(problem)
        return None
    there = slot.filled_by(owned)
    others = [i for i in replace(slot, key=None).filled_by(owned) if i not in there]
    if home.available and (turn := _turn(slot, there, now, draft, others)):
        draft.do(slot.copy(home, turn.attempt, turn.predecessor))
    return None


def _tags(want: Wanted, image: Image, view: RegionView, draft: Draft) -> None:
    """User tags on the AMI and its snapshots, as in spec; keys that left spec are removed."""
    ours = {
        k: v for k, v in image.tags.items() if k.startswith(TAG_PREFIX)
    }  # snapshots carry what their AMI carries
    gone = [k for k in want.memory.tag_keys if k not in want.spec.tags]
    there: list[tuple[str, Mapping[str, str]]] = [(image.id, image.tags)]
    there += [(s, view.snapshots[s].tags) for s in image.snapshots if s in view.snapshots]
    add: dict[tuple[tuple[str, str], ...], list[str]] = {}
    drop: dict[tuple[str, ...], list[str]] = {}
    for resource, tags in there:
        wrong = {k: v for k, v in {**want.spec.tags, **ours}.items() if tags.get(k) != v}
        if wrong:
            add.setdefault(tuple(sorted(wrong.items())), []).append(resource)
        stale = tuple(sorted(k for k in gone if k in tags))
        if stale:
            drop.setdefault(stale, []).append(resource)
    for pairs, ids in add.items():
        draft.do(TagResources(region=image.region, resources=tuple(ids), tags=dict(pairs)))
    for keys, ids in drop.items():
        draft.do(UntagResources(region=image.region, resources=tuple(ids), keys=keys))
