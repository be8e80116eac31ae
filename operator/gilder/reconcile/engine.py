"""The two reconciles, each one straight line: resolve, observe, plan, apply, report."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from gilder.api import GoldenImage, GoldenImageStatus, ImageShare, ImageShareStatus
from gilder.aws import errors, images
from gilder.aws.sessions import Sessions
from gilder.aws.view import Views
from gilder.core import needs
from gilder.core.actions import CopyImage, CreateImage
from gilder.core.needs import RegionNeeds
from gilder.core.observed import Observed, Problem
from gilder.core.plan import Draft, freeze
from gilder.core.report_image import is_drift as image_drifted
from gilder.core.report_image import report_deletion, report_image
from gilder.core.report_share import claims, report_share
from gilder.core.report_share import is_drift as share_drifted
from gilder.core.results import Result
from gilder.core.sharing import SharePlan, access_needs, plan_share
from gilder.core.versions import ImagePlan, Wanted, plan_deletion, plan_image
from gilder.reconcile.apply import Applier
from gilder.reconcile.inventory import ImageScope, ShareScope
from gilder.reconcile.outcome import Outcome
from gilder.reconcile.source import resolve

POLL = 15.0  # seconds between looks at what EC2 has under way

Clock = Callable[[], datetime]
Save = Callable[[ImageShareStatus], None]


def utc_now() -> datetime:
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """RFC 3339 in seconds, UTC, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Engine:
    """Reconciles against one AWS account. Its calls block; they may run in several threads."""

    def __init__(
        self,
        sessions: Sessions,
        cluster: str,
        *,
        clock: Clock = utc_now,
        poll: float = POLL,
    ) -> None:
        self.sessions = sessions
        self.cluster = cluster
        self.views = Views(sessions, cluster)
        self.applier = Applier(sessions, self.views)
        self._clock = clock
        self._poll = poll

    def now(self) -> datetime:
        return self._clock()

    # GoldenImage

    def reconcile_image(
        self, image: GoldenImage, scope: ImageScope, since: float
    ) -> Outcome[GoldenImageStatus]:
        """One pass over a GoldenImage; raises nothing that AWS said."""
        if image.metadata.deleting:
            return self._delete_image(image, scope, since)
        want = scope.want
        seen, plan = self.plan_image(image, want, since)
        results: tuple[Result, ...] = ()
        if image.spec.management_policy == "Full":
            results = self.applier.apply(plan.plan.actions)
        status, events = report_image(image, want, plan, seen, results, stamp(self._clock()))
        return Outcome(
            status,
            tuple(events),
            results,
            drift=image_drifted(image, want, plan),
            again=self._again(plan.plan.retry_after, results),
            failed=_passing(*plan.plan.problems, *(r.problem for r in results)),
        )

    def plan_image(
        self, image: GoldenImage, want: Wanted, since: float
    ) -> tuple[Observed, ImagePlan]:
        """Observe and plan, without changing anything."""
        seen, lack = self._observe(needs.of_image(want), since)
        lack = lack or _wrong_account(image, seen)
        if lack is not None:
            return seen, _stopped(lack)
        source = resolve(want, seen, self.sessions)
        return seen, plan_image(want, source, seen, self._clock())

    def _delete_image(
        self, image: GoldenImage, scope: ImageScope, since: float
    ) -> Outcome[GoldenImageStatus]:
        want, sharers = scope.want, scope.sharers
        empty = freeze(Draft())
        if image.metadata.abandoned:
            return Outcome(image.status, release=True)
        if sharers:
            now = stamp(self._clock())
            status, events = report_deletion(image, empty, sharers, (), now)
            return Outcome(status, tuple(events))
        observing = image.spec.management_policy == "Observe" or image.spec.suspend
        if image.spec.deletion_policy == "Retain" or observing or image.metadata.paused:
            return Outcome(image.status, release=True)
        seen, lack = self._observe(needs.of_image(want), since)
        lack = lack or _wrong_account(image, seen)
        plan = _stopped(lack).plan if lack else plan_deletion(want, seen, self._used(want, seen))
        results = self.applier.apply(plan.actions)
        if not plan.problems and all(r.done for r in results):
            if not results:
                return Outcome(image.status, release=True)
            # Looked at once more before the finalizer goes, so that nothing is left behind.
            return Outcome(image.status, results=results, again=0.0)
        status, events = report_deletion(image, plan, (), results, stamp(self._clock()))
        failed = _passing(*plan.problems, *(r.problem for r in results))
        return Outcome(status, tuple(events), results, again=self._poll, failed=failed)

    def _used(self, want: Wanted, seen: Observed) -> dict[str, str]:
        """What uses each AMI; one that could not be asked about counts as used."""
        if want.spec.deletion_policy != "Delete":
            return {}
        used: dict[str, str] = {}
        by_region: dict[str, list[str]] = {}
        for image in seen.owned(want.cluster, want.key):
            by_region.setdefault(image.region, []).append(image.id)
        for region, ids in by_region.items():
            try:
                used |= images.references(self.sessions.ec2(region), ids)
            except errors.AWS_ERRORS as error:
                why = errors.problem(error, "asking what uses it failed", region).message
                used |= dict.fromkeys(ids, f"possibly something ({why})")
        return used

    # ImageShare

    def reconcile_share(
        self,
        share: ImageShare,
        scope: ShareScope,
        since: float,
        save: Save,
        access_since: float | None = None,
    ) -> Outcome[ImageShareStatus]:
        """One pass over an ImageShare. `save` writes a status before anything is given.

        `access_since` is the `since` of launch permissions, grants and key policies.
        """
        if share.metadata.abandoned:
            return Outcome(share.status, release=True)
        mine = scope.mine
        if mine.leaving and mine.passive:
            # Deleting what is suspended or only observed lets go of it as it is.
            return Outcome(share.status, release=True)
        seen, plan = self.plan_share(scope, since, access_since=access_since)
        results: tuple[Result, ...] = ()
        if share.spec.management_policy == "Full":
            before = None if mine.leaving else claims(share, mine, plan)
            if before is not None:
                save(before)
            results = self.applier.apply(plan.plan.actions)
        status, events = report_share(share, mine, plan, seen, results, stamp(self._clock()))
        problems = [*plan.plan.problems, *(r.problem for r in results)]
        return Outcome(
            status,
            tuple(events),
            results,
            drift=share_drifted(share, plan),
            again=self._again(plan.plan.retry_after, results),
            failed=_passing(*problems),
            release=mine.leaving and plan.plan.settled,
        )

    def plan_share(
        self,
        scope: ShareScope,
        since: float,
        overlay: Callable[[Observed], Observed] | None = None,
        access_since: float | None = None,
    ) -> tuple[Observed, SharePlan]:
        """Observe and plan, without changing anything.

        `overlay` may add AMIs that are only planned, before it is read who has access.
        """
        needed = needs.of_share(scope.mine)
        for regions in scope.regions.values():
            for region in regions:
                needed.setdefault(region, needs.NOTHING)
        needed = needs.merge((needed, *(needs.of_share(o) for o in scope.others)))
        seen, lack = self._observe(needed, since)
        if lack is not None:
            return seen, SharePlan(_stopped(lack).plan)
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
            policies=bool(spec.organizations or spec.organizational_units),
            public=frozenset(r for r, _ in places) if spec.public else frozenset(),
        )

    def prefetch(self, inventory_needs: dict[str, RegionNeeds], since: float) -> None:
        """Read what a whole sweep will look at in as few calls as it takes."""
        self._observe(inventory_needs, since, whole=True)

    # Both

    def _observe(
        self, needed: Mapping[str, RegionNeeds], since: float, *, whole: bool = False
    ) -> tuple[Observed, Problem | None]:
        try:
            return self.views.images(needed, since, whole=whole), None
        except errors.AWS_ERRORS as error:
            return Observed("", {}), errors.problem(error, "asking which account this is")

    def _again(self, wish: float | None, results: tuple[Result, ...]) -> float | None:
        """After a change look at once; while EC2 works on something, poll."""
        done = [r.action for r in results if r.done]
        if any(not isinstance(a, CopyImage | CreateImage) for a in done):
            return 0.0
        if done:
            return self._poll
        return None if wish is None else max(0.5, min(wish, self._poll) if wish < 60 else wish)


def plan_scope(scope: ShareScope, seen: Observed, cluster: str) -> SharePlan:
    """The plan of a share within its scope."""
    return plan_share(
        scope.mine, scope.others, scope.goldens, scope.regions, seen, cluster, scope.claims
    )


def _stopped(problem: Problem) -> ImagePlan:
    draft = Draft()
    draft.note(problem)
    return ImagePlan(freeze(draft))


def _passing(*problems: Problem | None) -> bool:
    return any(p is not None and not p.permanent for p in problems)


def _wrong_account(image: GoldenImage, seen: Observed) -> Problem | None:
    if image.spec.account in (None, seen.account):
        return None
    return Problem(
        "WrongAccount",
        f"spec.account: the operator's credentials belong to account {seen.account}, not to "
        f"{image.spec.account}. Correct the field, or run an operator with credentials for it",
    )
