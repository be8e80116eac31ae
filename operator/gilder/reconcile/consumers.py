"""Looks at shared AMIs with roles in the consumers' accounts, and keeps tags there."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from gilder.api import ImageShare
from gilder.api.imageshare import Consumer
from gilder.aws import consumers as calls
from gilder.aws import errors
from gilder.aws.sessions import Sessions
from gilder.core.actions import TagForConsumer
from gilder.core.consumers import (
    NO_ROLE,
    Facts,
    accounts_of,
    due,
    fingerprint,
    images_of,
    tag_actions,
)
from gilder.core.observed import Image
from gilder.core.results import Result
from gilder.core.sharing import SharePlan
from gilder.core.times import rfc3339

AT_ONCE = 8  # accounts per pass, side by side; the others follow in the next ones
PAUSE = 1.0  # seconds until then

# Namespace and account to sessions there; None where there is no role to use.
Open = Callable[[str, str], Sessions | None]
# Whether there is a role to use.
Has = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class ConsumerView:
    """What was seen, what was tagged, and in how many seconds to look again."""

    seen: tuple[Consumer, ...] = ()
    results: tuple[Result, ...] = ()
    again: float | None = None
    asked: int = 0


def _roleless(account: str, before: Consumer | None, mark: str, now: datetime) -> Consumer:
    if before is not None and before.message == NO_ROLE:
        return before
    ours = before.tags if before is not None else ()
    return Consumer(account=account, checked=rfc3339(now), message=NO_ROLE, digest=mark, tags=ours)


class Consumers:
    """Calls with roles in the consumers' accounts."""

    def __init__(self, sessions: Open, has: Has, now: Callable[[], datetime]) -> None:
        self._sessions = sessions
        self._has = has
        self._now = now
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="consumer")

    def look(
        self, share: ImageShare, plan: SharePlan, *, tagging: bool, asked: bool = False
    ) -> ConsumerView:
        """See what each account sees, if it is time to or somebody asked; raises nothing that AWS
        said. While access is being changed nothing is looked at.
        """
        spec = share.spec
        before = {c.account: c for c in share.status.consumers}
        if not spec.verify_from_consumer and spec.consumer_tags is None:
            return ConsumerView()
        if plan.plan.actions or share.metadata.deleting:
            return ConsumerView(tuple(before.values()), asked=len(before))
        accounts = accounts_of(plan.states)
        now = self._now()
        marks = {a: fingerprint(spec, images_of(plan.states, a)) for a in accounts}
        # Where there is no role there is nothing to look with, and nothing to come back for.
        has = {a for a in accounts if self._has(share.metadata.namespace, a)}
        roleless = {a: _roleless(a, before.get(a), marks[a], now) for a in accounts if a not in has}
        many = len(has)
        pauses = {
            a: 0.0 if asked else due(before.get(a), marks[a], now, many)
            for a in accounts
            if a in has
        }
        ready = [a for a, pause in pauses.items() if pause <= 0]

        def one(account: str) -> tuple[Consumer, list[Result]]:
            images = images_of(plan.states, account)
            return self._look(share, account, images, before.get(account), marks[account], tagging)

        looked = dict(zip(ready, self._pool.map(one, ready[:AT_ONCE]), strict=False))
        new = {**roleless, **{a: found for a, (found, _) in looked.items()}}
        seen = [new.get(a) or before.get(a) for a in accounts]
        left = [p for a, p in pauses.items() if a not in looked]
        return ConsumerView(
            tuple(c for c in seen if c is not None),
            tuple(r for _, some in looked.values() for r in some),
            max(PAUSE, min(left)) if left else None,
            len(accounts),
        )

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _look(
        self,
        share: ImageShare,
        account: str,
        images: Sequence[Image],
        before: Consumer | None,
        mark: str,
        tagging: bool,
    ) -> tuple[Consumer, list[Result]]:
        checked = rfc3339(self._now())
        ours = before.tags if before is not None else ()
        sessions = self._sessions(share.metadata.namespace, account)
        if sessions is None:  # since just now
            return _roleless(account, before, mark, self._now()), []
        results: list[Result] = []
        try:
            facts = self._facts(sessions, images, verify=share.spec.verify_from_consumer)
            if tagging:
                wanted = tag_actions(share.spec, account, images, facts, ours)
                results = [self._tag(sessions, a) for a in wanted]
        except errors.AWS_ERRORS as error:
            told = errors.lasting(errors.problem(error, f"looking from {account}").message)
            found = Consumer(account=account, checked=checked, message=told, digest=mark, tags=ours)
            return found, results
        set_now = {k for r in results if r.done and isinstance(r.action, TagForConsumer)
                   for k in r.action.tags}  # fmt: skip
        wrong = [f"{i.id} in {i.region}: {facts[i.id].wrong}" for i in images if facts[i.id].wrong]
        wrong += [r.problem.message for r in results if r.problem]
        fine = sum(1 for i in images if not facts[i.id].wrong)
        return (
            Consumer(
                account=account,
                checked=checked,
                launchable=f"{fine}/{len(images)}",
                message=errors.lasting("; ".join(wrong))[:1000] or None,
                digest=mark,
                tags=tuple(sorted({*ours, *set_now})),
            ),
            [r for r in results if r.done],
        )

    @staticmethod
    def _facts(sessions: Sessions, images: Sequence[Image], *, verify: bool) -> dict[str, Facts]:
        by_region: dict[str, list[Image]] = {}
        for image in images:
            by_region.setdefault(image.region, []).append(image)
        facts: dict[str, Facts] = {}
        for region, there in by_region.items():
            ec2 = sessions.ec2(region)
            visible = calls.visible(ec2, [i.id for i in there])
            keys: dict[str, str] = {}
            if verify:
                kms = sessions.kms(region)
                keys = {k: calls.key_usable(kms, k) for k in {k for i in there for k in i.kms_keys}}
            for image in there:
                tags = visible.get(image.id)
                run = ""
                if verify and tags is not None:
                    run = calls.dry_run(ec2, image.id, image.architecture)
                said = tuple((k, keys.get(k, "")) for k in sorted(image.kms_keys))
                facts[image.id] = Facts(tags, run, said)
        return facts

    @staticmethod
    def _tag(sessions: Sessions, action: TagForConsumer) -> Result:
        ec2 = sessions.ec2(action.region)
        try:
            if action.tags:
                calls.tag(ec2, [action.image], action.tags)
            if action.gone:
                calls.untag(ec2, [action.image], action.gone)
        except errors.AWS_ERRORS as error:
            return Result(action, errors.problem(error, action.describe(), action.region))
        return Result(action)
