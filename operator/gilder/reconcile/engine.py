"""One AWS account: the reconcile of a GoldenImage, and the plan of an ImageShare's part there."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from gilder.api import GoldenImage, GoldenImageStatus
from gilder.aws import errors
from gilder.aws.sessions import Sessions
from gilder.aws.useview import UseViews
from gilder.aws.view import Views
from gilder.aws.workview import WorkViews
from gilder.core import needs, report
from gilder.core.abroad import keeping, left_behind
from gilder.core.actions import (
    WORK,
    CopyImage,
    CreateImage,
    CreateJob,
    DeleteRecipes,
    EndTest,
    LaunchTest,
    ReportUsage,
    RunCheck,
    StartBuild,
)
from gilder.core.building import NO_BUILD, UNDER_WAY, kept
from gilder.core.copyqueue import hold_back, under_way
from gilder.core.deletion import asked_on_deletion, plan_deletion
from gilder.core.needs import RegionNeeds
from gilder.core.observed import Image, Observed, Problem
from gilder.core.plan import Draft, freeze, sooner
from gilder.core.publishing import plan_publish, plan_unpublish, with_abroad
from gilder.core.recipes import recipe_name
from gilder.core.report_image import is_drift as image_drifted
from gilder.core.report_image import report_deletion, report_image
from gilder.core.report_publish import after_deletion
from gilder.core.report_work import report_stop
from gilder.core.results import Result
from gilder.core.retention import asked
from gilder.core.shares import Resolution, Share, access_needs
from gilder.core.sharing import SharePlan, plan_share
from gilder.core.times import rfc3339
from gilder.core.versions import ImagePlan, plan_image, plan_work_end
from gilder.core.wanted import Wanted
from gilder.core.work import SeenJob, Work
from gilder.reconcile.apply import Applier
from gilder.reconcile.inventory import ImageScope, ShareScope
from gilder.reconcile.outcome import Abroad, Outcome
from gilder.reconcile.places import CopyPlaces, Places
from gilder.reconcile.ports import ClusterError, Jobs, NoJobs, PublishedMaps
from gilder.reconcile.source import resolve

POLL = 15.0  # seconds between looks at what EC2 has under way
POLLED = 60.0  # pauses below it are polls, which follow the setting of the poll interval
MAX_BUILDS = 10  # at once, unless told otherwise
# Of AMIs, into one Region of an account:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-quotas.html
MAX_COPIES = 300

Clock = Callable[[], datetime]
SaveImage = Callable[[GoldenImageStatus], None]
# What is served, and whether the GoldenImage goes; publishes to consumer accounts.
PublishAbroad = Callable[[Mapping[str, Image], bool], Abroad]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Engine:
    """Reconciles against one AWS account. Its calls block; they may run in several threads."""

    def __init__(
        self,
        sessions: Sessions,
        cluster: str,
        *,
        clock: Clock = utc_now,
        poll: float = POLL,
        jobs: Jobs | None = None,
        maps: PublishedMaps | None = None,
        places: Places | None = None,
        copies: int = MAX_COPIES,
        ages: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ages` is the clock, in seconds, that tells how old what was read is."""
        self.sessions = sessions
        self.cluster = cluster
        self.views = Views(sessions, cluster, ages)
        self.work = WorkViews(sessions, cluster, ages)
        self.uses = UseViews(sessions, ages)
        self.jobs: Jobs = jobs if jobs is not None else NoJobs()
        self.places = places if places is not None else Places(MAX_BUILDS)
        self.copies = CopyPlaces(copies)
        self.applier = Applier(sessions, self.views, self.work, self.jobs, self.uses, maps)
        self._clock = clock
        self._poll = poll

    def now(self) -> datetime:
        return self._clock()

    @property
    def pace(self) -> float:
        """How much slower or faster than usual it polls."""
        return self._poll / POLL

    def close(self) -> None:
        """Wait for what is under way; call it after everybody who applies has come back."""
        self.applier.close()
        self.views.close()

    # GoldenImage

    def reconcile_image(
        self,
        image: GoldenImage,
        scope: ImageScope,
        since: float,
        save: SaveImage | None = None,
        abroad: PublishAbroad | None = None,
    ) -> Outcome[GoldenImageStatus]:
        """One pass over a GoldenImage; raises nothing that AWS said.

        `save` writes a status before a build is begun.
        """
        if image.metadata.deleting:
            return self._delete_image(image, scope, since, abroad)
        want = scope.want
        full = image.spec.management_policy == "Full"
        may_build = not full or not image.spec.source.built or self.places.admit(want.key)
        building = False
        try:
            outcome = self._reconcile(image, scope, since, save, abroad, may_build=may_build)
            building = _begun(outcome)
            return outcome
        finally:
            if full and not building:
                self.places.leave(want.key)

    def _reconcile(
        self,
        image: GoldenImage,
        scope: ImageScope,
        since: float,
        save: SaveImage | None,
        abroad: PublishAbroad | None,
        *,
        may_build: bool,
    ) -> Outcome[GoldenImageStatus]:
        want, full = scope.want, image.spec.management_policy == "Full"
        seen, plan = self.plan_image(image, scope, since, may_build=may_build)
        results: tuple[Result, ...] = ()
        if full:
            if save is not None and plan.build.begins and image.status.build != plan.build.record:
                # Known before it is begun, so that a crash in between does not lose it.
                save(image.status.model_copy(update={"build": plan.build.record}))
            plan = self._queue(plan, seen)
            results = self.applier.apply(plan.plan.actions)
            plan = self._begin_copies(plan, seen, results)
        told = Abroad(tuple(p for p in image.status.published if p.account))
        if full and abroad is not None and scope.barred is None:
            told = abroad(plan.served, False)
        own_plan, plan = plan, with_abroad(plan, told.told, told.problems)
        status, events = report_image(image, want, plan, seen, results, rfc3339(self._clock()))
        again = self.again(plan.plan.retry_after, results)
        if not full and again is not None:
            again = max(again, POLLED)  # nothing moves on by itself
        if any(r.problem and r.problem.permanent and isinstance(r.action, STARTS) for r in results):
            again = -1.0  # refused by AWS or Kubernetes: later, and later each time
        else:
            again = sooner(again, told.again)
        return Outcome(
            status,
            (*events, *report.action_events(told.results, drift=False)),
            (*results, *told.results),
            drift=image_drifted(image, want, plan),
            again=again,
            failed=passing(*own_plan.plan.problems, *(r.problem for r in results)),
        )

    def _queue(self, plan: ImagePlan, seen: Observed) -> ImagePlan:
        """Hold back the copies into Regions that have as many under way as AWS takes."""
        waiting = []
        for action in plan.plan.actions:
            if isinstance(action, CopyImage):
                view, now = seen.region(action.region), self.views.now()
                pending = under_way(view)
                if not self.copies.admit(action.region, action.token, view.images, pending, now):
                    waiting.append(action)
        return hold_back(plan, waiting)

    def _begin_copies(
        self, plan: ImagePlan, seen: Observed, results: Sequence[Result]
    ) -> ImagePlan:
        """Remember copies that were begun; those that AWS has no room for are queued."""
        full = set()
        for result in results:
            action = result.action
            if not isinstance(action, CopyImage):
                continue
            if result.problem is None:
                self.copies.begun(action.region, action.token, result.made)
                continue
            limited = result.problem.reason == "LimitExceeded"
            pending, now = under_way(seen.region(action.region)), self.views.now()
            self.copies.refused(action.region, action.token, pending, now, full=limited)
            full |= {action.region} if limited else set()
        return replace(plan, queued=plan.queued | full)

    def plan_image(
        self, image: GoldenImage, scope: ImageScope, since: float, *, may_build: bool = True
    ) -> tuple[Observed, ImagePlan]:
        """Observe and plan, without changing anything."""
        want = scope.want
        seen, lack = self._look(image, scope, since)
        if lack is not None:
            return seen, _stopped(lack, want)
        source = resolve(want, seen, self.views, since)
        work = self._see_work(want, seen, scope.jobs, since)
        now = self._clock()
        missing = needs.missing(want, seen)
        if missing:
            bins = {r: needs.restorable(want, self.uses.restorable(r)) for r in missing}
            want = replace(want, restorable={r: b for r, b in bins.items() if b})
        uses = keeping(want, self.uses.read(asked(want, now), since))
        plan = plan_image(want, source, seen, now, work, uses, may_build=may_build)
        plan = replace(plan, restorable=want.restorable)
        return seen, plan_publish(want, plan, seen, now, scope.maps, uses)

    def _look(
        self,
        image: GoldenImage,
        scope: ImageScope,
        since: float,
        more: Mapping[str, RegionNeeds] | None = None,
    ) -> tuple[Observed, Problem | None]:
        """The AMIs of a GoldenImage, or why nothing can be planned for it."""
        if scope.barred is not None:
            return Observed("", {}), scope.barred
        needed = needs.merge((needs.of_image(scope.want, scope.jobs), more or {}))
        seen, lack = self._observe(needed, since)
        return seen, lack or _wrong_account(image, seen)

    def _see_work(
        self, want: Wanted, seen: Observed, jobs: tuple[SeenJob, ...], since: float
    ) -> Work:
        needed = needs.of_work(want, seen)
        work = self.work.read(want.spec.region, needed, since) if needed else Work()
        return replace(work, jobs=tuple(self._with_log(want, j) for j in jobs))

    def _with_log(self, want: Wanted, job: SeenJob) -> SeenJob:
        """A Job that failed just now, with the end of its log."""
        record = want.memory.build
        if job.state != "failed" or record is None or record.id != job.build:
            return job
        try:
            return replace(job, log=self.jobs.log(want.namespace, job.name))
        except ClusterError as error:
            return replace(job, log=f"(the log could not be read: {error})")

    def stop_work(
        self, image: GoldenImage, scope: ImageScope, since: float
    ) -> Outcome[GoldenImageStatus] | None:
        """Cancel the build and end the test instances of an image; None when there are none."""
        want = scope.want
        if not has_work(image, scope):
            return None
        plan = self._plan_end(image, scope, since, discard=False)
        results = self.applier.apply(plan.plan.actions)
        if plan.build.record is None:
            self.places.leave(want.key)
        problems = (*plan.plan.problems, *(r.problem for r in results))
        return Outcome(
            report_stop(image, plan, rfc3339(self._clock())),
            tuple(report.action_events(results, drift=False)),
            results,
            again=self.again(plan.plan.retry_after, results),
            failed=passing(*problems),
        )

    def _plan_end(
        self, image: GoldenImage, scope: ImageScope, since: float, *, discard: bool
    ) -> ImagePlan:
        seen, lack = self._look(image, scope, since)
        if lack is not None:
            return _stopped(lack, scope.want)
        work = self._see_work(scope.want, seen, scope.jobs, since)
        return plan_work_end(scope.want, seen, work, self._clock(), discard=discard)

    def end_strays(self, regions: Iterable[str], known: Callable[[str], bool]) -> None:
        """Terminate test instances whose GoldenImage does not exist any more."""
        since = self.work.now()
        for region in sorted(regions):
            strays = self.work.strays(region, known, since)
            self.applier.apply([EndTest(region=region, instance=s.id) for s in strays])

    def _delete_image(
        self,
        image: GoldenImage,
        scope: ImageScope,
        since: float,
        abroad: PublishAbroad | None = None,
    ) -> Outcome[GoldenImageStatus]:
        want, sharers = scope.want, scope.sharers
        empty = freeze(Draft())
        if image.metadata.abandoned:
            return Outcome(image.status, release=True)
        if sharers:
            now = rfc3339(self._clock())
            status, events = report_deletion(image, empty, sharers, (), now)
            return Outcome(status, tuple(events))
        passive = image.spec.management_policy == "Observe" or image.metadata.paused
        if not passive and (left := self._end_work(image, scope, since)) is not None:
            return left
        if passive or image.spec.suspend:
            return Outcome(image.status, release=True)
        if (left := self._unpublish(image, scope, since, abroad)) is not None:
            return left
        if image.spec.deletion_policy == "Retain":
            return Outcome(image.status, release=True)
        seen, lack = self._look(image, scope, since)
        if lack:
            plan = _stopped(lack).plan
        else:
            uses = self.uses.read(asked_on_deletion(want, seen), since)
            plan = plan_deletion(want, seen, uses, self._clock())
        results = self.applier.apply(plan.actions)
        if not plan.problems and not plan.waiting and all(r.done for r in results):
            if not results:
                return Outcome(image.status, release=True)
            # Looked at once more before the finalizer goes, so that nothing is left behind.
            return Outcome(image.status, results=results, again=0.0)
        status, events = report_deletion(image, plan, (), results, rfc3339(self._clock()))
        failed = passing(*plan.problems, *(r.problem for r in results))
        # What a person must mend is looked at less often each time: each look asks AWS anew.
        moves = plan.waiting or any(r.done for r in results)
        again = self._poll if moves else -1.0
        return Outcome(status, tuple(events), results, again=again, failed=failed)

    def _end_work(
        self, image: GoldenImage, scope: ImageScope, since: float
    ) -> Outcome[GoldenImageStatus] | None:
        """Before a GoldenImage goes: its build, its tests, its recipes. None once all are gone."""
        want = scope.want
        status = image.status
        results: tuple[Result, ...] = ()
        plan = freeze(Draft())
        if has_work(image, scope):
            discard = image.spec.deletion_policy == "Delete"
            ending = self._plan_end(image, scope, since, discard=discard)
            plan = ending.plan
            results = self.applier.apply(plan.actions)
            build = {"build": ending.build.record, "last_build": ending.build.ended}
            status = status.model_copy(update=build)
        clear = not plan.problems and not plan.waiting and not results
        if clear and _has_recipes(image):
            delete = DeleteRecipes(
                region=image.spec.region, name=recipe_name(want.cluster, want.key)
            )
            gone = self.applier.apply([delete])
            results = tuple(r for r in gone if not r.done)
        if clear and not results:
            self.places.leave(want.key)
            return None
        again = self.again(plan.retry_after, results)
        told = image.model_copy(update={"status": status})
        status, events = report_deletion(told, plan, (), results, rfc3339(self._clock()))
        failed = passing(*plan.problems, *(r.problem for r in results))
        return Outcome(
            status, tuple(events), results, again=self._poll if again is None else again,
            failed=failed,
        )  # fmt: skip

    def _unpublish(
        self,
        image: GoldenImage,
        scope: ImageScope,
        since: float,
        abroad: PublishAbroad | None,
    ) -> Outcome[GoldenImageStatus] | None:
        """Before AMIs go: what names them. None once all of it is gone, or let go."""
        want = scope.want
        if want.spec.publish is None and not want.memory.published:
            return None
        stays = want.spec.deletion_policy == "Retain"  # then nothing of AWS need be known
        if stays:
            plan = plan_unpublish(want, Observed("", {}), scope.maps)
        else:
            seen, lack = self._look(image, scope, since, needs.of_unpublishing(want))
            if lack is not None:
                return None  # told by what follows
            uses = self.uses.read(asked_on_deletion(want, seen), since)
            plan = plan_unpublish(want, seen, scope.maps, uses)
        results = self.applier.apply(plan.actions)
        told = abroad({}, True) if abroad is not None and not stays else Abroad()
        own = (p for p in image.status.published if not p.account)
        rest = (*after_deletion(tuple(own), results), *told.told)
        stuck = [p for p in told.told if p.message]
        if not (plan.problems or plan.waiting or results or told.results or told.told):
            return None
        undone = [r.action for r in results if not r.done]
        draft = Draft(undone, list(plan.problems), list(plan.waiting), told.again)
        for one in stuck:
            reason, _, why = one.message.partition(": ")
            draft.note(left_behind(one, reason, why))
        changed = image.model_copy(
            update={"status": image.status.model_copy(update={"published": rest})}
        )
        whole = freeze(draft)
        now = rfc3339(self._clock())
        status, events = report_deletion(changed, whole, (), results, now)
        events += report.action_events(told.results, drift=False)
        done = told.results or any(r.done for r in results)
        again = 0.0 if done else min(told.again or POLLED, self._poll if plan.waiting else POLLED)
        failed = passing(*whole.problems, *(r.problem for r in results))
        return Outcome(status, tuple(events), (*results, *told.results), again=again, failed=failed)

    # ImageShare

    def plan_share(
        self,
        scope: ShareScope,
        since: float,
        overlay: Callable[[Observed], Observed] | None = None,
        access_since: float | None = None,
    ) -> tuple[Observed, SharePlan]:
        """Observe and plan one part of a share, the one of this account; nothing is changed.

        `overlay` may add AMIs that are only planned, before it is read who has access.
        `access_since` is the `since` of launch permissions, grants and key policies.
        """
        needed = needs.of_share(scope.mine)
        for region in scope.regions_in(scope.mine.part):
            needed.setdefault(region, needs.NOTHING)
        needed = needs.merge((needed, *(needs.of_share(o) for o in scope.others)))
        seen, lack = self._observe(needed, since)
        if lack is not None:
            return seen, unplanned(lack)
        seen = overlay(seen) if overlay else seen
        access = self._access(scope, seen)
        seen = self.views.access(seen, access, since if access_since is None else access_since)
        return seen, plan_scope(scope, seen, self.cluster)

    def _access(self, scope: ShareScope, seen: Observed) -> needs.AccessNeeds:
        places, keys = access_needs(scope.mine, scope.goldens, scope.regions, seen, self.cluster)
        spec = scope.mine.spec
        return needs.AccessNeeds(
            places=places,
            keys=keys,
            policies=_reads_policies(scope.mine),
            public=frozenset(r for r, _ in places) if spec.public else frozenset(),
            volumes=places if spec.snapshots else scope.mine.recorded_volumes,
        )

    def prefetch(self, needed: Mapping[str, RegionNeeds], since: float) -> None:
        """Read what a whole sweep will look at in as few calls as it takes."""
        self._observe(needed, since, whole=True)

    # Both

    def _observe(
        self, needed: Mapping[str, RegionNeeds], since: float, *, whole: bool = False
    ) -> tuple[Observed, Problem | None]:
        try:
            return self.views.images(needed, since, whole=whole), None
        except errors.AWS_ERRORS as error:
            return Observed("", {}), errors.problem(error, "asking which account this is")

    def again(self, wish: float | None, results: tuple[Result, ...]) -> float | None:
        """After a change look at once; while something is under way, poll."""
        done = [r.action for r in results if r.done]
        if any(not isinstance(a, SLOW) for a in done):
            return 0.0
        if any(not r.done for r in results) and wish is not None:
            wish = max(wish, POLL)  # what AWS refuses is not tried again at once
        if done:
            wish = sooner(wish, POLL)
        if wish is None:
            return None
        if wish >= POLLED:
            return wish
        return self._aligned(wish * self._poll / POLL)

    def _aligned(self, pause: float) -> float:
        """Polls of many resources come together, so that one read serves them all."""
        if pause < 1.0:
            return max(0.5, pause)
        left = pause - self._clock().timestamp() % pause
        return left if left >= 0.5 else left + pause


def _begun(outcome: Outcome[GoldenImageStatus]) -> bool:
    """Whether a build is under way, rather than refused."""
    build = outcome.status.build
    refused = any(r.problem and isinstance(r.action, STARTS) for r in outcome.results)
    return build is not None and build.state in UNDER_WAY and (bool(build.ref) or not refused)


STARTS = (StartBuild, CreateJob, LaunchTest, RunCheck)
SLOW = (CopyImage, CreateImage, ReportUsage, *WORK)


def has_work(image: GoldenImage, scope: ImageScope) -> bool:
    """Whether a build or a check may be under way."""
    build = image.status.build
    building = build is not None and build.state in UNDER_WAY
    gates = image.spec.gates
    # Without a status nobody knows.
    lost = not image.status.conditions and (
        image.spec.source.built or (gates is not None and gates.ssm is not None)
    )
    return (
        lost
        or building
        or any(v.gate == "Pending" for v in image.status.versions)
        or bool(scope.jobs)
    )


def _has_recipes(image: GoldenImage) -> bool:
    """Whether Image Builder may hold recipes of ours."""
    builder = image.spec.source.image_builder
    now = builder is not None and builder.recipe is not None
    builds = (image.status.build, image.status.last_build)
    recipes = any(" inputs=" in v.origin and " parent=" in v.origin for v in image.status.versions)
    return now or recipes or any(b is not None and ":imagebuilder:" in b.ref for b in builds)


def plan_scope(scope: ShareScope, seen: Observed, cluster: str) -> SharePlan:
    """The plan of a share within its scope."""
    return plan_share(
        scope.mine, scope.others, scope.goldens, scope.regions, seen, cluster, scope.claims
    )


def _stopped(problem: Problem, want: Wanted | None = None) -> ImagePlan:
    draft = Draft()
    draft.note(problem)
    return ImagePlan(freeze(draft), build=kept(want) if want is not None else NO_BUILD)


def unplanned(lack: Problem) -> SharePlan:
    """The part of a share in an account that cannot be looked at."""
    return SharePlan(_stopped(lack).plan, Resolution(problems=(lack,)))


def _reads_policies(share: Share) -> bool:
    """Whether the plan of a share looks at key policies."""
    who = share.principals
    return bool(who.organizations or who.units or share.recorded_policies or share.edits_policies)


def passing(*problems: Problem | None) -> bool:
    return any(p is not None and not p.permanent for p in problems)


def _wrong_account(image: GoldenImage, seen: Observed) -> Problem | None:
    if image.spec.account in (None, seen.account):
        return None
    return Problem(
        "WrongAccount",
        f"spec.account: the operator's credentials belong to account {seen.account}, not to "
        f"{image.spec.account}. Correct the field, or have that account added to the operator's "
        "access file",
    )
