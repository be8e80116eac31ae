"""What status, conditions and Events say of release, DR Regions and retirement; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gilder.api import GoldenImage
from gilder.api.conditions import ConditionType
from gilder.api.goldenimage import LatestVersion, Replica, ReplicaStatus, Retiring
from gilder.api.lifecycle import seconds
from gilder.core.actions import (
    RETIRING,
    AnyAction,
    DeleteSnapshot,
    DeregisterImage,
    ProtectImage,
    PruneTemplateVersions,
)
from gilder.core.conditions import Verdict
from gilder.core.observed import Image, Observed, Problem
from gilder.core.results import Event, Result
from gilder.core.schedule import next_run
from gilder.core.times import passed, rfc3339
from gilder.core.versions import ImagePlan
from gilder.core.wanted import Wanted

MOST_LEFTOVERS = 100
MOST_BINNED = 50
# Nothing is missing but a decision or time, so that Ready need not wait.
RESTING = ("Pinned", "AwaitingPromotion", "Soaking")


@dataclass(frozen=True, slots=True)
class Told:
    """The part of one report that is about the lifecycle."""

    fields: dict[str, Any]
    verdicts: tuple[Verdict, ...]


def retires(action: AnyAction) -> bool:
    """Whether an action belongs to what status.retiring announces; its failure is told there."""
    leftover = isinstance(action, DeregisterImage) and action.leftover
    off = isinstance(action, ProtectImage) and action.mode == "disabled"
    return leftover or off or isinstance(action, (*RETIRING, PruneTemplateVersions))


def tell_lifecycle(
    image: GoldenImage, want: Wanted, plan: ImagePlan, seen: Observed, results: Sequence[Result],
    problems: Sequence[Problem], now: datetime,
) -> Told:  # fmt: skip
    """Status and conditions about release, DR Regions and retirement."""
    replicas = tuple(
        _replica(r, image, want, plan, seen, problems, now) for r in image.spec.replicas
    )
    runs = [r.next_copy for r in replicas if r.next_copy]
    binned = sorted(
        f"{id_} {name} in {region}".replace("  ", " ")
        for region, found in plan.restorable.items()
        for id_, name in found.items()
    )
    verdicts = []
    if image.spec.promotion is not None or image.spec.pinned_version or plan.hold is not None:
        verdicts.append(_released(image, plan))
    if replicas and _target(want, plan):
        verdicts.append(_stale(replicas))
    fields = {
        "replicas": replicas,
        "next_copy": min(runs, default=None),
        "retiring": _retiring(plan, results, rfc3339(now)),
        "leftovers": plan.retirement.leftovers[:MOST_LEFTOVERS],
        "leftover_count": len(plan.retirement.leftovers),
        "recycle_bin": tuple(binned[:MOST_BINNED]),
    }
    return Told(fields, tuple(verdicts))


def release_events(
    before: LatestVersion | None, after: LatestVersion | None, image: GoldenImage, told: Told
) -> list[Event]:
    """Events for a version that took another's place, and for a DR Region that became stale."""
    events = []
    if after is not None and before is not None and after.version != before.version:
        verb = "rolled back to" if after.version < before.version else "released"
        text = f"{verb} version {after.version} ({after.image_id}) in place of {before.version}"
        events.append(Event("Normal", "Released", text))
    return [*events, *stale_events(image.status.replicas, told.fields["replicas"])]


def aging(image: GoldenImage, now: datetime) -> tuple[tuple[ReplicaStatus, ...], list[Verdict]]:
    """The DR Regions while nothing could be looked at: those that were behind grow stale."""
    declared = {r.region: r for r in image.spec.replicas}
    replicas = tuple(
        r.model_copy(update={"stale": _is_stale(r.behind_since, declared[r.region], now)})
        if r.region in declared
        else r
        for r in image.status.replicas
    )
    stale = any(r.stale for r in replicas)
    return replicas, [_stale(replicas)] if stale else []


def stale_events(before: Sequence[ReplicaStatus], after: Sequence[ReplicaStatus]) -> list[Event]:
    """Events for DR Regions that became stale."""
    was = {r.region for r in before if r.stale}
    return [
        Event(
            "Warning",
            "DRStale",
            f"{r.region} has been behind since {r.behind_since}: {r.message or r.state}",
        )
        for r in after
        if r.stale and r.region not in was
    ]


def _target(want: Wanted, plan: ImagePlan) -> int:
    """The version that DR Regions are to have; the last one while there is none at home."""
    return plan.version if plan.home is not None else want.memory.latest


def _replica(
    replica: Replica, image: GoldenImage, want: Wanted, plan: ImagePlan, seen: Observed,
    problems: Sequence[Problem], now: datetime,
) -> ReplicaStatus:  # fmt: skip
    region, target = replica.region, _target(want, plan)
    view = seen.region(region)
    old = next((r for r in image.status.replicas if r.region == region), None)
    if view.problem is not None:
        kept = old or ReplicaStatus(region=region)
        # By what was there last: it may not have what was released since.
        late = target > 0 and kept.version != target
        since = (kept.behind_since or rfc3339(now)) if late else kept.behind_since
        return kept.model_copy(
            update={
                "state": "Unreachable",
                "message": view.problem.message,
                "behind_since": since,
                "stale": _is_stale(since, replica, now),
            }
        )
    owned = list(view.belonging(want.cluster, want.key, seen.account))
    there = plan.served.get(region)
    homes = seen.region(image.spec.region).images.values()
    current = there is not None and there.version == target
    behind = None
    if target and not current:
        behind = (old.behind_since if old is not None else None) or rfc3339(now)
    coming = _coming(owned, plan, current=current)
    scheduled = None
    if replica.schedule is not None:
        run = next_run(replica.schedule, want.key, now)
        scheduled = rfc3339(run) if run is not None else None
    state, message = _state(region, coming, plan, problems, current=current)
    if state == "Missing" and scheduled and there is not None:
        state, message = "Scheduled", f"version {plan.version} is copied at {scheduled}"
    made = _made(there, [i for i in homes if i.belongs_to(want.cluster, want.key)])
    return ReplicaStatus(
        region=region,
        version=there.version if there is not None else 0,
        image_id=there.id if there is not None else None,
        state=state,
        progress=progress_of(coming, seen) if coming is not None else None,
        recovery_point=made,
        behind_since=behind,
        next_copy=scheduled,
        stale=_is_stale(behind, replica, now),
        message=message,
    )


def _coming(owned: Sequence[Image], plan: ImagePlan, *, current: bool) -> Image | None:
    """The copy that is under way, or failed: of the candidate, or of the released version."""
    wanted = {plan.candidate} if current else {plan.version, plan.candidate}
    copies = [i for i in owned if i.role == "replica" and i.version in wanted]
    under_way = [i for i in copies if i.pending or i.failed]
    done = {i.version for i in copies if i.available}
    left = [i for i in under_way if i.version not in done]
    return max(left, key=lambda i: (i.version, i.pending, i.attempt), default=None)


def _state(
    region: str, coming: Image | None, plan: ImagePlan, problems: Sequence[Problem], *,
    current: bool,
) -> tuple[str, str]:  # fmt: skip
    told = next((p.message for p in problems if p.region == region), "")
    text = ""
    if coming is not None:
        text = f"version {coming.version} is being copied as {coming.id}"
        if coming.failed:
            said = coming.state_reason or "no reason given"
            text = f"{coming.id}, the copy of version {coming.version}, failed: {said}"
    if current:
        return "Current", text or told
    if region in plan.queued:
        return "Queued", "as many copies as AWS takes at once are under way into this Region"
    if coming is not None:
        return ("Failed" if coming.failed else "Copying"), text
    return ("Failed", told) if told else ("Missing", f"version {plan.version} is not here")


def progress_of(image: Image, seen: Observed) -> str | None:
    """How far the copying of an AMI's snapshots is: that of the slowest one."""
    view = seen.region(image.region)
    found = (view.snapshots.get(s) for s in image.snapshots)
    shown = [s.progress for s in found if s is not None and s.progress]
    numbers = [int(p.rstrip("%")) for p in shown if p.rstrip("%").isdecimal()]
    return f"{min(numbers)}%" if numbers and image.pending else None


def _made(there: Image | None, homes: Sequence[Image]) -> str | None:
    if there is None:
        return None
    made = [i.created for i in homes if i.role == "home" and i.version == there.version]
    return min(made, default=there.created) or None


def _is_stale(behind: str | None, replica: Replica, now: datetime) -> bool:
    return behind is not None and passed(behind, now) > seconds(replica.max_lag)


def _stale(replicas: Sequence[ReplicaStatus]) -> Verdict:
    """DRStale is True when something is amiss, as its name says."""
    stale = [r for r in replicas if r.stale]
    if stale:
        text = "; ".join(
            f"{r.region} has {f'version {r.version}' if r.version else 'no version'}, behind since "
            f"{r.behind_since}: {r.state.lower()}{f', {r.message}' if r.message else ''}"
            for r in stale
        )
        return Verdict(ConditionType.DR_STALE, "True", "Behind", text)
    lost = [r.region for r in replicas if r.state == "Unreachable"]
    if lost:
        text = f"{', '.join(lost)} cannot be read"
        return Verdict(ConditionType.DR_STALE, "Unknown", "Unreachable", text)
    text = "; ".join(f"{r.region} has version {r.version}" for r in replicas)
    return Verdict(ConditionType.DR_STALE, "False", "WithinLag", text)


def _released(image: GoldenImage, plan: ImagePlan) -> Verdict:
    type_ = ConditionType.RELEASED
    if plan.hold is not None:
        return Verdict(type_, "False", plan.hold.reason, plan.hold.message)
    if plan.home is None:
        return Verdict(type_, "Unknown", "Progressing", "there is no version to release yet")
    if plan.version != plan.candidate and image.spec.pinned_version is None:
        text = f"version {plan.version} stays released; version {plan.candidate} is not ready"
        return Verdict(type_, "False", "NotReady", text)
    text = f"version {plan.version} is released"
    if image.spec.pinned_version is not None:
        return Verdict(type_, "True", "Pinned", f"{text} by spec.pinnedVersion")
    return Verdict(type_, "True", "Released", text)


def _retiring(plan: ImagePlan, results: Sequence[Result], now: str) -> tuple[Retiring, ...]:
    """What goes, without what went just now, and with what AWS said to it."""
    gone, refused = set(), {}
    for result in results:
        action = result.action
        id_ = getattr(action, "image", "") or getattr(action, "snapshot", "")
        ends = isinstance(action, DeregisterImage | DeleteSnapshot) or action.kind == "DisableImage"
        if result.done and ends:
            gone.add(id_)
        elif result.problem is not None and retires(action):
            refused[id_] = result.problem.message
    return tuple(
        r.model_copy(update={"held_by": refused[r.id], "tried": now}) if r.id in refused else r
        for r in plan.retirement.retiring
        if r.id not in gone
    )
