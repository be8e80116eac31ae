"""The course of a build: states by the sandbox's clock, with what each does in EC2."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moto.core.exceptions import ServiceException

from gilder.sandbox.aws.imagebuilder import logs, output, workflows
from gilder.sandbox.aws.imagebuilder.recipes import parent_image
from gilder.sandbox.aws.imagebuilder.store import Build, Failure, Workflow, all_builds
from gilder.sandbox.aws.model import find_anywhere
from gilder.sandbox.aws.settings import CLOCK, SETTINGS

_STEPS_OF_SSM = frozenset(
    {"ApplyBuildComponents", "InventoryCollection", "RunSanitizeScript", "ApplyTestComponents"}
)
_INTEGRATIONS = (
    "launchTemplateConfigurations",
    "fastLaunchConfigurations",
    "ssmParameterConfigurations",
    "licenseConfigurationArns",
    "s3ExportConfiguration",
)


@dataclass(eq=False)
class Outcome:
    """How the builds of some recipes end; `left` counts down, None lasts."""

    recipe: re.Pattern[str]
    failure: Failure | None
    seconds: float | None
    left: int | None


class Builds:
    """`SandboxAws.builds`: how builds that start from now on will go."""

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []

    def fail_next(
        self,
        step: str = "ApplyBuildComponents",
        reason: str | None = None,
        count: int = 1,
        recipe: str = ".*",
    ) -> None:
        """Fail the next `count` builds of recipes whose name matches, in one workflow step."""
        self._add(recipe, step, reason, None, count)

    def outcome(
        self,
        recipe: str = ".*",
        *,
        step: str | None = None,
        reason: str | None = None,
        seconds: float | None = None,
        count: int | None = None,
    ) -> None:
        """What happens to builds of such recipes: success, or failure in `step`.

        `seconds` is how long they take instead of `build_seconds`. The newest that matches
        counts.
        """
        self._add(recipe, step, reason, seconds, count)

    def clear(self) -> None:
        self._outcomes.clear()

    def take(self, recipe: str) -> Outcome | None:
        """The outcome for a build that starts; it is used up."""
        for outcome in reversed(self._outcomes):
            if outcome.recipe.fullmatch(recipe):
                if outcome.left is not None:
                    outcome.left -= 1
                    if outcome.left <= 0:
                        self._outcomes.remove(outcome)
                return outcome
        return None

    def _add(
        self, recipe: str, step: str | None, reason: str | None, seconds: float | None,
        count: int | None,
    ) -> None:  # fmt: skip
        if step is not None and step not in workflows.FAILABLE:
            raise ValueError(f"no such step: {step}; known: {', '.join(workflows.FAILABLE)}")
        failure = None if step is None else Failure(step, reason)
        self._outcomes.append(Outcome(re.compile(recipe), failure, seconds, count))


BUILDS = Builds()


def plan(build: Build, *, tests: bool) -> None:
    """Fix when each state begins, and whether the build fails."""
    outcome = BUILDS.take(build.name)
    seconds = SETTINGS.build_seconds
    if outcome is not None:
        build.failure = outcome.failure
        seconds = seconds if outcome.seconds is None else outcome.seconds
    states = ["PENDING", "CREATING", "BUILDING"]
    # A failure of the test stage needs one.
    if tests or (build.failure and workflows.FAILABLE[build.failure.step] == "TESTING"):
        states.append("TESTING")
    states.append("DISTRIBUTING")
    distributions = (build.distribution or {}).get("distributions", [])
    if any(entry.get(name) for entry in distributions for name in _INTEGRATIONS):
        states.append("INTEGRATING")
    start, each = CLOCK.time(), seconds / len(states)
    build.schedule = [(s, start + i * each) for i, s in enumerate([*states, "AVAILABLE"])]


def settle() -> None:
    """Bring every build to where the clock says it is."""
    now = CLOCK.time()
    for build in all_builds():
        while not build.finished:
            state, at = build.schedule[build.position + 1]
            if build.cancel_at is not None and build.cancel_at <= at:
                _cancel(build, build.cancel_at)
            elif at > now:
                break
            else:
                _step(build, state, at)


def _step(build: Build, state: str, at: float) -> None:
    """Leave the present state and enter the next one."""
    try:
        _leave(build, at)
        if build.finished:
            return
        build.position += 1
        build.status = state
        logs.write(build, at, f"Image transitioned to {state} state for Image ARN: {build.arn}")
        _enter(build, state, at)
    except ServiceException as problem:
        # EC2 refused something; the step that asked for it fails.
        running = build.workflows[-1]
        step = next(s for s in running.steps if s.status == "RUNNING")
        _fail(build, running, step.name, str(problem.message), at)


def _enter(build: Build, state: str, at: float) -> None:
    if state == "AVAILABLE":
        build.ended = at
        return
    image = None
    if state == "BUILDING":
        written = build.recipe["parentImage"]
        image, why = parent_image(output.call_of(build, "GetImage"), written)
        if image is None:
            _end(build, "FAILED", at, why)
            build.context = {"imageStatus": state}
            return
        logs.write(build, at, f"Resolved Image Recipe parent image {written} to AMI {image.id}.")
    elif state == "TESTING":
        image = find_anywhere(build.image_id or "", build.region)
    workflow = workflows.begin(build, state, at)
    if workflow is None:
        return
    logs.write(build, at, f"Started {workflow.kind} workflow {workflow.arn}")
    if state == "DISTRIBUTING" or _fails_at(build, workflow.steps[0].name):
        return
    if image is None:
        _fail(build, workflow, workflow.steps[0].name, f"The AMI {build.image_id} is gone", at)
        return
    instance = output.start_instance(build, state, image)
    workflow.steps[0].outputs = {"instanceId": instance}
    logs.write(build, at, f"Launched instance (instance id: {instance})")
    workflows.run(workflow, build.recipe["platform"], at, until=workflow.steps[1].name)


def _fails_at(build: Build, step: str) -> bool:
    return build.failure is not None and build.failure.step == step


def _leave(build: Build, at: float) -> None:
    """The end of the present state: its workflow completes, or fails where it is to fail."""
    state, platform = build.status, build.recipe["platform"]
    if state not in workflows.STAGES:
        return
    workflow = build.workflows[-1]
    failure = build.failure
    if failure is not None and workflows.FAILABLE[failure.step] == state:
        workflows.run(workflow, platform, at, until=failure.step)
        _fail(build, workflow, failure.step, failure.reason, at)
        return
    if state == "BUILDING":
        workflows.run(workflow, platform, at, until="CreateOutputAMI")
        image = output.create_ami(build, build.instances[-1], at)
        workflows.step_of(workflow, "CreateOutputAMI").outputs = {"imageId": image.id}
        logs.write(build, at, f"Created AMI {image.id}")
    elif state == "DISTRIBUTING":
        output.distribute(build)
    if build.infrastructure["terminateInstanceOnCompletion"]:
        output.stop_instances(build)
    workflows.run(workflow, platform, at)


def _words(build: Build, step: str) -> tuple[str, str]:
    """AWS's words for a failed step: of the step and of the image."""
    if step not in _STEPS_OF_SSM:
        text = f"Step '{step}' failed"
        return text, f"Workflow Execution ID: '{build.workflows[-1].id}' failed with reason: {text}"
    component = _component(build)
    why = f"Document {component} failed!" if component else f"Step '{step}' failed"
    start = f"SSM execution '{uuid.uuid4()}' failed"
    rest = f"with status = 'Failed' in state = '{build.status}' and failure message = '{why}'"
    return f"{start} {rest}", f"{start} for image arn: '{build.arn}' {rest}"


def _component(build: Build) -> str | None:
    listed = build.recipe.get("components") or []
    return str(listed[-1]["componentArn"]) if listed else None


def _fail(build: Build, workflow: Workflow, step: str, reason: str | None, at: float) -> None:
    message, whole = (reason, reason) if reason is not None else _words(build, step)
    failed = workflows.fail(workflow, step, message, at)
    context: dict[str, Any] = {
        "imageStatus": build.status,
        "workflowExecutionId": workflow.id,
        "workflowArn": workflow.arn,
        "stepExecutionId": failed.id,
        "failedStep": step,
    }
    component = _component(build)
    if component and failed.action == "ExecuteComponents":
        context["componentFailure"] = {"componentArn": component, "errorMessage": message}
    if workflow.kind == "DISTRIBUTION":
        context["distributionFailure"] = {"errorMessage": message}
    logs.write(build, at, message)
    logs.write(build, at, f"Action failed for step {step}. Failing step")
    _end(build, "FAILED", at, whole)
    build.context = context


def _cancel(build: Build, at: float) -> None:
    for workflow in build.workflows:
        workflows.cancel(workflow, at)
    _end(build, "CANCELLED", at, "Image creation was cancelled by the user")


def _end(build: Build, state: str, at: float, reason: str) -> None:
    build.status, build.reason, build.ended = state, reason, at
    logs.write(build, at, f"Image transitioned to {state} state for Image ARN: {build.arn}")
    keys = {"FAILED": "terminateInstanceOnFailure"}
    if build.infrastructure[keys.get(state, "terminateInstanceOnCompletion")]:
        output.stop_instances(build)


def state_of(build: Build) -> Mapping[str, Any]:
    """The state as GetImage and the lists show it."""
    out: dict[str, Any] = {"status": build.status}
    if build.reason is not None:
        out["reason"] = build.reason
    if build.context is not None:
        out["failureContext"] = build.context
    return out
