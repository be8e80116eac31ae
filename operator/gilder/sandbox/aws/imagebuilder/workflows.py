"""Workflows and their steps: what runs in each state of a build, and how it is read."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.imagebuilder.names import IMAGE, not_found, parse
from gilder.sandbox.aws.imagebuilder.service import operation, paged
from gilder.sandbox.aws.imagebuilder.store import Build, Step, Workflow, stamp, store
from gilder.sandbox.aws.registry import Call

# The default workflows of AMIs: state -> type, workflow, its steps with their actions.
# https://docs.aws.amazon.com/imagebuilder/latest/userguide/manage-image-workflows.html
STAGES: Mapping[str, tuple[str, str, tuple[tuple[str, str], ...]]] = {
    "BUILDING": (
        "BUILD",
        "build/build-image/1.0.3/1",
        (
            ("LaunchBuildInstance", "LaunchInstance"),
            ("ApplyBuildComponents", "ExecuteComponents"),
            ("InventoryCollection", "CollectImageMetadata"),
            ("RunSanitizeScript", "SanitizeInstance"),
            ("RunSysPrepScript", "RunSysPrep"),
            ("CreateOutputAMI", "CreateImage"),
            ("TerminateBuildInstance", "TerminateInstance"),
        ),
    ),
    "TESTING": (
        "TEST",
        "test/test-image/1.0.2/1",
        (
            ("LaunchTestInstance", "LaunchInstance"),
            ("ApplyTestComponents", "ExecuteComponents"),
            ("TerminateTestInstance", "TerminateInstance"),
        ),
    ),
    "DISTRIBUTING": (
        "DISTRIBUTION",
        "distribution/distribute-image/1.0.0/1",
        (("DistributeImage", "DistributeImage"),),
    ),
}
# Steps whose failure does not end the workflow cannot fail a build.
FAILABLE = {
    name: state
    for state, (_, _, steps) in STAGES.items()
    for name, action in steps
    if action != "TerminateInstance"
}
_WINDOWS_ONLY, _LINUX_ONLY = "RunSysPrepScript", "RunSanitizeScript"


def begin(build: Build, state: str, at: float) -> Workflow | None:
    """Start the workflow of a state, with its first step done and its second running."""
    if state not in STAGES:
        return None
    kind, path, steps = STAGES[state]
    workflow = Workflow(
        f"wf-{uuid.uuid4()}",
        kind,
        f"arn:aws:imagebuilder:{build.region}:aws:workflow/{path}",
        [Step(f"step-{uuid.uuid4()}", name, action) for name, action in steps],
        at,
    )
    workflow.steps[0].status, workflow.steps[0].start = "RUNNING", at
    build.workflows.append(workflow)
    return workflow


def step_of(workflow: Workflow, name: str) -> Step:
    return next(s for s in workflow.steps if s.name == name)


def run(workflow: Workflow, platform: str, at: float, *, until: str | None = None) -> None:
    """Complete the steps, or those before `until`, which then is running."""
    skipped = _LINUX_ONLY if platform == "Windows" else _WINDOWS_ONLY
    for step in workflow.steps:
        step.start = at if step.start is None else step.start
        if step.name == until:
            step.status = "RUNNING"
            return
        step.status, step.end = "SKIPPED" if step.name == skipped else "COMPLETED", at
    workflow.status, workflow.end = "COMPLETED", at


def fail(workflow: Workflow, name: str, message: str, at: float) -> Step:
    """End the workflow at a step that failed; what the steps before it launched is gone."""
    failed = step_of(workflow, name)
    failed.status, failed.start, failed.end = "FAILED", failed.start or at, at
    failed.message = message[:500]
    failed.outputs = {"error": message}
    _abandon(workflow, "SKIPPED")
    workflow.status, workflow.end, workflow.message = "FAILED", at, message[:500]
    return failed


def cancel(workflow: Workflow, at: float) -> None:
    if workflow.end is not None:
        return
    _abandon(workflow, "CANCELLED", at)
    workflow.status, workflow.end = "CANCELLED", at


def _abandon(workflow: Workflow, status: str, at: float | None = None) -> None:
    for step in workflow.steps:
        if step.status == "COMPLETED":
            step.rolled_back = "COMPLETED" if step.action == "LaunchInstance" else "SKIPPED"
        elif step.status == "PENDING" or (at is not None and step.status == "RUNNING"):
            step.status, step.end = status, at


def _counts(workflow: Workflow) -> dict[str, Any]:
    statuses = [s.status for s in workflow.steps]
    out = {
        "workflowBuildVersionArn": workflow.arn,
        "workflowExecutionId": workflow.id,
        "type": workflow.kind,
        "status": workflow.status,
        "totalStepCount": len(statuses),
        "totalStepsSucceeded": statuses.count("COMPLETED"),
        "totalStepsFailed": statuses.count("FAILED"),
        "totalStepsSkipped": statuses.count("SKIPPED"),
        "startTime": stamp(workflow.start),
        "endTime": None if workflow.end is None else stamp(workflow.end),
        "message": workflow.message,
    }
    return {k: v for k, v in out.items() if v is not None}


def _shown(step: Step) -> dict[str, Any]:
    out = {
        "stepExecutionId": step.id,
        "name": step.name,
        "action": step.action,
        "status": step.status,
        "rollbackStatus": step.rolled_back,
        "message": step.message,
        "inputs": "{}",
        "outputs": json.dumps(step.outputs),
        "startTime": None if step.start is None else stamp(step.start),
        "endTime": None if step.end is None else stamp(step.end),
        "attemptNumber": 1,
        "maxAttempts": 1,
    }
    return {k: v for k, v in out.items() if v is not None}


def _find(call: Call, workflow_id: str) -> tuple[Build, Workflow]:
    for build in store(call).builds.values():
        for workflow in build.workflows:
            if workflow.id == workflow_id:
                return build, workflow
    raise AwsError(
        "ResourceNotFoundException", f"The workflow execution '{workflow_id}' cannot be found."
    )


@operation
def list_workflow_executions(call: Call) -> Mapping[str, Any]:
    """The newest workflow comes first."""
    arn = call.need("imageBuildVersionArn")
    parse(arn, IMAGE, "imageBuildVersionArn")
    build = store(call).builds.get(arn)
    if build is None:
        raise not_found(IMAGE, arn)
    newest_first = build.workflows[::-1]
    chosen, rest = paged(call, "ListWorkflowExecutions", newest_first, lambda w: w.id)
    shown = [_counts(w) for w in chosen]
    return {"workflowExecutions": shown, "imageBuildVersionArn": arn, **rest}


@operation
def get_workflow_execution(call: Call) -> Mapping[str, Any]:
    build, workflow = _find(call, call.need("workflowExecutionId"))
    return {**_counts(workflow), "imageBuildVersionArn": build.arn}


@operation
def list_workflow_step_executions(call: Call) -> Mapping[str, Any]:
    build, workflow = _find(call, call.need("workflowExecutionId"))
    chosen, rest = paged(call, "ListWorkflowStepExecutions", workflow.steps, lambda s: s.id)
    out = {
        "steps": [_shown(s) for s in chosen],
        "workflowBuildVersionArn": workflow.arn,
        "workflowExecutionId": workflow.id,
        "imageBuildVersionArn": build.arn,
        **rest,
    }
    return out if workflow.message is None else {**out, "message": workflow.message}


@operation
def get_workflow_step_execution(call: Call) -> Mapping[str, Any]:
    wanted = call.need("stepExecutionId")
    for build in store(call).builds.values():
        for workflow in build.workflows:
            for step in workflow.steps:
                if step.id == wanted:
                    return {
                        **_shown(step),
                        "onFailure": "Abort" if step.name in FAILABLE else "Continue",
                        "timeoutSeconds": 3600,
                        "workflowBuildVersionArn": workflow.arn,
                        "workflowExecutionId": workflow.id,
                        "imageBuildVersionArn": build.arn,
                    }
    raise AwsError("ResourceNotFoundException", f"The step '{wanted}' cannot be found.")
