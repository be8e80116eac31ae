"""Publishes to parameters in consumer accounts, with the roles of the access file."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gilder.api.goldenimage import Published
from gilder.aws import consumers as calls
from gilder.aws import errors, parameters
from gilder.aws.sessions import Sessions
from gilder.core.abroad import (
    RETRY,
    UNSEEN,
    UNTOUCHED,
    Todo,
    agenda,
    no_role,
    not_shared,
    pause_after,
    tried_again,
    troubles,
)
from gilder.core.actions import DeleteParameter, PutParameter, ReleaseParameter
from gilder.core.observed import Image, Problem
from gilder.core.plan import sooner
from gilder.core.publishing import Place, not_ours, not_taken, of_other_type, refused
from gilder.core.results import Result
from gilder.core.times import rfc3339
from gilder.core.wanted import Wanted
from gilder.reconcile.outcome import Abroad

if TYPE_CHECKING:
    from mypy_boto3_ssm.client import SSMClient

AT_ONCE = 8  # accounts per pass, side by side; the others follow in the next ones

# Namespace and account to sessions there; None where there is no role to use.
Open = Callable[[str, str], Sessions | None]


@dataclass(frozen=True, slots=True)
class _Done:
    """What came of one account: what status says of it from now on (None: nothing)."""

    told: dict[Place, Published | None]
    results: tuple[Result, ...] = ()


class ConsumerParameters:
    """Calls with roles in the consumers' accounts; raises nothing that AWS said."""

    def __init__(self, sessions: Open, now: Callable[[], datetime], pace: float = 1.0) -> None:
        self._sessions = sessions
        self._now = now
        self._pace = pace
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="publish")

    def look(
        self,
        want: Wanted,
        served: Mapping[str, Image],
        *,
        asked: bool = False,
        leaving: bool = False,
    ) -> Abroad:
        """Write what is due and delete what is wanted no more, eight accounts in a pass."""
        plan = agenda(
            want,
            served,
            self._now(),
            asked=asked,
            leaving=leaving,
            at_once=AT_ONCE,
            pace=self._pace,
        )
        release = leaving and want.spec.deletion_policy == "Orphan"
        done = list(self._pool.map(lambda todo: self._account(want, todo, release), plan.due))
        told: dict[Place, Published | None] = {t.place: t for t in plan.told}
        for one in done:
            told |= one.told
        left = tuple(t for t in told.values() if t is not None)
        problems = (*plan.problems, *(() if leaving else troubles(want, left)))
        results = tuple(r for one in done for r in one.results)
        fresh = (t for one in done for t in one.told.values() if t is not None)
        often = pause_after(want, self._now(), self._pace) if not leaving else RETRY * self._pace
        again = tried_again(fresh, often, pace=self._pace, leaving=leaving)
        return Abroad(left, problems, results, sooner(plan.again, again))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _account(self, want: Wanted, todo: Todo, release: bool) -> _Done:
        told: dict[Place, Published | None] = {}
        results: list[Result] = []
        lack: Problem | None = None
        sessions: Sessions | None = None
        try:
            sessions = self._sessions(want.namespace, todo.account)
        except errors.AWS_ERRORS as error:
            lack = errors.problem(error, f"publishing to {todo.account}")
        if sessions is None and lack is None:
            lack = no_role(todo.account)
        for image in todo.put.values():
            if sessions is not None:
                found = self._publish(sessions, want, todo, image, results)
            else:
                found = lack
            one = self._told(want, todo, image, found)
            told[one.place] = one
        for old in todo.drop:
            if not old.image_id and old.message:
                found = None  # nothing was ever written
            elif sessions is not None:
                found = self._drop(sessions, want, old, results, release=release)
            else:
                found = lack
            at, message = rfc3339(self._now()), _message(found)
            change = {"message": message, "at": at, "version": 0}
            kept = old.model_copy(update=change) if found else None
            told[old.place] = kept
        return _Done(told, tuple(results))

    def _told(self, want: Wanted, todo: Todo, image: Image, problem: Problem | None) -> Published:
        """What status says of a parameter that was written, or could not be.

        While it is not known what a write did, both may be there; the one before is told.
        """
        one = Published(
            kind="Parameter",
            name=todo.name,
            region=image.region,
            account=todo.account,
            image_id=image.id,
            version=image.version,
            at=rfc3339(self._now()),
            message=_message(problem),
        )
        if problem is None or problem is JUST_WRITTEN:
            return one
        before = want.memory.told(one.place)
        was = before.image_id if before is not None else ""
        if problem.reason not in UNTOUCHED:
            was = was or image.id
        return one.model_copy(update={"image_id": was})

    @staticmethod
    def _publish(
        sessions: Sessions, want: Wanted, todo: Todo, image: Image, results: list[Result]
    ) -> Problem | None:
        """Have one parameter name an AMI; why it does not."""
        region, account = image.region, todo.account
        doing = f"publishing {todo.name} in {region} of {account}"
        try:
            ssm = sessions.ssm(region)
            value, other = calls.parameter(ssm, todo.name)
            if value:
                owner = calls.parameter_owner(ssm, todo.name, want.cluster)
                if owner != want.key:
                    return not_ours(todo.name, region, owner, want.key, want.cluster, account)
            if other:
                return of_other_type(todo.name, region, other, account)
            if value == image.id:
                return None
            if image.id not in calls.visible(sessions.ec2(region), [image.id]):
                return not_shared(account, image, want.key)
            before = want.memory.told(("Parameter", account, region, todo.name))
            action = PutParameter(
                region=region,
                name=todo.name,
                image=image.id,
                version=image.version,
                owner=want.key,
                cluster=want.cluster,
                exists=bool(value),
                account=account,
                heals=before is not None and before.image_id == image.id and not before.message,
            )
            calls.change_parameter(ssm, action)
        except parameters.NotOursError as error:
            return not_ours(todo.name, region, error.owner, want.key, want.cluster, account)
        except errors.AWS_ERRORS as error:
            return refused(errors.problem(error, doing, region))
        results.append(Result(action))
        return ConsumerParameters._read_back(ssm, todo, image, before)

    @staticmethod
    def _read_back(
        ssm: "SSMClient", todo: Todo, image: Image, before: Published | None
    ) -> Problem | None:
        """AWS answers before it has looked at the AMI, and drops a value that it does not like."""
        try:
            if calls.parameter(ssm, todo.name)[0] == image.id:
                return None
        except errors.AWS_ERRORS:
            pass  # it is looked at soon
        if before is not None and before.image_id == image.id and _untaken(before):
            return not_taken(todo.name, image.region, image.id, todo.account)
        return JUST_WRITTEN

    @staticmethod
    def _drop(
        sessions: Sessions, want: Wanted, old: Published, results: list[Result], *, release: bool
    ) -> Problem | None:
        """Delete one parameter, or let go of it; why it stays."""
        kind = ReleaseParameter if release else DeleteParameter
        action = kind(
            region=old.region,
            name=old.name,
            owner=want.key,
            cluster=want.cluster,
            account=old.account,
        )
        try:
            ssm = sessions.ssm(old.region)
            calls.change_parameter(ssm, action)
        except parameters.NotOursError:
            return None  # somebody else has it now
        except errors.AWS_ERRORS as error:
            return errors.problem(error, action.describe(), old.region)
        results.append(Result(action))
        return None


# No problem, but a reason to look again soon.
JUST_WRITTEN = Problem("Publishing", "written, and not seen yet", permanent=False)


def _untaken(told: Published) -> bool:
    """Whether it was written before, and AWS did not show it."""
    return told.message == UNSEEN or told.message.startswith("ParameterNotTaken: ")


def _message(problem: Problem | None) -> str:
    if problem is None:
        return ""
    return f"{problem.reason}: {errors.lasting(problem.message)}"[:1000]
