"""Conditions and Events that both kinds tell their story with; pure."""

from collections.abc import Iterable, Sequence

from gilder.api.base import one_line
from gilder.api.conditions import Condition, ConditionType
from gilder.api.names import TAG_GATES, TAG_RELEASE
from gilder.core.actions import (
    PUBLISHING,
    RETIRING,
    WORK,
    AnyAction,
    CancelBuild,
    CopyImage,
    CreateGrant,
    CreateImage,
    CreateJob,
    DeleteConfigMap,
    DeleteJob,
    DeleteParameter,
    DeleteRecipes,
    DeleteSnapshot,
    DeprecateImage,
    DeregisterImage,
    DisableImage,
    EnableImage,
    EndTest,
    LaunchTest,
    ModifyLaunchPermission,
    ModifySnapshotPermission,
    ProtectImage,
    PruneTemplateVersions,
    PutConfigMap,
    PutKeyPolicy,
    PutParameter,
    ReleaseConfigMap,
    ReleaseParameter,
    ReportUsage,
    RestoreImage,
    RevokeGrant,
    RunCheck,
    SetTemplateImage,
    StartBuild,
    TagForConsumer,
    TagResources,
    UntagResources,
)
from gilder.core.conditions import Verdict, get
from gilder.core.observed import Problem
from gilder.core.plan import Plan
from gilder.core.results import Event, Result

PLAN_LINES = 50  # lines of status.plan
DRIFT_LENGTH = 1024  # characters of status.lastDrift

# Transient problems during which a resource that was Ready stays so: they say nothing about it.
PASSING = frozenset({"Throttled", "AWSUnavailable", "CredentialsUnusable", "Stopping"})

REASONS: dict[type[AnyAction], str] = {
    TagResources: "Tagged",
    UntagResources: "Untagged",
    CreateImage: "CreateStarted",
    CopyImage: "CopyStarted",
    EnableImage: "Enabled",
    DisableImage: "Disabled",
    DeprecateImage: "DeprecationChanged",
    ProtectImage: "ProtectionChanged",
    RestoreImage: "Restored",
    ReportUsage: "UsageAsked",
    DeleteSnapshot: "SnapshotDeleted",
    DeregisterImage: "Deregistered",
    CreateGrant: "GrantCreated",
    RevokeGrant: "GrantRevoked",
    ModifyLaunchPermission: "LaunchPermissionChanged",
    ModifySnapshotPermission: "SnapshotPermissionChanged",
    PutKeyPolicy: "KeyPolicyChanged",
    TagForConsumer: "TaggedForConsumer",
    StartBuild: "BuildStarted",
    CancelBuild: "BuildCancelled",
    DeleteRecipes: "RecipesDeleted",
    CreateJob: "JobCreated",
    DeleteJob: "JobDeleted",
    LaunchTest: "TestLaunched",
    RunCheck: "CheckStarted",
    EndTest: "TestTerminated",
    PutParameter: "ParameterPublished",
    DeleteParameter: "ParameterDeleted",
    ReleaseParameter: "ParameterReleased",
    SetTemplateImage: "LaunchTemplateChanged",
    PruneTemplateVersions: "TemplateVersionsDeleted",
    PutConfigMap: "ConfigMapPublished",
    DeleteConfigMap: "ConfigMapDeleted",
    ReleaseConfigMap: "ConfigMapReleased",
}


def problems_of(plan: Plan, results: Iterable[Result]) -> tuple[Problem, ...]:
    """What stands in the way: found while planning, or told by AWS when applying."""
    return tuple(dict.fromkeys([*plan.problems, *(r.problem for r in results if r.problem)]))


def is_work(action: AnyAction) -> bool:
    """Whether an action follows from a trigger or a verdict, so that it mends nothing."""
    if isinstance(action, TagResources):
        marks = {TAG_GATES, TAG_RELEASE}
        return not action.adopts and marks >= action.tags.keys()
    if isinstance(action, DeregisterImage):
        return action.leftover
    if isinstance(action, ProtectImage):
        return action.mode == "disabled"  # before an AMI goes
    if isinstance(action, PUBLISHING):
        return not getattr(action, "heals", False)
    return isinstance(action, WORK + RETIRING)


def worst(problems: Sequence[Problem]) -> Problem | None:
    """The problem to name first: one that needs a person, else any."""
    return next((p for p in problems if p.permanent), problems[0] if problems else None)


def told(problems: Sequence[Problem]) -> str:
    """All problems in one message, the ones that need a person first."""
    return "; ".join(p.message for p in sorted(problems, key=lambda p: not p.permanent))


def outlook(
    *,
    good: bool,
    good_reason: str,
    good_message: str,
    problems: Sequence[Problem],
    progress: Sequence[str],
    before: Sequence[Condition],
    generation: int,
) -> list[Verdict]:
    """Ready, Reconciling and Stalled, as kstatus wants them.

    While AWS only throttles or is out of reach, a Ready of this generation stays as it was.
    """
    first = worst(problems)
    was = get(before, ConditionType.READY)
    verdicts: list[Verdict] = []
    passing = bool(problems) and all(p.reason in PASSING for p in problems)
    still = was is not None and was.status == "True" and was.observed_generation == generation
    if good and (not problems or passing):
        verdicts.append(Verdict(ConditionType.READY, "True", good_reason, good_message))
    elif passing and still and was is not None:
        verdicts.append(Verdict(ConditionType.READY, "True", was.reason, was.message))
    elif first is not None:
        verdicts.append(Verdict(ConditionType.READY, "False", first.reason, told(problems)))
    else:
        message = "; ".join(progress) or "AWS is being brought in line with the spec"
        verdicts.append(Verdict(ConditionType.READY, "False", "Progressing", message))
    if first is not None and first.permanent:
        verdicts.append(Verdict(ConditionType.STALLED, "True", first.reason, told(problems)))
    elif first is not None:
        verdicts.append(Verdict(ConditionType.RECONCILING, "True", "Retrying", told(problems)))
    elif progress:
        text = "; ".join(progress)
        verdicts.append(Verdict(ConditionType.RECONCILING, "True", "Progressing", text))
    return verdicts


def synced(
    *, pending: Sequence[AnyAction], observe: bool, problems: Sequence[Problem], drift: str
) -> Verdict:
    """Whether AWS matches what is declared, with the drift that was corrected last."""
    if pending and observe:
        text = "; ".join(a.describe() for a in pending)
        return Verdict(ConditionType.SYNCED, "False", "WouldChange", text)
    first = worst(problems)
    if first is not None:
        return Verdict(ConditionType.SYNCED, "False", first.reason, told(problems))
    if pending:
        text = "; ".join(a.describe() for a in pending)
        return Verdict(ConditionType.SYNCED, "False", "Changing", text)
    return Verdict(ConditionType.SYNCED, "True", "InSync", drift)


def last_drift(before: str | None, corrected: Sequence[Result], now: str) -> str | None:
    """When drift was corrected last and how, for status.lastDrift."""
    if not corrected:
        return before
    return one_line(f"{now}: {'; '.join(r.action.describe() for r in corrected)}", DRIFT_LENGTH)


def drift_text(count: int, last: str | None) -> str:
    if not count:
        return "no drift seen"
    return f"{count} drift{'s' if count > 1 else ''} corrected, the last: {last or 'unknown'}"


def action_events(results: Iterable[Result], drift: bool) -> list[Event]:
    """One Event per action that was tried; `drift` says that the spec had not changed."""
    events = []
    for result in results:
        said = result.action.describe()
        made = f" ({result.made})" if result.made and result.made.startswith("ami-") else ""
        if result.problem is not None:
            events.append(Event("Warning", result.problem.reason, result.problem.message))
        elif drift and not is_work(result.action):
            events.append(Event("Warning", "DriftCorrected", f"AWS had drifted: {said}{made}"))
        else:
            adopts = isinstance(result.action, TagResources) and result.action.adopts
            reason = "Adopted" if adopts else REASONS[type(result.action)]
            events.append(Event("Normal", reason, f"{said}{made}"))
    return events


def condition_events(before: Sequence[Condition], after: Sequence[Condition]) -> list[Event]:
    """Events for what became true or false; none for what stayed."""
    events = []
    for type_, kind in ((ConditionType.STALLED, "Warning"), (ConditionType.READY, "Normal")):
        was, now = get(before, type_), get(after, type_)
        if now is None or now.status != "True":
            continue
        changed = was is None or was.status != "True" or was.reason != now.reason
        if changed:
            events.append(
                Event("Warning" if kind == "Warning" else "Normal", now.reason, now.message)
            )
    return events
