"""From the plan of a GoldenImage and what came of it to its status; pure."""

from collections.abc import Iterable, Mapping, Sequence

from gilder.api import GoldenImage, GoldenImageStatus
from gilder.api.conditions import ConditionType
from gilder.api.goldenimage import ImageVersion, LatestVersion, RegionalImage
from gilder.api.names import TAG_ORIGIN, TAG_RELEASE, TAG_ROLE, TAG_SOURCE, TAG_VERSION
from gilder.core import report
from gilder.core.actions import CopyImage, CreateImage, DeregisterImage, TagResources
from gilder.core.conditions import Verdict, get, merge, verdicts_of
from gilder.core.digest import digest
from gilder.core.observed import Image, Observed, Problem
from gilder.core.plan import Plan
from gilder.core.promotion import CANDIDATE, COPIES, held
from gilder.core.report_lifecycle import (
    RESTING,
    aging,
    progress_of,
    release_events,
    retires,
    stale_events,
    tell_lifecycle,
)
from gilder.core.report_publish import tell_published, told_published
from gilder.core.report_work import (
    kept_gates,
    tell_build,
    tell_gates,
    told_gates,
    told_work,
    work_events,
)
from gilder.core.results import Event, Result
from gilder.core.slots import ROLES, UNSEEN_GRACE
from gilder.core.times import moment, passed
from gilder.core.versions import ImagePlan
from gilder.core.wanted import Wanted

MOST_VERSIONS = 50  # in status; older ones are found by their tags

Slot = tuple[int, str, str]  # version, Region, role


def inputs(want: Wanted, plan: ImagePlan) -> str:
    """Digest of all that is declared: a plan without a new one is drift."""
    # A verdict on the candidate, and the end of what held it back, ask for something new as well.
    held = plan.hold.reason if plan.hold is not None else ""
    asked = (
        plan.version, plan.candidate, plan.fingerprint, plan.verdict.state, held, *sorted(plan.due),
    )  # fmt: skip
    return digest(want.spec.model_dump(mode="json"), *asked)


def is_drift(image: GoldenImage, want: Wanted, plan: ImagePlan) -> bool:
    """Whether AWS moved while the declaration did not."""
    mends = any(not report.is_work(a) for a in plan.plan.actions)
    return mends and image.status.synced_digest == inputs(want, plan)


def report_image(
    image: GoldenImage,
    want: Wanted,
    plan: ImagePlan,
    seen: Observed,
    results: Sequence[Result],
    now: str,
) -> tuple[GoldenImageStatus, list[Event]]:
    """Status and Events after one reconcile; `now` is RFC 3339, UTC."""
    old = image.status
    generation = image.metadata.generation
    observe = image.spec.management_policy == "Observe"
    drift = is_drift(image, want, plan)
    corrected = [r for r in results if drift and r.done and not report.is_work(r.action)]
    # What is announced to go tells of its troubles there, and is no part of being ready.
    essential = [r for r in results if not retires(r.action)]
    problems = report.problems_of(plan.plan, essential)
    pending = [a for a in plan.plan.actions if not any(r.done and r.action == a for r in results)]
    if not seen.account or seen.region(image.spec.region).problem is not None:
        return _undecided(image, seen, problems, now)
    regions = [r.region for r in image.spec.replicas]
    lacking = _lacking(image, plan)
    version = plan.version
    source = plan.source
    found = source.image if source else None

    latest = old.latest
    if plan.home is not None:
        latest = LatestVersion(version=version, image_id=plan.home.id)
    whole = plan.home is not None and not lacking
    if whole and (_was_ready(image) or _unasked(plan)):
        # The released version serves on; BuildSucceeded and GatesPassed tell of the other.
        problems = tuple(p for p in problems if p.reason not in ("BuildFailed", "GateFailed"))
    good = whole and (_fresh(plan, want.spec.pinned_version) or _was_ready(image))
    made = [r for r in essential if r.made and r.done]
    progress = [*plan.plan.waiting, *(_doing(r) for r in made)]
    if not good and plan.verdict.awaits_approval:
        progress.append(plan.verdict.results[-1].message)
    if not good and plan.hold is not None:
        progress.append(plan.hold.message)
    if not good and not progress and not problems:
        progress = [a.describe() for a in plan.plan.actions]
    count = old.drift_corrected + len(corrected)
    last_drift = report.last_drift(old.last_drift, corrected, now)
    # Only what a look finds with nothing left to do is settled: the steps of one change, such as
    # the copies of a new version, are no drift.
    settled = good and not problems and not plan.plan.actions and not plan.plan.waiting

    verdicts = report.outlook(
        good=good,
        good_reason="Available",
        good_message=_summary(plan, image.spec.region, len(regions)),
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
    if want.spec.source.built:
        verdicts.append(tell_build(plan.build))
    else:
        verdicts.append(_source_verdict(plan, problems))
    if want.spec.gates is not None and want.spec.gates.any:
        verdicts.append(tell_gates(plan))
    if regions:
        verdicts.append(_replicas_verdict(regions, lacking, problems))
    told = tell_lifecycle(image, want, plan, seen, results, problems, moment(now))
    verdicts += told.verdicts
    published = told_published(image, plan, results, now)
    verdicts += tell_published(image, plan, results, published)
    conditions = merge(old.conditions, verdicts, generation, now)
    status = GoldenImageStatus(
        observed_generation=generation,
        conditions=conditions,
        account=seen.account,
        latest=latest,
        versions=_versions(image, want, plan, seen, results, now),
        **told_work(image, plan, results),
        **told.fields,
        source_id=(source.id if source else "") or old.source_id,
        root_device_type=_root_device_type(plan) or old.root_device_type,
        product_codes=found.product_codes if found else old.product_codes,
        published=published,
        replicas_ready=f"{len(regions) - len(lacking)}/{len(regions)}" if regions else None,
        plan=Plan(tuple(pending)).lines()[: report.PLAN_LINES],
        managed_tag_keys=tuple(
            # A key that left spec stays ours to remove until all is settled.
            sorted({*image.spec.tags, *(() if settled else old.managed_tag_keys)})
        ),
        synced_digest=inputs(want, plan) if settled else old.synced_digest,
        drift_corrected=count,
        last_drift=last_drift,
        last_handled_reconcile_at=image.metadata.reconcile_request,
    )
    events = report.action_events(results, drift)
    events += work_events(image, plan)
    events += release_events(old.latest, latest, image, told)
    events += report.condition_events(old.conditions, conditions)
    return status, events


def _fresh(plan: ImagePlan, pinned: int | None) -> bool:
    """Whether the released version is the one that is asked for: by spec.source, or by a pin."""
    building = plan.build.record is not None or plan.build.due
    rests = plan.hold is not None and plan.hold.reason in RESTING
    # A version that was rolled back from is not held: it was released once.
    waits = plan.verdict.open and (rests or plan.version == pinned)
    return (plan.version == plan.candidate or (plan.home is not None and waits)) and not building


def _lacking(image: GoldenImage, plan: ImagePlan) -> list[str]:
    """Regions without the released version; by a schedule one may have the version before."""
    return [
        r.region
        for r in image.spec.replicas
        if r.region not in plan.replicas and (r.schedule is None or r.region not in plan.served)
    ]


def _unasked(plan: ImagePlan) -> bool:
    """Whether the newer version was not asked for by a change of the spec."""
    last = plan.build.ended
    trigger = plan.origin.removeprefix("trigger=") or (last.trigger if last is not None else "")
    if last is not None and last.state != "Succeeded":
        trigger = last.trigger
    return trigger.split("/")[0] in ("schedule", "parent", "request")


def _was_ready(image: GoldenImage) -> bool:
    """While a newer version is made or checked, what was Ready of this generation stays so."""
    was = get(image.status.conditions, ConditionType.READY)
    return (
        was is not None
        and was.status == "True"
        and was.observed_generation == image.metadata.generation
    )


def _undecided(
    image: GoldenImage, seen: Observed, problems: Sequence[Problem], now: str
) -> tuple[GoldenImageStatus, list[Event]]:
    """Nothing could be looked at: what status says of AWS stays, only the conditions tell."""
    old = image.status
    verdicts = report.outlook(
        good=False,
        good_reason="Available",
        good_message="",
        problems=problems,
        progress=(),
        before=old.conditions,
        generation=image.metadata.generation,
    )
    replicas, stale = aging(image, moment(now))
    verdicts += stale
    told = {v.type for v in verdicts} | {ConditionType.RECONCILING, ConditionType.STALLED}
    found = report.synced(pending=(), observe=False, problems=problems, drift="")
    if get(old.conditions, ConditionType.SYNCED) is None or any(p.permanent for p in problems):
        verdicts.append(found)
        told.add(found.type)
    kept = [v for v in verdicts_of(old.conditions) if v.type not in told]
    conditions = merge(old.conditions, [*verdicts, *kept], image.metadata.generation, now)
    status = old.model_copy(
        update={
            "observed_generation": image.metadata.generation,
            "conditions": conditions,
            "account": seen.account or old.account,
            "replicas": replicas,
            "last_handled_reconcile_at": image.metadata.reconcile_request,
        }
    )
    events = stale_events(old.replicas, replicas)
    return status, [*events, *report.condition_events(old.conditions, conditions)]


def report_deletion(
    image: GoldenImage,
    plan: Plan,
    sharers: Sequence[str],
    results: Sequence[Result],
    now: str,
) -> tuple[GoldenImageStatus, list[Event]]:
    """Status and Events of a GoldenImage that is being deleted and cannot go yet."""
    old = image.status
    problems = list(report.problems_of(plan, results))
    if sharers:
        problems.insert(
            0,
            Problem(
                "InUseByShares",
                f"ImageShare {', '.join(sharers)} still needs this image. Delete the ImageShare, "
                "or point its spec.imageRef elsewhere; then the deletion goes on",
                permanent=False,
            ),
        )
    verdicts = report.outlook(
        good=False,
        good_reason="Deleting",
        good_message="",
        problems=problems,
        progress=["the deletion to be carried out", *plan.waiting],
        before=(),
        generation=image.metadata.generation,
    )
    conditions = merge(old.conditions, verdicts, image.metadata.generation, now)
    status = old.model_copy(
        update={
            "observed_generation": image.metadata.generation,
            "conditions": conditions,
            "plan": plan.lines()[: report.PLAN_LINES],
        }
    )
    events = report.action_events(results, drift=False)
    first = report.worst(problems)
    was = next((c for c in old.conditions if c.type == ConditionType.READY.value), None)
    if first is not None and (was is None or was.reason != first.reason):
        events.append(Event("Warning", first.reason, first.message))
    return status, events


def _doing(result: Result) -> str:
    return f"{result.made} to be made: {result.action.describe()}"


def _summary(plan: ImagePlan, region: str, replicas: int) -> str:
    if plan.home is None:
        return ""
    text = f"version {plan.version} is {plan.home.id} in {region}"
    copies = ", ".join(f"{i.id} in {r}" for r, i in sorted(plan.replicas.items()))
    return (
        f"{text}, with {replicas} replica{'s' if replicas != 1 else ''}: {copies}"
        if copies
        else text
    )


def _source_verdict(plan: ImagePlan, problems: Sequence[Problem]) -> Verdict:
    if plan.source is not None:
        text = f"{plan.source.kind} {plan.source.id}"
        return Verdict(ConditionType.SOURCE_RESOLVED, "True", "Resolved", text)
    first = report.worst(problems)
    reason = first.reason if first else "NotObserved"
    return Verdict(ConditionType.SOURCE_RESOLVED, "False", reason, report.told(problems))


def _replicas_verdict(
    regions: Sequence[str], lacking: Sequence[str], problems: Sequence[Problem]
) -> Verdict:
    if not lacking:
        text = f"{len(regions)} of {len(regions)} replicas are available"
        return Verdict(ConditionType.REPLICAS_READY, "True", "Available", text)
    by_region = {p.region: p for p in reversed(problems) if p.region in lacking}
    parts = [f"{r}: {by_region[r].message if r in by_region else 'under way'}" for r in lacking]
    reason = next((by_region[r].reason for r in lacking if r in by_region), "Progressing")
    return Verdict(ConditionType.REPLICAS_READY, "False", reason, "; ".join(parts))


def _root_device_type(plan: ImagePlan) -> str | None:
    if plan.home is not None:
        return plan.home.root_device_type
    if plan.source is None:
        return None
    thing = plan.source.image or plan.source.instance
    return thing.root_device_type if thing else None


def _versions(
    image: GoldenImage,
    want: Wanted,
    plan: ImagePlan,
    seen: Observed,
    results: Sequence[Result],
    now: str,
) -> tuple[ImageVersion, ...]:
    slots: dict[Slot, RegionalImage] = {}
    fingerprints: dict[int, str] = {}
    origins = {v.version: v.origin for v in image.status.versions}
    known = {v.version: v for v in image.status.versions}
    highest = max(known, default=0)  # stays, so that no number is given twice
    for v in image.status.versions:
        fingerprints[v.version] = v.fingerprint
        for i in v.images:
            unread = seen.region(i.region).problem is not None
            if unread or i.state == "requested":
                slots[(v.version, i.region, i.role)] = i
            elif v.version in (*_remembered(image, plan, v.version), highest):
                # Remembered although gone, so that its successor is a new request to AWS.
                slots[(v.version, i.region, i.role)] = i.model_copy(update={"state": "missing"})
    keep: dict[Slot, Image] = {}
    # With the tags that are put back, or else what lost them would be lost sight of.
    for found in plan.owned or seen.owned(want.cluster, want.key):
        if found.version and found.role in ROLES:
            slot = (found.version, found.region, found.role)
            if slot not in keep or _rank(found) < _rank(keep[slot]):
                keep[slot] = found
            fingerprints[found.version] = found.fingerprint or fingerprints.get(found.version, "")
            if told := found.tags.get(TAG_ORIGIN):
                origins[found.version] = told
    for slot, found in keep.items():
        if _awaited(slots.get(slot), seen, now):
            continue
        slots[slot] = _regional(found).model_copy(update={"progress": progress_of(found, seen)})
    at_home = {k[0] for k in keep if k[2] == "home"}
    held_back = {v.version for v in image.status.versions if v.held}
    for found in keep.values():
        tells = found.role == "home" or found.version not in at_home
        if found.role in COPIES and tells:  # the AMI at home, or a copy where that is gone
            (held_back.add if held(found) else held_back.discard)(found.version)
    gone = {r.action.image for r in results if r.done and isinstance(r.action, DeregisterImage)}
    for slot, shown in list(slots.items()):
        if shown.image_id in gone and slot[0] == highest:
            slots[slot] = shown.model_copy(update={"state": "missing"})
        elif shown.image_id in gone:
            del slots[slot]
    for result in results:
        if not result.done:
            continue
        action = result.action
        if isinstance(action, CopyImage | CreateImage) and result.made:
            number, role = _slot_tags(action.tags)
            slots[(number, action.region, role)] = RegionalImage(
                region=action.region,
                image_id=result.made,
                name=action.name,
                role=role,
                state="requested",
                requested_at=now,
            )
            fingerprints[number] = action.tags[TAG_SOURCE]
            origins[number] = action.tags.get(TAG_ORIGIN, "") or origins.get(number, "")
            if action.tags.get(TAG_RELEASE) == CANDIDATE:
                held_back.add(number)
        elif isinstance(action, TagResources) and action.adopts and plan.source:
            number, role = _slot_tags(action.tags)
            adopted = plan.source.image
            if adopted is not None:
                slots[(number, action.region, role)] = _regional(adopted).model_copy(
                    update={"role": role}
                )
                fingerprints[number] = action.tags[TAG_SOURCE]
                origins[number] = action.tags.get(TAG_ORIGIN, "")
                if action.tags.get(TAG_RELEASE) == CANDIDATE:
                    held_back.add(number)
    there = {i.image_id for i in slots.values() if i.state != "missing"}
    for slot, shown in list(slots.items()):
        if shown.state == "missing" and shown.image_id in there:
            del slots[slot]  # its tags had been altered, and were put back
    numbers = _told(image, slots)
    return tuple(
        ImageVersion(
            version=n,
            source=(plan.source.id if plan.source and n == plan.candidate else "")
            or (known[n].source if n in known else ""),
            fingerprint=fingerprints.get(n, ""),
            created_at=known[n].created_at if n in known else now,
            current=n == plan.version,
            origin=origins.get(n, ""),
            held=n in held_back,
            complete_since=_complete(plan, n, known.get(n)),
            released_at=_released_at(image, plan, n, known.get(n), now),
            **(
                kept_gates(known.get(n))
                if image.spec.management_policy == "Observe"
                else told_gates(plan, n, known.get(n), results)
            ),
            images=tuple(v for k, v in sorted(slots.items()) if k[0] == n),
        )
        for n in numbers
    )


def _awaited(shown: RegionalImage | None, seen: Observed, now: str) -> bool:
    """Whether AWS was asked for an AMI that is not seen, and not long ago.

    It is remembered beside one under a former key: if it never comes, the next is a new request.
    """
    if shown is None or shown.state != "requested":
        return False
    unseen = shown.image_id not in seen.region(shown.region).images
    return unseen and passed(shown.requested_at, moment(now)) < 2 * UNSEEN_GRACE


def _told(image: GoldenImage, slots: Iterable[Slot]) -> list[int]:
    """The newest versions, and the last one in each Region that only status leads to."""
    newest: dict[str, int] = {}
    for number, region, _ in slots:
        newest[region] = max(number, newest.get(region, 0))
    spec = image.spec
    known = {spec.region, *(r.region for r in spec.replicas)}
    every = sorted({number for number, _, _ in slots}, reverse=True)
    apart = {number for region, number in newest.items() if region not in known}
    return sorted({*every[:MOST_VERSIONS], *apart}, reverse=True)


def _remembered(image: GoldenImage, plan: ImagePlan, version: int) -> tuple[int, ...]:
    """Versions whose AMIs stay in status when they are gone."""
    latest = image.status.latest
    pinned = image.spec.pinned_version or 0
    return (plan.version, plan.candidate, latest.version if latest else version, pinned)


def _complete(plan: ImagePlan, version: int, known: ImageVersion | None) -> str | None:
    if version == plan.candidate:
        return (plan.hold.since if plan.hold is not None else "") or None
    return known.complete_since if known is not None else None


def _released_at(
    image: GoldenImage, plan: ImagePlan, version: int, known: ImageVersion | None, now: str
) -> str | None:
    if known is None:
        return None  # released long ago, as far as a status that was lost can tell
    latest = image.status.latest
    moves = latest is None or latest.version != version
    released = plan.home is not None and plan.version == version
    return known.released_at or (now if moves and released else None)


def _slot_tags(tags: Mapping[str, str]) -> tuple[int, str]:
    return int(tags[TAG_VERSION]), tags[TAG_ROLE]


def _rank(image: Image) -> tuple[bool, bool, int, str]:
    """The AMI of a slot to show: an available one, then the last attempt."""
    return (not image.available, image.failed, -image.attempt, image.created)


def _regional(image: Image) -> RegionalImage:
    return RegionalImage(
        region=image.region,
        image_id=image.id,
        name=image.name,
        role=image.role,
        state=image.state,
        encrypted=image.encrypted,
        kms_key_id=min(image.kms_keys, default=None),
        snapshot_ids=image.snapshots,
        message=image.state_reason or None,
    )
