"""What status, conditions and Events say of builds and gates; pure."""

from collections.abc import Sequence
from typing import Any

from gilder.api import GoldenImage, GoldenImageStatus
from gilder.api.conditions import ConditionType
from gilder.api.goldenimage import GateResult, ImageVersion, LatestVersion
from gilder.core.actions import CreateJob, RunCheck, StartBuild
from gilder.core.building import FAILED, PENDING, RUNNING, SUCCEEDED, BuildPlan
from gilder.core.conditions import Verdict, merge, verdicts_of
from gilder.core.gating import comment
from gilder.core.results import Event, Result
from gilder.core.versions import ImagePlan


def told_work(image: GoldenImage, plan: ImagePlan, results: Sequence[Result]) -> dict[str, Any]:
    """The fields of status about builds and the candidate."""
    record, ended, request = plan.build.record, plan.build.ended, plan.build.request
    if image.spec.management_policy == "Observe":
        old = image.status
        record, ended, request = old.build, old.last_build, old.last_handled_rebuild
    for result in results:
        mine = isinstance(result.action, StartBuild | CreateJob)
        if mine and record is not None and record.id == result.action.build and result.done:  # type: ignore[union-attr]
            record = record.model_copy(update={"state": RUNNING, "ref": result.made})
    candidate = None
    unreleased = plan.candidate != plan.version or not plan.verdict.open or plan.hold is not None
    if plan.candidate_home is not None and unreleased:
        candidate = LatestVersion(version=plan.candidate, image_id=plan.candidate_home.id)
    return {
        "build": record,
        "last_build": ended,
        "next_build": plan.next_build,
        "last_handled_rebuild": request,
        "candidate": candidate,
    }


def told_gates(
    plan: ImagePlan, version: int, known: ImageVersion | None, done: Sequence[Result]
) -> dict[str, Any]:
    """The fields of one version about its gates; `done` tells which checks were sent."""
    verdict = plan.verdict
    if version == plan.candidate and plan.candidate_home is not None and not verdict.state:
        return {}  # there are no gates any more
    if version == plan.candidate and plan.candidate_home is not None:
        old = known.gates if known is not None and verdict.state != PENDING else ()
        sent = {
            r.action.check: r.action.instance
            for r in done
            if r.done and isinstance(r.action, RunCheck)
        }
        results = tuple(
            r.model_copy(update={"state": "Running", "message": f"sent to {sent[comment(r.name)]}"})
            if comment(r.name) in sent
            else r
            for r in verdict.results or old
        )
        return {
            "gate": verdict.state,
            "gates": results,
            "gates_asked": verdict.gates or (known.gates_asked if known else ""),
            "tested_since": verdict.since or (known.tested_since if known else None),
        }
    if known is None or (known.gate == PENDING and version < plan.candidate):
        return {}  # a later version has taken its place
    return kept_gates(known)


def kept_gates(known: ImageVersion | None) -> dict[str, Any]:
    """The fields about gates as they were, where nothing is asked."""
    if known is None:
        return {}
    return {
        "gate": known.gate,
        "gates": known.gates,
        "gates_asked": known.gates_asked,
        "tested_since": known.tested_since,
    }


def tell_build(plan: BuildPlan) -> Verdict:
    """BuildSucceeded: the build under way, or else the last one."""
    type_ = ConditionType.BUILD_SUCCEEDED
    record, last = plan.record, plan.ended
    if record is not None:
        stage = f", {record.stage.lower()}" if record.stage else ""
        log = f"; log: {record.log}" if record.log else ""
        text = (
            f"build {record.id} of version {record.version} ({record.trigger}) is "
            f"{record.state.lower()}{stage} since {record.started_at}{log}"
        )
        return Verdict(type_, "Unknown", "Building", text)
    if last is None:
        text = f"a build is due ({plan.due})" if plan.due else "nothing was built yet"
        return Verdict(type_, "Unknown", "NotBuilt", text)
    told = f"build {last.id} ({last.trigger})"
    if last.state == SUCCEEDED:
        return Verdict(type_, "True", "Succeeded", f"{told} made {last.image_id}")
    if last.state == FAILED:
        log = f"; log: {last.log}" if last.log else ""
        return Verdict(type_, "False", "BuildFailed", f"{told}: {last.message}{log}")
    return Verdict(type_, "False", "BuildCancelled", f"{told}: {last.message}")


def tell_gates(plan: ImagePlan) -> Verdict:
    """GatesPassed: of the version that spec.source asks for."""
    type_ = ConditionType.GATES_PASSED
    verdict = plan.verdict
    text = f"version {plan.candidate}: {_said(verdict.results)}"
    if plan.candidate_home is None:
        return Verdict(type_, "Unknown", "Progressing", "there is no version to check yet")
    if verdict.open:
        return Verdict(type_, "True", "Passed", text if verdict.results else "released")
    if verdict.state == "Failed":
        return Verdict(type_, "False", "GateFailed", text)
    reason = "AwaitingApproval" if verdict.awaits_approval else "Checking"
    return Verdict(type_, "Unknown", reason, text)


def work_events(image: GoldenImage, plan: ImagePlan) -> list[Event]:
    """Events for a build or a check that has ended just now."""
    if image.spec.management_policy == "Observe":
        return []
    events = []
    ended, before = plan.build.ended, image.status.last_build
    if ended is not None and (before is None or before.id != ended.id):
        told = tell_build(BuildPlan(ended=ended))
        good = ended.state == SUCCEEDED
        reason = "BuildSucceeded" if good else told.reason
        events.append(Event("Normal" if good else "Warning", reason, told.message))
    known = next((v for v in image.status.versions if v.version == plan.candidate), None)
    was = {r.name: r.state for r in (known.gates if known is not None else ())}
    for result in plan.verdict.results:
        over = result.state not in (PENDING, "Running")
        if over and was.get(result.name) != result.state:
            good = result.state == "Passed"
            events.append(
                Event(
                    "Normal" if good else "Warning",
                    "CheckPassed" if good else "CheckFailed",
                    f"version {plan.candidate}, {_one(result)}",
                )
            )
    return events


def _said(results: Sequence[GateResult]) -> str:
    return "; ".join(_one(r) for r in results) or "nothing is known yet"


def _one(result: GateResult) -> str:
    text = f"{result.name} {result.state.lower()}"
    if result.message:
        text += f": {result.message}"
    return f"{text} ({result.log})" if result.log and result.state == "Failed" else text


def report_stop(image: GoldenImage, plan: ImagePlan, now: str) -> GoldenImageStatus:
    """The status while the work on a version is ended; `now` is RFC 3339, UTC."""
    old = image.status
    verdicts = [v for v in verdicts_of(old.conditions) if v.type != ConditionType.BUILD_SUCCEEDED]
    if image.spec.source.built:
        verdicts.append(tell_build(plan.build))
    versions = tuple(
        # Asked anew later, on an instance of that time.
        v.model_copy(update={"tested_since": None, "gates": ()}) if v.gate == PENDING else v
        for v in old.versions
    )
    return old.model_copy(
        update={
            "versions": versions,
            "build": plan.build.record,
            "last_build": plan.build.ended,
            "conditions": merge(old.conditions, verdicts, image.metadata.generation, now),
        }
    )
