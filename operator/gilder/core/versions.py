"""The plan of one GoldenImage: which version is wanted, and what it lacks in each Region."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from gilder.api.goldenimage import Replica
from gilder.api.names import (
    TAG_ADOPTED,
    TAG_CLUSTER,
    TAG_GATES,
    TAG_IMAGE,
    TAG_ORIGIN,
    TAG_PREFIX,
    TAG_ROLE,
    TAG_SOURCE,
    TAG_VERSION,
)
from gilder.core import building, origin, rules
from gilder.core.actions import CreateImage, DeregisterImage, TagResources, UntagResources
from gilder.core.building import NO_BUILD, BuildPlan, Ground, kept
from gilder.core.digest import digest
from gilder.core.gating import NO_GATES, PENDING, Verdict, end_tests, plan_gates, shut
from gilder.core.observed import Image, Instance, Key, Observed, Problem, RegionView
from gilder.core.plan import Draft, Plan, freeze
from gilder.core.schedule import next_run
from gilder.core.slots import POLL, UNSEEN_GRACE, Slot, Turn, ami_name, best, keep, turn, usable
from gilder.core.times import passed, rfc3339
from gilder.core.wanted import Source, Wanted
from gilder.core.work import NO_WORK, Work


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """A Plan with the version that is released, or is on its way to be.

    `version` is 0 while none can be chosen. `candidate` is the version that spec.source asks for;
    it differs from `version` while it is made or checked, or when it failed its gates.
    """

    plan: Plan
    version: int = 0
    home: Image | None = None
    replicas: Mapping[str, Image] = field(default_factory=dict)  # by Region, available ones
    source: Source | None = None
    fingerprint: str = ""  # of the candidate
    candidate: int = 0
    candidate_home: Image | None = None
    verdict: Verdict = NO_GATES
    build: BuildPlan = NO_BUILD
    origin: str = ""  # of the candidate
    next_build: str | None = None  # RFC 3339, UTC


def plan_image(
    want: Wanted,
    source: Source | Problem,
    seen: Observed,
    now: datetime,
    work: Work = NO_WORK,
    *,
    may_build: bool = True,
) -> ImagePlan:
    """What makes AWS match `want`.

    `source` is what spec.source resolved to, or the parent image where that is built. A source that
    cannot be resolved, or a home key that cannot be used, stops new versions only: the latest one
    is still looked after. `may_build`: there is a place free among the builds.
    """
    draft = Draft()
    spec = want.spec
    home_view = seen.region(spec.region)
    if home_view.problem:
        draft.note(home_view.problem)
        return ImagePlan(freeze(draft), build=kept(want))
    key = _home_key(want, home_view, draft)
    owned = _owned(want, seen, draft)
    for problem in work.problems:
        draft.note(problem)

    build = NO_BUILD
    told = ""
    if spec.source.built:
        following = _next(want, owned)
        ground = Ground(
            source, key, following, ami_name(want, following), may_build, home_view.keys
        )
        build = building.plan_build(want, ground, owned, seen, work, now, draft)
        made = building.built(want, build, seen, owned)
        told = made.origin
        resolved = made.source
    elif isinstance(source, Problem):
        draft.note(source)
        resolved = None
    else:
        resolved, told, build = _triggered(want, source, owned, now)
    if not spec.source.built and want.memory.build is not None:
        # It was begun before spec.source was changed.
        ended = building.plan_stop(want, seen, work, now, draft, discard=True)
        build = replace(ended, request=build.request)

    home: Image | None
    if resolved is None or isinstance(key, Problem):
        newest = _newest(owned, spec.region, built=spec.source.built)
        version = newest if spec.source.built else want.memory.latest or newest
        fingerprint = next((i.fingerprint for i in owned if i.version == version), "")
        slot = Slot(want, version, fingerprint, spec.region, "home")
        home = keep(slot, owned, draft) if version else None
    else:
        fingerprint = _fingerprint(resolved, key, owned)
        version = _version(want, resolved, fingerprint, owned)
        aim = _Aim(want, resolved, key, version, fingerprint, told)
        home = _home(aim, owned, seen, now, draft)

    # While the source is not known, what is being checked may be what it stands for.
    unknown = resolved is None and not spec.source.built
    spare = _under_test(want) if unknown else frozenset()
    verdict = _verdict(want, home, version, work, now, draft, spare)
    released, released_home = version, home
    if not (home is not None and home.available and verdict.open):
        former = _former(want, version, owned)
        if former is not None:
            released = former.version
            slot = Slot(want, released, former.fingerprint, spec.region, "home")
            released_home = keep(slot, owned, draft)
    held = released == version and not verdict.open

    replicas: dict[str, Image] = {}
    if released and released_home is not None and not held:
        for replica in spec.replicas:
            copy = _replica(want, replica, released, released_home, owned, seen, now, draft)
            if copy is not None:
                replicas[replica.region] = copy
    for image in owned:
        looked_after = image.version in (version, released)
        if looked_after and not image.failed and image.role != "intermediate":
            _tags(want, image, seen.region(image.region), draft)
    coming = _next_run(want, now, draft)
    available = released_home if released_home and released_home.available and not held else None
    ready = {r: i for r, i in replicas.items() if i.available}
    return ImagePlan(
        freeze(draft),
        released,
        available,
        ready,
        resolved,
        fingerprint,
        version,
        home if home and home.available else None,
        verdict,
        build,
        told,
        coming,
    )


def plan_work_end(
    want: Wanted, seen: Observed, work: Work, now: datetime, *, discard: bool
) -> ImagePlan:
    """What ends the work on a new version, when the GoldenImage is suspended or deleted."""
    draft = Draft()
    view = seen.region(want.spec.region)
    if view.problem:
        draft.note(view.problem)
        return ImagePlan(freeze(draft), build=kept(want))
    for problem in work.problems:
        draft.note(problem)
    end_tests(want, work, draft)
    build = building.plan_stop(want, seen, work, now, draft, discard=discard)
    return ImagePlan(freeze(draft), build=build)


def _next_run(want: Wanted, now: datetime, draft: Draft) -> str | None:
    """When the schedule comes next; the plan is made again then."""
    schedule = want.spec.schedule
    run = next_run(schedule, want.key, now) if schedule is not None else None
    if run is None:
        return None
    draft.wake(max(1.0, (run - now).total_seconds() + 1.0))
    return rfc3339(run)


def _next(want: Wanted, owned: Iterable[Image]) -> int:
    """The next version number."""
    return max([i.version for i in owned] + [want.memory.highest], default=0) + 1


def _triggered(
    want: Wanted, source: Source, owned: Sequence[Image], now: datetime
) -> tuple[Source, str, BuildPlan]:
    """A capture of an instance is made anew when the schedule or a request asks for it."""
    if source.instance is None:
        return source, "", NO_BUILD
    past = building.history(want, owned, want.memory.last_build)
    trigger = origin.due(want.spec.schedule, want.key, want.request, "", "", past, now)
    last = past.origin.trigger if past.origin is not None else ""
    asked = trigger if trigger not in ("", last) else last
    if not past.any:
        asked = trigger or origin.INITIAL
    # Heeded is what an AMI tells of: a capture that AWS refuses is tried again.
    request = want.memory.request
    if want.request and last == origin.of_request(want.request):
        request = want.request
    shown = "" if asked == origin.INITIAL else asked
    said = str(origin.Origin(asked)) if asked else ""
    return replace(source, trigger=shown), said, BuildPlan(request=request)


def _under_test(want: Wanted) -> frozenset[str]:
    """Home AMIs that are being checked, as status remembers."""
    return frozenset(
        known.image_id
        for (version, _, role), known in want.memory.images.items()
        if role == "home"
        and version in want.memory.tested
        and want.memory.tested[version].state == PENDING
    )


def _verdict(
    want: Wanted, home: Image | None, version: int, work: Work, now: datetime, draft: Draft,
    spare: frozenset[str],
) -> Verdict:  # fmt: skip
    gates = want.spec.gates
    if home is not None and home.available:
        return plan_gates(want, home, version, work, now, draft, spare)
    end_tests(want, work, draft, spare)
    return Verdict(PENDING) if gates is not None and gates.any else NO_GATES


def _former(want: Wanted, version: int, owned: Sequence[Image]) -> Image | None:
    """The home AMI of the version that stays released while a newer one is made or checked."""
    homes = [
        i
        for i in owned
        if i.region == want.spec.region
        and i.role == "home"
        and 0 < i.version != version
        and (i.available or i.state == "disabled")
        and not shut(i)
    ]
    known = [i for i in homes if i.version == want.memory.latest]
    if not known and want.memory.latest in (0, version):
        known = [i for i in homes if i.version < version]
    return max(known, key=lambda i: (i.version, i.available, i.id), default=None)


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
        if role == "home" and TAG_GATES not in image.tags:
            wrong |= _gates_tag(want, version)
        if role == "home" and TAG_ORIGIN not in image.tags and version in want.memory.origins:
            wrong[TAG_ORIGIN] = want.memory.origins[version]
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


def _gates_tag(want: Wanted, version: int) -> dict[str, str]:
    """What the gates tag of a version must say when somebody took it off."""
    known = want.memory.tested.get(version)
    # A version that failed is judged anew, since its tag also says by which gates.
    return {} if known is None else {TAG_GATES: "passed" if known.state == "Passed" else "pending"}


def _newest(owned: Iterable[Image], region: str, *, built: bool) -> int:
    """The newest version with an AMI in the home Region that can be launched, or else at all."""
    homes = [i for i in owned if i.region == region and i.role == "home"]
    launchable = [i.version for i in homes if i.available]
    if built:
        launchable = [i.version for i in homes if not i.failed]
    return max(launchable or [i.version for i in homes], default=0)


def _fingerprint(source: Source, key: Key | None, owned: Iterable[Image]) -> str:
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


def _version(want: Wanted, source: Source, fingerprint: str, owned: Sequence[Image]) -> int:
    """The version this source is, or the next number."""
    made = [i for i in owned if i.fingerprint == fingerprint and i.version]
    if source.instance is not None:
        # An instance changes as it runs: once its AMI is gone, a capture is another version.
        made = [i for i in made if i.region == want.spec.region]
    if made:
        return max(i.version for i in made)
    remembered = want.memory.fingerprints.get(fingerprint)
    if remembered and source.instance is None:
        return remembered
    for role in ("home", "intermediate"):
        known = want.memory.images.get((remembered or 0, want.spec.region, role))
        if remembered and known is not None and not known.seen:
            return remembered  # asked for and not visible yet: not another capture
    return _next(want, owned)


@dataclass(frozen=True, slots=True)
class _Aim:
    """The version whose home AMI is to be there."""

    want: Wanted
    source: Source
    key: Key | None
    version: int
    fingerprint: str
    origin: str

    @property
    def home(self) -> Slot:
        return Slot(
            self.want, self.version, self.fingerprint, self.want.spec.region, "home", self.key,
            self.origin,
        )  # fmt: skip

    @property
    def stage(self) -> Slot:
        """Where an AMI waits that is copied to become the home AMI."""
        return Slot(
            self.want, self.version, self.fingerprint, self.want.spec.region, "intermediate",
            origin=self.origin,
        )  # fmt: skip


def _home(
    aim: _Aim, owned: Sequence[Image], seen: Observed, now: datetime, draft: Draft
) -> Image | None:
    """The home AMI if there is one; otherwise the action that makes it."""
    # By the tags alone: a fingerprint of image and instance holds the key already.
    slot = aim.home if aim.source.build else replace(aim.home, key=None)
    found = keep(slot, owned, draft)
    if found is not None:
        if found.available:
            for image in aim.stage.filled_by(owned):
                region = image.region
                draft.do(DeregisterImage(region=region, image=image.id, snapshots=image.snapshots))
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
    aim: _Aim, image: Image, there: Sequence[Image], seen: Observed, now: datetime, draft: Draft
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
    aim: _Aim, there: Sequence[Image], owned: Sequence[Image], now: datetime, draft: Draft
) -> None:
    slot, built = aim.home, aim.source.image
    # Under another key: what is there of this version, or what the build has left.
    former = best(i for i in replace(slot, key=None).filled_by(owned) if i not in there)
    first = best(aim.stage.filled_by(owned)) or former or built
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
    else:
        others = [former] if former is not None else []
        if now_is := turn(slot, there, now, draft, others):
            draft.do(slot.copy(first, now_is.attempt, now_is.predecessor))


def _home_from_instance(
    aim: _Aim,
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


def _replica(
    want: Wanted,
    replica: Replica,
    version: int,
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
    if (written := want.spec.key_of(replica)) is not None:
        usable = rules.key_usable(written, view.keys.get(written), field_name, replica.region)
        if isinstance(usable, Problem):
            draft.note(usable)
            return None
        key = usable
    elif home.encrypted:
        draft.stop(
            rules.KEY_REQUIRED,
            f"{field_name}: required, since {home.id} is encrypted and KMS keys are Regional. Name "
            f"a customer-managed key of {replica.region}",
            region=replica.region,
        )
        return None
    slot = Slot(want, version, home.fingerprint, replica.region, "replica", key)
    found = keep(slot, owned, draft)
    if found is not None:
        return found
    if problem := rules.product_code_copy(home):
        draft.note(problem)
        return None
    there = slot.filled_by(owned)
    others = [i for i in replace(slot, key=None).filled_by(owned) if i not in there]
    if home.available and (now_is := turn(slot, there, now, draft, others)):
        draft.do(slot.copy(home, now_is.attempt, now_is.predecessor))
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
