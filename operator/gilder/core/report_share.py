"""From the plan of an ImageShare and what came of it to its status; pure."""

from collections.abc import Sequence

from gilder.api import ImageShare, ImageShareStatus
from gilder.api.conditions import ConditionType
from gilder.api.imageshare import SharedGrant, SharedImage
from gilder.core import report
from gilder.core.actions import CreateGrant, ModifyLaunchPermission, RevokeGrant
from gilder.core.conditions import Verdict, merge
from gilder.core.observed import NOBODY, Observed, Principals, Problem
from gilder.core.results import Event, Result
from gilder.core.sharing import Place, Share, SharePlan, TargetState

MOST_REMOVED = 50  # principals in status.removed


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
        place = (state.target.region, state.target.image_id)
        had = mine.recorded.get(place, NOBODY)
        if state.leaving or not (state.declared - had):
            continue
        images[place] = _shared(state, had | state.declared, "Waiting", state.declared)
        changed = True
    known = {(g.region, g.key_id): g for g in share.status.grants}
    for action in plan.plan.actions:
        if isinstance(action, CreateGrant) and (action.region, action.key) not in known:
            known[(action.region, action.key)] = _grant(action, "")
            changed = True
    if not changed:
        return None
    kept = share.status.grants
    new = [g for k, g in known.items() if k not in {(x.region, x.key_id) for x in kept}]
    return share.status.model_copy(
        update={
            "images": tuple(i for _, i in sorted(images.items())),
            "grants": (*kept, *new),
        }
    )


def report_share(
    share: ImageShare,
    mine: Share,
    plan: SharePlan,
    seen: Observed,
    results: Sequence[Result],
    now: str,
) -> tuple[ImageShareStatus, list[Event]]:
    """Status and Events after one reconcile; `now` is RFC 3339, UTC."""
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
    wanted = [s for s in states if not s.leaving]
    complete = plan.resolution.complete and bool(wanted)
    good = complete and not any(s.missing or s.problem for s in wanted) and not pending
    count = old.drift_corrected + len(corrected)
    last_drift = report.last_drift(old.last_drift, corrected, now)
    removed = old.removed
    if corrected:
        strangers = [
            f"{r.action.image}: {name}"
            for r in corrected
            if isinstance(r.action, ModifyLaunchPermission)
            for name in r.action.strangers.names()
        ]
        removed = tuple(strangers[:MOST_REMOVED]) or removed
    progress = list(plan.plan.waiting)
    if not good and not progress and not problems:
        progress = [a.describe() for a in pending]
    settled = good and not problems and not plan.plan.waiting
    shared = sum(1 for s in wanted if not s.missing and not s.problem)

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
    if share.spec.kms.mode == "Grant":
        verdicts.append(_key_verdict(plan, problems, results))
    conditions = merge(old.conditions, verdicts, generation, now)
    status = ImageShareStatus(
        observed_generation=generation,
        conditions=conditions,
        account=seen.account,
        images=tuple(sorted(_images(states, results, mine), key=lambda i: (i.region, i.image_id))),
        grants=_grants(plan, results, old.grants, settled),
        shared=f"{shared}/{len(wanted)}",
        principals=len(mine.principals),
        removed=removed,
        plan=tuple(a.describe() for a in pending)[: report.PLAN_LINES],
        synced_digest=plan.inputs if settled else old.synced_digest,
        drift_corrected=count,
        last_drift=last_drift,
        last_handled_reconcile_at=share.metadata.reconcile_request,
    )
    events = report.action_events(results, drift)
    events += report.condition_events(old.conditions, conditions)
    return status, events


def _after(state: TargetState, results: Sequence[Result]) -> TargetState:
    """The state once the results are in: permissions that were given are not missing any more."""
    given = NOBODY
    place = (state.target.region, state.target.image_id)
    for r in results:
        a = r.action
        if not isinstance(a, ModifyLaunchPermission) or not r.done:
            continue
        if (a.region, a.image) == place:
            given |= a.add
    return TargetState(
        state.target, state.declared, state.missing - given, state.problem, state.leaving
    )


def _summary(mine: Share, wanted: Sequence[TargetState]) -> str:
    count = len(mine.principals)
    return (
        f"{len(wanted)} AMI{'s' if len(wanted) != 1 else ''} may be launched by {count} "
        f"principal{'s' if count != 1 else ''}"
    )


def _images_verdict(plan: SharePlan, wanted: Sequence[TargetState]) -> Verdict:
    resolution = plan.resolution
    kind = ConditionType.IMAGES_RESOLVED
    if resolution.complete and not resolution.idle:
        return Verdict(kind, "True", "Resolved", f"{len(wanted)} AMIs are selected")
    if resolution.problems:
        first = resolution.problems[0]
        return Verdict(kind, "False", first.reason, report.told(resolution.problems))
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
    tried = [r for r in results if isinstance(r.action, CreateGrant)]
    failed = next((r.problem for r in tried if r.problem), None)
    key_problem = failed or next(
        (p for p in problems if p.reason.startswith("Key") or p.reason == "DefaultKeyNotShareable"),
        None,
    )
    if key_problem is not None:
        return Verdict(kind, "False", key_problem.reason, key_problem.message)
    made = sum(1 for r in tried if r.done)
    if plan.keys_lacking and not made:
        return Verdict(kind, "False", "Progressing", "grants are being created")
    return Verdict(kind, "True", "Granted", f"{len(plan.grants) + made} grants are in place")


def _images(
    states: Sequence[TargetState], results: Sequence[Result], mine: Share
) -> list[SharedImage]:
    """The AMIs this share claims. One that left the selection goes once nothing of it is left."""
    closed = {
        (r.action.region, r.action.image)
        for r in results
        if r.done and isinstance(r.action, ModifyLaunchPermission)
    }
    failed = {
        (r.action.region, r.action.image): r.problem
        for r in results
        if r.problem and isinstance(r.action, ModifyLaunchPermission)
    }
    images = []
    claimed: set[Place] = set()
    for state in states:
        place = (state.target.region, state.target.image_id)
        claimed.add(place)
        had = mine.recorded.get(place, NOBODY)
        if state.leaving:
            if (state.declared or place in failed) and place not in closed:
                images.append(_shared(state, state.declared or had, "Removing", NOBODY))
            continue
        ours = state.declared
        if place in failed:
            ours = ours | had  # what could not be taken is still ours to take
        if state.problem is not None and not state.declared:
            images.append(_shared(state, ours, "Refused", state.declared))
        elif state.missing:
            images.append(_shared(state, ours, "Waiting", state.missing))
        else:
            images.append(_shared(state, ours, "Shared", NOBODY))
    # What is not planned for now (a selection that is not known) stays claimed.
    for (region, image_id), ours in mine.recorded.items():
        if (region, image_id) not in claimed and not mine.leaving:
            images.append(
                SharedImage(
                    region=region,
                    image_id=image_id,
                    state="Waiting",
                    accounts=tuple(sorted(ours.accounts)),
                    organizations=tuple(sorted(ours.organizations)),
                    organizational_units=tuple(sorted(ours.units)),
                    public=ours.public,
                )
            )
    return images


def _shared(state: TargetState, ours: Principals, word: str, missing: Principals) -> SharedImage:
    target = state.target
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
        missing=missing.names(),
        kms_key_id=min(target.image.kms_keys, default=None) if target.image else None,
    )


def _grant(action: CreateGrant, grant_id: str) -> SharedGrant:
    return SharedGrant(
        region=action.region, key_id=action.key, principal=action.principal, grant_id=grant_id
    )


def _grants(
    plan: SharePlan, results: Sequence[Result], old: Sequence[SharedGrant], settled: bool
) -> tuple[SharedGrant, ...]:
    """Grants in place; keys that were ours stay on record until all is settled."""
    now = [
        SharedGrant(region=g.key.split(":")[3], key_id=g.key, principal=g.principal, grant_id=g.id)
        for g in plan.grants
    ]
    gone = {r.action.grant for r in results if r.done and isinstance(r.action, RevokeGrant)}
    for r in results:
        if r.done and isinstance(r.action, CreateGrant):
            now.append(_grant(r.action, r.made))
    if not settled:
        known = {(g.region, g.key_id, g.principal) for g in now}
        now += [
            g
            for g in old
            if (g.region, g.key_id, g.principal) not in known and g.grant_id not in gone
        ]
    return tuple(sorted(now, key=lambda g: (g.region, g.key_id, g.principal)))
