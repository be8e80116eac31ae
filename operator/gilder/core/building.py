"""The plan of a build: when one begins, what it waits for, and what comes of it; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gilder.api.goldenimage import Build
from gilder.api.names import (
    TAG_BUILD,
    TAG_CLUSTER,
    TAG_IMAGE,
    TAG_ORIGIN,
    TAG_PREFIX,
    TAG_VERSION,
)
from gilder.core import jobs, origin, recipes, rules
from gilder.core.actions import (
    CancelBuild,
    CreateJob,
    DeleteJob,
    DeregisterImage,
    StartBuild,
)
from gilder.core.observed import Image, Key, Observed, Problem
from gilder.core.origin import History, Origin
from gilder.core.plan import Draft
from gilder.core.slots import NAME_LIMIT, usable
from gilder.core.times import passed, rfc3339
from gilder.core.wanted import Source, Wanted
from gilder.core.work import SeenJob, Work, job_of

POLL = 30.0  # seconds between looks at a build, which takes a quarter of an hour and more
GONE_GRACE = 300.0  # seconds a build or the AMI of a Job may stay invisible
SOON = 0.5  # seconds
LOG = 800  # characters of a log's end in a condition

PENDING, RUNNING, CANCELLING = "Pending", "Running", "Cancelling"
SUCCEEDED, FAILED, CANCELLED = "Succeeded", "Failed", "Cancelled"
UNDER_WAY = frozenset({PENDING, RUNNING, CANCELLING})


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """`record` is the build under way and `ended` the last one that ended, for status.

    `request` is the rebuild annotation that has been heeded. `due` is a trigger that asks for a
    build which cannot begin yet.
    """

    record: Build | None = None
    ended: Build | None = None
    request: str | None = None
    due: str = ""

    @property
    def begins(self) -> bool:
        """Whether a build is asked for that AWS or Kubernetes does not show yet."""
        return self.record is not None and self.record.state == PENDING


NO_BUILD = BuildPlan()


def kept(want: Wanted) -> BuildPlan:
    """The builds as status has them."""
    memory = want.memory
    return BuildPlan(memory.build, memory.last_build, memory.request)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a build stands on: the parent image as it is now, the home key, the next version."""

    parent: Source | Problem
    key: Key | Problem | None
    version: int
    ami_name: str
    may_build: bool
    keys: Mapping[str, Key | Problem]  # of the home Region, as written

    @property
    def parent_id(self) -> str:
        """The parent image's id; empty where there is none, or none that can be told."""
        if isinstance(self.parent, Problem) or self.parent.image is None:
            return ""
        return self.parent.image.id


def kind_of(want: Wanted) -> str:
    """Which kind of build spec.source asks for; empty for none."""
    source = want.spec.source
    return "imageBuilder" if source.image_builder else "job" if source.job else ""


def inputs(want: Wanted) -> str:
    """Digest of what decides what comes of a build."""
    source = want.spec.source
    if source.image_builder is not None:
        return recipes.inputs(source.image_builder)
    return jobs.inputs(source.job) if source.job is not None else ""


def history(want: Wanted, owned: Sequence[Image], last: Build | None) -> History:
    """What was built before, by the `last` build that ended and by the tags of the AMIs.

    A build that was cancelled counts only while status does not say yet that it was.
    """
    counts = last is not None and (last.state != CANCELLED or last is not want.memory.last_build)
    tags = [(i.version, i.tags.get(TAG_ORIGIN, "")) for i in owned]
    begun = [i.created for i in owned if i.region == want.spec.region and i.role == "home"]
    told = origin.newest([*tags, *want.memory.origins.items()])
    if last is not None and counts:
        told = _origin(last)
        begun.append(last.started_at or "")
    return History(
        origin=told,
        since=max(begun, key=_moment, default=""),
        any=bool(owned) or want.memory.highest > 0,
        request=want.memory.request,
        lost=_lost(want, owned, last),
    )


def _origin(build: Build) -> Origin:
    return Origin(build.trigger, build.inputs, build.parent)


def plan_build(
    want: Wanted, ground: Ground, owned: Sequence[Image], seen: Observed, work: Work,
    now: datetime, draft: Draft,
) -> BuildPlan:  # fmt: skip
    """The next step of a build of spec.source.imageBuilder or spec.source.job."""
    plan = kept(want)
    if plan.record is not None and plan.record.kind != kind_of(want):
        plan = plan_stop(want, seen, work, now, draft, discard=True)
        if plan.record is not None:
            return plan  # what was built before spec.source was changed ends first
    if plan.record is not None and plan.record.state in UNDER_WAY:
        plan = _follow(want, plan.record, plan, ground, seen, work, now, draft)
    else:
        plan = replace(plan, record=None)
    if plan.record is None:
        plan = _begin(want, plan, ground, owned, work, now, draft)
    last = plan.ended
    if last is not None and last is not want.memory.last_build and last.state == SUCCEEDED:
        draft.wait(f"{last.image_id}, which build {last.id} made, to be taken", SOON)
    _tell(plan, draft)
    _clear_jobs(want, plan, owned, work, draft)
    return plan


def plan_stop(
    want: Wanted, seen: Observed, work: Work, now: datetime, draft: Draft, *, discard: bool = False
) -> BuildPlan:
    """What cancels the build under way.

    An AMI that was finished meanwhile stays for later, unless `discard`.
    """
    plan = kept(want)
    record = plan.record
    if record is None or record.state not in UNDER_WAY:
        return replace(plan, record=None)
    why = record.message or "cancelled: no build is wanted now"
    over = _end(plan, record, CANCELLED, why, now)
    job = job_of(work.jobs, record.id)
    if record.kind == "job":
        if job is not None:
            if not job.deleting:
                draft.do(_delete(want, job))
            draft.wait(f"Job {job.name} to be gone", POLL)
            return plan
        made = _made(record, seen, want)
        if made is not None and not discard:
            done = record.model_copy(update={"image_id": made.id})
            return _end(plan, done, SUCCEEDED, "", now)
        _leftovers(want, record, seen, draft)
        return over
    if "builds" in work.unread:
        draft.wait("the build to be seen", POLL)
        return plan
    found = work.build(record.id, record.ref)
    if found is None:
        return over
    if found.failed or found.done:
        for image, snapshots in found.leftovers:
            draft.do(_clear(want, image, snapshots))
        if found.done and found.image and discard:
            draft.do(_clear(want, found.image, ()))
        elif found.done and found.image:
            done = record.model_copy(update={"image_id": found.image, "ref": found.arn})
            return _end(plan, done, SUCCEEDED, "", now)
        return over
    if record.state != CANCELLING:
        draft.do(CancelBuild(region=want.spec.region, arn=found.arn))
    draft.wait(f"build {record.id} to be cancelled", POLL)
    stopping = record.model_copy(update={"state": CANCELLING, "ref": found.arn})
    return replace(plan, record=stopping)


@dataclass(frozen=True, slots=True)
class Built:
    """The last AMI that was built, and why and from what."""

    source: Source | None = None
    origin: str = ""
    problem: Problem | None = None


def built(want: Wanted, plan: BuildPlan, seen: Observed, owned: Sequence[Image]) -> Built:
    """What came of the last build, if it is to become a version or is one."""
    last = plan.ended
    if last is None or last.state != SUCCEEDED:
        return Built()
    image = seen.region(want.spec.region).images.get(last.image_id or "")
    if image is not None and image.owner != seen.account:
        image = None  # no build of ours has made it, whatever status says
    elif image is not None and (owner := image.of_another(want.cluster, want.key, want.others)):
        told = Problem(
            "OwnedByAnother",
            f"spec.source: {image.id}, which build {last.id} made, is of {owner} by its tags. Let "
            f"the build set no tags that begin with {TAG_PREFIX}, and ask for another with the "
            "annotation goldenimage.dev/rebuild",
            permanent=True,
            region=want.spec.region,
        )
        return Built(problem=told)
    version = any(i.fingerprint == last.id for i in owned)
    if not version and last is not want.memory.last_build:
        # It ended just now. Status records that before the AMI is taken: an AMI that is a version
        # is never looked at again as what a build has made.
        return Built()
    return Built(Source(image=image, build=last.id), str(_origin(last)))


# A build that begins


def _begin(
    want: Wanted, plan: BuildPlan, ground: Ground, owned: Sequence[Image], work: Work,
    now: datetime, draft: Draft,
) -> BuildPlan:  # fmt: skip
    digest = inputs(want)
    parent = ground.parent_id
    if isinstance(ground.parent, Problem):
        draft.note(ground.parent)
    last = plan.ended
    past = history(want, owned, last)
    trigger = origin.due(want.spec.schedule, want.key, want.request, digest, parent, past, now)
    if not trigger and last is not None and last.state == CANCELLED:
        trigger = last.trigger  # what was cut short goes on
    if not trigger or (past.origin is not None and past.origin.trigger == trigger):
        return plan
    if isinstance(ground.parent, Problem) or isinstance(ground.key, Problem):
        return replace(plan, due=trigger)  # told already; it begins once that is mended
    if not _keys_usable(want, ground, draft):
        return replace(plan, due=trigger)
    field = "spec.source.imageBuilder.recipe.parentImage"
    image = ground.parent.image
    if image is not None and not usable(image, "parent image", field, POLL, draft):
        return replace(plan, due=trigger)
    if not ground.may_build:
        draft.wait("a free place among the builds (GILDER_MAX_BUILDS)", POLL)
        return replace(plan, due=trigger)
    attempt = 1
    if last is not None and (last.trigger, last.inputs, last.parent) == (trigger, digest, parent):
        attempt = last.attempt + 1
    record = Build(
        kind=kind_of(want),
        # With the time of the last build, so that what was built once can be built again later.
        id=origin.build_id(
            want.cluster, want.key, want.uid, trigger, digest, parent, attempt, past.since
        ),
        trigger=trigger,
        version=ground.version,
        attempt=attempt,
        state=PENDING,
        inputs=digest,
        parent=parent,
        started_at=rfc3339(now),
    )
    _start(want, record, ground, work, draft)
    return replace(plan, record=record, request=want.request)


def _arns(keys: Mapping[str, Key | Problem]) -> dict[str, str]:
    return {written: k.arn for written, k in keys.items() if isinstance(k, Key)}


def _keys_usable(want: Wanted, ground: Ground, draft: Draft) -> bool:
    """Whether the keys of the recipe's volumes can be used."""
    good = True
    for written in recipes.device_keys(want.spec.source.image_builder):
        field = "spec.source.imageBuilder.recipe.blockDevices.volume.kmsKeyId"
        found = rules.key_usable(written, ground.keys.get(written), field, want.spec.region)
        if isinstance(found, Problem):
            draft.note(found)
            good = False
    return good


def _start(want: Wanted, record: Build, ground: Ground, work: Work, draft: Draft) -> None:
    spec, region = want.spec, want.spec.region
    key = ground.key.arn if isinstance(ground.key, Key) else ""
    builder = spec.source.image_builder
    if builder is not None:
        tags = {
            **spec.tags,
            TAG_IMAGE: want.key,
            TAG_CLUSTER: want.cluster,
            TAG_BUILD: record.id,
            TAG_VERSION: str(record.version),
        }
        order = None
        if builder.recipe is not None:
            order = recipes.order(
                builder, want.cluster, want.key, record.parent, region, key or None,
                spec.tags, ground.ami_name, _arns(ground.keys),
            )  # fmt: skip
        draft.do(
            StartBuild(
                region=region,
                build=record.id,
                tags=tags,
                pipeline=builder.pipeline_arn or "",
                order=order,
            )
        )
    elif spec.source.job is not None and job_of(work.jobs, record.id) is None:
        # A name of its own, since the version's is for the copy under the home key.
        ami_name = f"{ground.ami_name[: NAME_LIMIT - 9]}-{record.id[:8]}"
        context = jobs.JobContext(
            want.namespace, want.name, want.uid, region, want.cluster, record.version,
            record.id, ami_name, key,
        )  # fmt: skip
        manifest = jobs.manifest(spec.source.job, context)
        draft.do(CreateJob(region=region, build=record.id, manifest=manifest))
    draft.wait(f"build {record.id} to start", POLL)


# A build under way


def _follow(
    want: Wanted, record: Build, plan: BuildPlan, ground: Ground, seen: Observed, work: Work,
    now: datetime, draft: Draft,
) -> BuildPlan:  # fmt: skip
    if want.spec.source.job is not None:
        return _follow_job(want, record, plan, ground, seen, work, now, draft)
    if "builds" in work.unread:
        draft.wait(f"build {record.id} to be seen", POLL)
        return plan
    builder = want.spec.source.image_builder
    assert builder is not None  # plan_build is for the two kinds of builds
    found = work.build(record.id, record.ref)
    if found is None and not record.ref:
        return _again(want, record, plan, ground, work, draft)
    if found is None:
        if passed(record.started_at, now) < GONE_GRACE:
            draft.wait(f"build {record.id} to become visible", POLL)
            return plan
        return _end(plan, record, FAILED, f"{record.ref} does not exist any more", now)
    record = record.model_copy(update={"ref": found.arn, "stage": found.state, "log": found.log})
    if found.failed:
        for image, snapshots in found.leftovers:
            draft.do(_clear(want, image, snapshots))
        parts = [record.message, found.step, found.reason]
        said = ": ".join(p.strip().rstrip(".") for p in parts if p) or f"it is {found.state}"
        return _end(plan, record, FAILED, said, now)
    if found.done:
        if not found.image:
            said = f"no AMI in {want.spec.region} came of it: see its distribution settings"
            return _end(plan, record, FAILED, said, now)
        return _end(plan, record.model_copy(update={"image_id": found.image}), SUCCEEDED, "", now)
    record = record.model_copy(update={"state": record.state.replace(PENDING, RUNNING)})
    late = passed(record.started_at, now) > builder.timeout_minutes * 60
    if late and record.state != CANCELLING:
        draft.do(CancelBuild(region=want.spec.region, arn=found.arn))
        said = f"cancelled, since it took longer than {builder.timeout_minutes} minutes"
        record = record.model_copy(update={"state": CANCELLING, "message": said})
    draft.wait(f"build {record.id}, which is {found.state}", POLL)
    return replace(plan, record=record)


def _again(
    want: Wanted, record: Build, plan: BuildPlan, ground: Ground, work: Work, draft: Draft
) -> BuildPlan:
    """Asked for, but not seen: ask again, which is the same build, unless all is different now."""
    if (record.inputs, record.parent) != (inputs(want), ground.parent_id):
        return replace(plan, record=None)
    if isinstance(ground.key, Problem):
        return plan
    if not ground.may_build:
        draft.wait("a free place among the builds (GILDER_MAX_BUILDS)", POLL)
        return plan
    _start(want, record, ground, work, draft)
    return plan


def _follow_job(
    want: Wanted, record: Build, plan: BuildPlan, ground: Ground, seen: Observed, work: Work,
    now: datetime, draft: Draft,
) -> BuildPlan:  # fmt: skip
    job = job_of(work.jobs, record.id)
    made = _made(record, seen, want)
    if job is None and made is None and record.state == PENDING:
        return _again(want, record, plan, ground, work, draft)
    if job is None or job.state == "succeeded":
        if made is not None:
            for image in seen.region(want.spec.region).images.values():
                if _of_build(image, record, seen) and image.id != made.id:
                    draft.do(_clear(want, image.id, image.snapshots))  # of an attempt before
            done = record.model_copy(update={"image_id": made.id, "stage": "Complete"})
            return _end(plan, done, SUCCEEDED, "", now)
        if job is None:
            return _end(plan, record, FAILED, "its Job was deleted before it had ended", now)
        if record.finished_at is None:
            record = record.model_copy(
                update={
                    "finished_at": rfc3339(now),
                    "state": RUNNING,
                    "stage": "Complete",
                    "ref": job.name,
                }
            )
        if passed(record.finished_at, now) < GONE_GRACE:
            draft.wait(f"the AMI of Job {job.name} to become visible", POLL)
            return replace(plan, record=record)
        said = (
            f"Job {job.name} succeeded, but no AMI in {want.spec.region} carries the tag "
            f"{TAG_BUILD}={record.id}. Tag it with var.build_id (GILDER_BUILD_ID)"
        )
        return _end(plan, record, FAILED, said, now)
    record = record.model_copy(update={"state": RUNNING, "ref": job.name})
    if job.state == "failed":
        _leftovers(want, record, seen, draft)
        log = f"; its log ends: {job.log[-LOG:]}" if job.log else ""
        told = record.model_copy(
            update={"log": f"kubectl logs -n {want.namespace} job/{job.name}", "stage": "Failed"}
        )
        return _end(plan, told, FAILED, f"Job {job.name} failed: {job.message}{log}", now)
    draft.wait(f"Job {job.name}")  # its end is told by a watch
    return replace(plan, record=record)


def _end(plan: BuildPlan, record: Build, state: str, message: str, now: datetime) -> BuildPlan:
    update = {"state": state, "message": message, "finished_at": rfc3339(now)}
    return BuildPlan(None, record.model_copy(update=update), plan.request)


def _tell(plan: BuildPlan, draft: Draft) -> None:
    """A build that failed is told of until another one begins."""
    last = plan.ended
    if plan.record is not None or last is None or last.state != FAILED:
        return
    where = f". Log: {last.log}" if last.log else ""
    draft.stop(
        "BuildFailed",
        f"spec.source: build {last.id} ({last.trigger}) failed: {last.message}{where}. Mend the "
        "spec, or ask for another build with the annotation goldenimage.dev/rebuild",
    )


# What is left of builds


def _made(record: Build, seen: Observed, want: Wanted) -> Image | None:
    """The AMI that carries the build's id; the newest, if there are several."""
    images = seen.region(want.spec.region).images.values()
    ours = [i for i in images if _of_build(i, record, seen) and not i.failed]
    return max(ours, key=lambda i: (i.created, i.id), default=None)


def _of_build(image: Image, record: Build, seen: Observed) -> bool:
    """Whether an AMI was made by this build and is no version of anything yet."""
    mine = image.owner == seen.account and TAG_IMAGE not in image.tags
    return mine and image.tags.get(TAG_BUILD) == record.id


def _leftovers(want: Wanted, record: Build, seen: Observed, draft: Draft) -> None:
    """AMIs that a Job made before it failed or was cancelled."""
    for image in seen.region(want.spec.region).images.values():
        if _of_build(image, record, seen):
            draft.do(_clear(want, image.id, image.snapshots))


def _clear(want: Wanted, image: str, snapshots: tuple[str, ...]) -> DeregisterImage:
    return DeregisterImage(region=want.spec.region, image=image, snapshots=snapshots, leftover=True)


def _delete(want: Wanted, job: SeenJob) -> DeleteJob:
    return DeleteJob(region=want.spec.region, namespace=want.namespace, name=job.name)


def _clear_jobs(
    want: Wanted, plan: BuildPlan, owned: Sequence[Image], work: Work, draft: Draft
) -> None:
    """Jobs whose AMI has become a version, and those that a later build replaces."""
    versions = {i.fingerprint for i in owned}
    for job in work.jobs:
        if job.deleting or job.owner != want.uid:
            continue
        current = plan.record is not None and plan.record.id == job.build
        if not current and (job.build in versions or plan.record is not None):
            draft.do(_delete(want, job))


def _lost(want: Wanted, owned: Sequence[Image], last: Build | None) -> str:
    """The home AMI of the newest built version, if it was seen once and is gone."""
    if last is None or last.state != SUCCEEDED:
        return ""
    version = want.memory.version_by_print.get(last.id, 0)
    known = want.memory.images.get((version, want.spec.region, "home"))
    if not version or known is None or not known.seen:
        return ""
    there = [i for i in owned if i.version == version and i.region == want.spec.region]
    return "" if any(not i.failed for i in there) else known.image_id


def _moment(text: str) -> float:
    return -passed(text, datetime.fromisoformat("2000-01-01T00:00:00+00:00"))
