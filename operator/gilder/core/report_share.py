"""From the plan of an ImageShare and what came of it to its status; pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from gilder.api import ImageShare, ImageShareStatus
from gilder.api.conditions import Condition, ConditionType
from gilder.api.imageshare import Consumer, SharedGrant, SharedImage, SharedKeyPolicy
from gilder.core import report
from gilder.core.actions import (
    CreateGrant,
    ModifyLaunchPermission,
    ModifySnapshotPermission,
    PutKeyPolicy,
    RevokeGrant,
)
from gilder.core.conditions import Verdict, get, merge
from gilder.core.consumers import verdict
from gilder.core.declared import next_end
from gilder.core.lacking import lacking
from gilder.core.observed import NOBODY, Principals, Problem
from gilder.core.plan import Plan
from gilder.core.results import Event, Result
from gilder.core.shares import Place, Share
from gilder.core.sharing import SharePlan, TargetState
from gilder.core.times import rfc3339

MOST_GRANTS = 2000  # in status.grants; a quarter of a kilobyte each, and etcd takes 1.5 MB
MOST_REMOVED = 50  # principals in status.removed
KEY_REASONS = ("DefaultKeyNotShareable",)


def is_drift(share: ImageShare, plan: SharePlan) -> bool:
    """Whether AWS moved while no declaration did."""
    return bool(plan.plan.actions) and share.status.synced_digest == plan.inputs


def claims(share: ImageShare, mine: Share, plan: SharePlan) -> ImageShareStatus | None:
    """The status to write before anything is given, or None when it claims enough already.

    What is ours to take back must be on record first: a crash in between would otherwise leave a
    permission that an Additive share never removes.
    """
    images = {(i.region, i.image_id): i for i in share.status.images}
    changed = False
    for state in plan.states:
        place = state.target.place
        had = mine.recorded.get(place, NOBODY)
        new = bool(state.declared - had) or (state.volumes and place not in mine.recorded_volumes)
        if state.leaving or not new:
            continue
        images[place] = _shared(state, had | state.declared, "Waiting", state.declared.names())
        changed = True
    grants = {(g.region, g.key_id): g for g in share.status.grants}
    policies = {(p.region, p.key_id): p for p in share.status.key_policies}
    more: list[SharedGrant] = []
    for action in plan.plan.actions:
        at = (action.region, getattr(action, "key", ""))
        if isinstance(action, CreateGrant) and at not in grants:
            grants[at] = _grant(action, "", plan)
            more.append(grants[at])
        if isinstance(action, PutKeyPolicy) and action.add and at not in policies:
            policies[at] = SharedKeyPolicy(
                region=action.region, key_id=action.key, account=plan.key_homes.get(at)
            )
            changed = True
    if not changed and not more:
        return None
    return share.status.model_copy(
        update={
            "images": tuple(i for _, i in sorted(images.items())),
            "grants": (*share.status.grants, *more),
            "key_policies": tuple(p for _, p in sorted(policies.items())),
        }
    )


def report_share(
    share: ImageShare,
    mine: Share,
    plan: SharePlan,
    results: Sequence[Result],
    now: datetime,
    consumers: tuple[Sequence[Consumer], int] = ((), 0),
) -> tuple[ImageShareStatus, list[Event]]:
    """Status and Events after one reconcile. `consumers`: what was seen from how many accounts."""
    old = share.status
    generation = share.metadata.generation
    observe = share.spec.management_policy == "Observe"
    drift = is_drift(share, plan)
    corrected = [r for r in results if drift and r.done]
    problems = report.problems_of(plan.plan, results)
    # A ModifyLaunchPermission may have been cut down, so what was done is told by its AMI.
    undone = [r.action for r in results if not r.done]
    pending = undone if results else list(plan.plan.actions)
    states = [_after(s, results) for s in plan.states]
    wanted = [s for s in states if not s.leaving and not s.unresolved]
    complete = plan.resolution.complete and bool(wanted)
    good = complete and not any(_lacking(s) or s.problem for s in wanted) and not pending
    count = old.drift_corrected + len(corrected)
    last_drift = report.last_drift(old.last_drift, corrected, rfc3339(now))
    progress = list(plan.plan.waiting)
    if not good and not progress and not problems:
        progress = [a.describe() for a in pending]
    settled = good and not problems and not plan.plan.waiting
    shared = sum(1 for s in wanted if not _lacking(s) and not s.problem)

    verdicts = report.outlook(
        good=good,
        good_reason="Shared",
        good_message=_summary(mine, wanted),
        problems=problems,
        progress=progress,
        before=old.conditions,
        generation=generation,
    )
    verdicts.append(
        report.synced(
            pending=pending,
            observe=observe,
            problems=problems,
            drift=report.drift_text(count, last_drift),
        )
    )
    verdicts.append(_images_verdict(plan, wanted))
    if share.spec.kms.grants:
        verdicts.append(_key_verdict(plan, problems, results))
    if share.spec.accounts_from:
        verdicts.append(_lists_verdict(mine))
    if mine.expiring:
        verdicts.append(_expiring_verdict(mine))
    if (seen := verdict(share.spec, *consumers)) is not None:
        verdicts.append(seen)
    conditions = merge(old.conditions, verdicts, generation, rfc3339(now))
    status = ImageShareStatus(
        observed_generation=generation,
        conditions=conditions,
        account=", ".join(plan.accounts) or old.account,
        images=_remembering(_images(states, results, mine), old),
        lacking=lacking(share.spec, wanted, results),
        grants=_grants(plan, results, old.grants, settled),
        key_policies=_key_policies(plan, results, old.key_policies, settled),
        lists=mine.listed,
        consumers=tuple(consumers[0]),
        shared=f"{shared}/{len(wanted)}",
        principals=len(mine.principals),
        next_expiry=next_end(share.spec, now),
        removed=_removed(corrected) or old.removed,
        plan=Plan(tuple(pending)).lines()[: report.PLAN_LINES],
        synced_digest=plan.inputs if settled else old.synced_digest,
        drift_corrected=count,
        last_drift=last_drift,
        last_handled_reconcile_at=share.metadata.reconcile_request,
    )
    events = report.action_events(results, drift)
    events += report.condition_events(old.conditions, conditions)
    events += _announcements(old, conditions)
    return status, events


def _removed(corrected: Sequence[Result]) -> tuple[str, ...]:
    """Strangers whom the correction of a drift removed."""
    strangers = [
        f"{action.image}: {name}"
        for r in corrected
        if isinstance(action := r.action, ModifyLaunchPermission | ModifySnapshotPermission)
        for name in action.strangers.names()
    ]
    return tuple(dict.fromkeys(strangers))[:MOST_REMOVED]


def _lacking(state: TargetState) -> bool:
    return bool(state.missing or state.volumes_missing)


def _after(state: TargetState, results: Sequence[Result]) -> TargetState:
    """The state once the results are in: what was given is not missing any more."""
    given = NOBODY
    opened: set[str] = set()
    for r in results:
        a = r.action
        if not r.done:
            continue
        if isinstance(a, ModifyLaunchPermission) and (a.region, a.image) == state.target.place:
            given |= a.add
        if isinstance(a, ModifySnapshotPermission) and a.add:
            opened.add(a.snapshot)
    opened -= {
        r.action.snapshot
        for r in results
        if not r.done and isinstance(r.action, ModifySnapshotPermission)
    }
    return replace(
        state,
        missing=state.missing - given,
        volumes_missing=tuple(s for s in state.volumes_missing if s not in opened),
        keyless=state.keyless - _let_use(state, results),
    )


def _let_use(state: TargetState, results: Sequence[Result]) -> frozenset[str]:
    """Who was given every key of an AMI just now."""
    keys = state.target.image.kms_keys if state.target.image else frozenset()
    given: set[str] = set()
    refused: set[str] = set()
    for r in results:
        a = r.action
        names: tuple[str, ...] = ()
        if isinstance(a, CreateGrant) and not a.extra and a.key in keys:
            names = (a.account,)
        elif isinstance(a, PutKeyPolicy) and a.key in keys:
            names = a.add
        (given if r.done else refused).update(names)
    return frozenset(given - refused)


def _summary(mine: Share, wanted: Sequence[TargetState]) -> str:
    count = len(mine.principals)
    return (
        f"{len(wanted)} AMI{'s' if len(wanted) != 1 else ''} may be launched by {count} "
        f"principal{'s' if count != 1 else ''}"
    )


def _images_verdict(plan: SharePlan, wanted: Sequence[TargetState]) -> Verdict:
    resolution = plan.resolution
    kind = ConditionType.IMAGES_RESOLVED
    problems = (*resolution.problems, *resolution.refused)
    if problems:
        return Verdict(kind, "False", problems[0].reason, report.told(problems))
    if resolution.complete and not resolution.idle:
        return Verdict(kind, "True", "Resolved", f"{len(wanted)} AMIs are selected")
    return Verdict(
        kind,
        "False",
        "Waiting",
        "waiting for " + "; ".join((*resolution.waiting, *resolution.idle)),
    )


def _key_verdict(
    plan: SharePlan, problems: Sequence[Problem], results: Sequence[Result]
) -> Verdict:
    kind = ConditionType.KEY_ACCESS_READY
    tried = [r for r in results if isinstance(r.action, CreateGrant | PutKeyPolicy)]
    failed = next((r.problem for r in tried if r.problem), None)
    key_problem = failed or next(
        (p for p in problems if p.reason.startswith(("Key", "Grant")) or p.reason in KEY_REASONS),
        None,
    )
    if key_problem is not None:
        return Verdict(kind, "False", key_problem.reason, key_problem.message)
    made = sum(1 for r in tried if r.done and isinstance(r.action, CreateGrant))
    if plan.keys_lacking and not made:
        return Verdict(kind, "False", "Progressing", "grants are being created")
    told = f"{len(plan.grants) + made} grants are in place"
    if plan.policies:
        told += f", and a statement in {len(plan.policies)} key policies"
    if plan.crowded:
        told += f"; {'; '.join(plan.crowded)}"
    return Verdict(kind, "True", "Granted", told)


def _lists_verdict(mine: Share) -> Verdict:
    kind = ConditionType.LISTS_READ
    wrong = [p for p in mine.refused if p.reason.startswith("List")]
    if wrong:
        return Verdict(kind, "False", wrong[0].reason, report.told(wrong))
    told = ", ".join(f"{one.source}: {len(one.accounts)} accounts" for one in mine.listed)
    return Verdict(kind, "True", "Read", told)


def _expiring_verdict(mine: Share) -> Verdict:
    told = "; ".join(f"{name} loses access at {until}" for name, until in mine.expiring)
    return Verdict(
        ConditionType.ACCESS_EXPIRING,
        "True",
        "EndsSoon",
        f"{told}. Move its until in spec.temporary to keep it",
    )


def _announcements(old: ImageShareStatus, conditions: Sequence[Condition]) -> list[Event]:
    """Told once, and again when more is about to end, or when lists begin to fail."""
    events = []
    told = (
        (ConditionType.ACCESS_EXPIRING, "True"),
        (ConditionType.LISTS_READ, "False"),
        (ConditionType.VERIFIED_FROM_CONSUMER, "False"),
    )
    for type_, bad in told:
        was, now = get(old.conditions, type_), get(conditions, type_)
        if now is None or now.status != bad or (was is not None and was.message == now.message):
            continue
        events.append(Event("Warning", now.reason, now.message))
    return events


def _images(
    states: Sequence[TargetState], results: Sequence[Result], mine: Share
) -> list[SharedImage]:
    """The AMIs this share claims. One that left the selection goes once nothing of it is left."""
    failed: set[Place] = set()
    for r in results:
        a = r.action
        if isinstance(a, ModifyLaunchPermission | ModifySnapshotPermission) and r.problem:
            failed.add((a.region, a.image))
    images = []
    claimed: set[Place] = set()
    for state in states:
        place = state.target.place
        claimed.add(place)
        had = mine.recorded.get(place, NOBODY)
        if state.leaving:
            still = state.declared or place in failed
            if still:
                ours = had if place in failed else state.declared
                images.append(_shared(state, ours, "Removing"))
            continue
        ours = state.declared
        if place in failed:
            ours = ours | had  # what could not be taken is still ours to take
        if state.volumes and not mine.spec.snapshots:
            # Until the permissions on its snapshots are gone.
            gone = not state.volumes_missing and place not in failed
            state = replace(state, volumes=not gone)
        missing = (*state.missing.names(), *state.volumes_missing)
        if state.problem is not None and not state.declared:
            images.append(_shared(state, ours, "Refused", state.declared.names()))
        elif missing or state.unresolved:
            images.append(_shared(state, ours, "Waiting", missing))
        else:
            images.append(_shared(state, ours, "Shared"))
    # What is not planned for now (a selection that is not known, an account that cannot be asked)
    # stays claimed.
    for (region, image_id), ours in mine.recorded.items():
        if (region, image_id) not in claimed:
            images.append(
                SharedImage(
                    region=region,
                    image_id=image_id,
                    state="Waiting",
                    accounts=tuple(sorted(ours.accounts)),
                    organizations=tuple(sorted(ours.organizations)),
                    organizational_units=tuple(sorted(ours.units)),
                    public=ours.public,
                    snapshots=(region, image_id) in mine.recorded_volumes,
                    account=mine.homes.get((region, image_id)),
                )
            )
    return images


def _remembering(images: Sequence[SharedImage], old: ImageShareStatus) -> tuple[SharedImage, ...]:
    """In order, and with what could not be seen now as it was: by the keys of these AMIs other
    shares know which grants are needed."""
    before = {(i.region, i.image_id): i for i in old.images}
    found = []
    for one in sorted(images, key=lambda i: (i.region, i.image_id)):
        was = before.get((one.region, one.image_id))
        if was is not None and one.kms_key_id is None:
            kept = {n: getattr(was, n) for n in ("image", "version", "kms_key_id", "kms_key_ids")}
            one = one.model_copy(update={k: v for k, v in kept.items() if v})
        found.append(one)
    return tuple(found)


def _shared(
    state: TargetState, ours: Principals, word: str, missing: Sequence[str] = ()
) -> SharedImage:
    target = state.target
    keys = tuple(sorted(target.image.kms_keys)) if target.image else ()
    return SharedImage(
        region=target.region,
        image_id=target.image_id,
        image=target.golden,
        version=target.version,
        state=word,
        message=state.problem.message if state.problem else None,
        accounts=tuple(sorted(ours.accounts)),
        organizations=tuple(sorted(ours.organizations)),
        organizational_units=tuple(sorted(ours.units)),
        public=ours.public,
        snapshots=state.volumes,
        missing=tuple(missing),
        kms_key_id=keys[0] if keys else None,
        kms_key_ids=keys if len(keys) > 1 else (),
        account=target.account or None,
    )


def _grant(action: CreateGrant, grant_id: str, plan: SharePlan) -> SharedGrant:
    return SharedGrant(
        region=action.region,
        key_id=action.key,
        principal=action.principal,
        grant_id=grant_id,
        account=plan.key_homes.get((action.region, action.key)),
    )


def _grants(
    plan: SharePlan, results: Sequence[Result], old: Sequence[SharedGrant], settled: bool
) -> tuple[SharedGrant, ...]:
    """Grants in place; keys that were ours stay on record until all is settled."""
    now = [
        SharedGrant(
            region=region,
            key_id=g.key,
            principal=g.principal,
            grant_id=g.id,
            account=plan.key_homes.get((region, g.key)),
        )
        for g in plan.grants
        for region in [g.key.split(":")[3]]
    ]
    gone = {r.action.grant for r in results if r.done and isinstance(r.action, RevokeGrant)}
    for r in results:
        if isinstance(r.action, CreateGrant):
            # A call that failed may have taken effect all the same.
            now.append(_grant(r.action, r.made if r.done else "", plan))
    if not settled:
        known = {(g.region, g.key_id, g.principal) for g in now}
        now += [
            g
            for g in old
            if (g.region, g.key_id, g.principal) not in known and g.grant_id not in gone
        ]
    return _fewer(sorted(now, key=lambda g: (g.region, g.key_id, g.principal)))


def _fewer(grants: Sequence[SharedGrant]) -> tuple[SharedGrant, ...]:
    """As many as an object in Kubernetes has room for; some of each key, which are its record."""
    if len(grants) <= MOST_GRANTS:
        return tuple(grants)
    by_key: dict[tuple[str, str], list[SharedGrant]] = {}
    for one in grants:
        by_key.setdefault((one.region, one.key_id), []).append(one)
    each = max(1, MOST_GRANTS // len(by_key))
    return tuple(g for some in by_key.values() for g in some[:each])


def _key_policies(
    plan: SharePlan, results: Sequence[Result], old: Sequence[SharedKeyPolicy], settled: bool
) -> tuple[SharedKeyPolicy, ...]:
    """Key policies with a statement of ours; they stay on record until all is settled."""
    now = set(plan.policies)
    for r in results:
        if isinstance(r.action, PutKeyPolicy):
            at = (r.action.region, r.action.key)
            if r.action.statement is not None:
                now.add(at)  # done or not: a call that failed may have taken effect
            elif r.done:
                now.discard(at)
    if not settled:
        now |= {(p.region, p.key_id) for p in old}
    homes = {(p.region, p.key_id): p.account for p in old} | dict(plan.key_homes)
    return tuple(
        SharedKeyPolicy(region=region, key_id=key, account=homes.get((region, key)))
        for region, key in sorted(now)
    )
