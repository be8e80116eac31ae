"""What went wrong once: builds that repeat, gates that change, tests that end too early."""

from dataclasses import replace
from typing import Any

import pytest
from planworld import GOLDEN, HOME, NOW, ami, image, kinds, ours, view, wanted, world
from pydantic import ValidationError

from gilder.api import GoldenImage
from gilder.api.building import ImageBuilderSource, JobSource
from gilder.api.goldenimage import Build, GoldenImageSpec, ImageVersion, RegionalImage
from gilder.api.names import TAG_BUILD, TAG_GATES
from gilder.core import recipes
from gilder.core.actions import LaunchTest
from gilder.core.observed import Image, Observed, Problem
from gilder.core.report_image import report_image
from gilder.core.shares import resolve
from gilder.core.versions import ImagePlan, plan_image
from gilder.core.wanted import Judged, Known, Memory, Source, Wanted
from gilder.core.wanted import wanted as wanted_of
from gilder.core.work import Scan, SeenJob, SeenTest, Work

BY_JOB = {"job": {"template": {"spec": {"containers": [{"name": "bake", "image": "baker"}]}}}}
PARENT = Source(image=image(1))


def golden(status: Any, **spec: Any) -> GoldenImage:
    return GoldenImage.model_validate(
        {
            "metadata": {"name": "base", "namespace": "team", "uid": "uid-1", "generation": 1},
            "spec": {"region": HOME, "source": {"image": {"id": ami(1)}}, **spec},
            "status": status,
        }
    )


def step(
    document: GoldenImage, seen: Observed, work: Work = Work(), **who: Any  # noqa: B008
) -> tuple[ImagePlan, GoldenImage]:  # fmt: skip
    """One look with nothing applied: the plan, and the object with the status that comes of it."""
    want = replace(wanted_of("prod", document), **who)
    plan = plan_image(want, PARENT, seen, NOW, work)
    status, _ = report_image(document, want, plan, seen, (), "2030-01-01T12:00:00Z")
    return plan, document.model_copy(update={"status": status})


# Builds


def ended(inputs: str, started: str, **changes: Any) -> Build:
    values = {"id": f"build-{started}", "kind": "job", "trigger": f"spec/{inputs}"}
    more = {"inputs": inputs, "state": "Succeeded", "startedAt": started, "imageId": ami(9)}
    return Build.model_validate({**values, **more, **changes})


def begun(last: Build) -> Build:
    want = replace(wanted(Memory(last_build=last, highest=2), source=BY_JOB), uid="uid-1")
    record = plan_image(want, Source(), world(), NOW).build.record
    assert record is not None
    return record


def test_a_spec_that_comes_back_is_another_build() -> None:
    first = begun(ended("a", "2029-12-01T00:00:00Z"))
    later = begun(ended("a", "2029-12-02T00:00:00Z"))
    assert first.trigger == later.trigger
    assert first.id != later.id
    assert first.id == begun(ended("a", "2029-12-01T00:00:00Z")).id, "the same after a crash"


@pytest.mark.parametrize("state", ["failed", "succeeded"])
def test_an_ami_that_is_a_version_is_neither_cleared_nor_taken(state: Any) -> None:
    record = begun(ended("a", "2029-12-01T00:00:00Z")).model_copy(
        update={"state": "Running", "ref": "base-1"}
    )
    version = ours(5, version=2, fingerprint="other", tags={TAG_BUILD: record.id})
    memory = Memory(build=record, highest=2)
    want = replace(wanted(memory, source=BY_JOB), uid="uid-1")
    job = SeenJob("base-1", record.id, "uid-1", state)
    plan = plan_image(want, Source(), world(view(HOME, [version])), NOW, Work(jobs=(job,)))
    assert "DeregisterImage" not in kinds(plan.plan.actions)
    assert plan.build.ended is None or plan.build.ended.image_id is None


def test_a_job_that_was_not_recorded_is_found_by_its_ami() -> None:
    record = begun(ended("a", "2029-12-01T00:00:00Z"))
    made = image(7, tags={TAG_BUILD: record.id})
    older = image(6, tags={TAG_BUILD: record.id}, created="2029-11-01T00:00:00+00:00")
    want = replace(wanted(Memory(build=record, highest=2), source=BY_JOB), uid="uid-1")
    plan = plan_image(want, Source(), world(view(HOME, [made, older])), NOW)
    assert plan.build.ended is not None
    assert plan.build.ended.image_id == made.id
    assert [a.image for a in plan.plan.actions if a.kind == "DeregisterImage"] == [older.id]  # type: ignore[union-attr]


def test_the_end_of_a_build_is_recorded_before_its_ami_is_taken() -> None:
    """Else a crash in between leaves a version that the build under way never finds."""
    record = begun(ended("a", "2029-12-01T00:00:00Z")).model_copy(
        update={"state": "Running", "ref": "base-1"}
    )
    there = world(view(HOME, [image(7, tags={TAG_BUILD: record.id})]))
    want = replace(wanted(Memory(build=record, highest=2), source=BY_JOB), uid="uid-1")
    job = SeenJob("base-1", record.id, "uid-1", "succeeded")
    first = plan_image(want, Source(), there, NOW, Work(jobs=(job,)))
    assert first.build.ended is not None
    assert kinds(first.plan.actions) == []
    assert first.plan.retry_after
    later = replace(want, memory=Memory(last_build=first.build.ended, highest=2))
    second = plan_image(later, Source(), there, NOW, Work(jobs=(job,)))
    assert kinds(second.plan.actions) == ["TagResources"]


# Gates


def scanned(tag: str, **changes: Any) -> Image:
    return ours(
        1, version=1, fingerprint="f", tags={TAG_GATES: tag},
        scanned_at="2030-01-01T11:59:00Z", **changes,
    )  # fmt: skip


def limits(critical: int, **more: Any) -> dict[str, Any]:
    return {"inspector": {"maxFindings": {"critical": critical}}, **more}


def settle(document: GoldenImage, tag: str, found: int, **who: Any) -> tuple[str, GoldenImage]:
    """Look until the tag stays as it is; the tag then."""
    for _ in range(6):
        there = scanned(tag)
        work = Work(scans={there.id: Scan(there.scanned_at, {"critical": found})})
        plan, document = step(document, world(view(HOME, [there])), work, **who)
        marks = [
            a.tags[TAG_GATES] for a in plan.plan.actions if TAG_GATES in getattr(a, "tags", {})
        ]
        if not marks and not plan.plan.retry_after:
            break
        tag = marks[-1] if marks else tag
    return tag, document


def test_a_changed_limit_of_the_same_gate_is_asked_anew() -> None:
    tag, document = settle(golden({}, gates=limits(0)), "pending", 2)
    assert tag.startswith("failed/")
    relaxed = document.model_copy(update={"spec": golden({}, gates=limits(5)).spec})
    assert settle(relaxed, tag, 2)[0] == "passed"


def test_a_limit_that_became_stricter_while_a_person_decides() -> None:
    tag, document = settle(golden({}, gates=limits(5, manual=True)), "pending", 2)
    assert tag == "pending"
    strict = document.model_copy(update={"spec": golden({}, gates=limits(0, manual=True)).spec})
    assert settle(strict, tag, 2, approved=1)[0].startswith("failed/")


SSM = {"ssm": {"instance": {"profile": "p"}, "checks": ["Patched"]}}
CANDIDATE = ours(2, version=2, fingerprint="f2", tags={TAG_GATES: "pending"})
RELEASED = ours(1, version=1, fingerprint="f1", tags={TAG_GATES: "passed"})
TEST = SeenTest("i-1", CANDIDATE.id, GOLDEN, "running", "2030-01-01T11:58:00Z", online=True)


def under_test(**spec: Any) -> Wanted:
    known = {
        (2, HOME, "home"): Known(CANDIDATE.id, True, ""),
        (1, HOME, "home"): Known(RELEASED.id, True, ""),
    }
    memory = Memory(
        images=known, prints={1: "f1", 2: "f2"}, highest=2, latest=1,
        tested={2: Judged("Pending", (), "2030-01-01T11:55:00Z", "x")},
    )  # fmt: skip
    return wanted(memory, **spec)


def test_a_source_that_cannot_be_resolved_for_a_moment_ends_no_test() -> None:
    there = world(view(HOME, [RELEASED, CANDIDATE]))
    lost = Problem("Throttled", "slow down", permanent=False)
    plan = plan_image(under_test(gates=SSM), lost, there, NOW, Work(tests=(TEST,)))
    assert "EndTest" not in kinds(plan.plan.actions)
    assert plan.version == 1


def test_gates_without_ssm_end_the_test() -> None:
    there = world(view(HOME, [RELEASED, CANDIDATE]))
    want = replace(under_test(gates={"manual": True}))
    memory = replace(want.memory, prints={})
    source = Source(image=CANDIDATE)
    plan = plan_image(replace(want, memory=memory), source, there, NOW, Work(tests=(TEST,)))
    tested = {2: Judged("Pending", (), "2030-01-01T12:00:00Z", plan.verdict.gates)}
    want = replace(want, memory=replace(memory, tested=tested))
    later = plan_image(want, source, there, NOW, Work(tests=(TEST,)))
    assert "EndTest" in kinds(later.plan.actions)


def test_the_token_of_a_test_instance_changes_after_ec2_forgot_the_last_one() -> None:
    def token(since: str) -> str:
        want = under_test(gates=SSM)
        asked = plan_image(want, Source(image=CANDIDATE), there, NOW).verdict.gates
        tested = {2: Judged("Pending", (), since, asked)}
        want = replace(want, memory=replace(want.memory, tested=tested))
        plan = plan_image(want, Source(image=CANDIDATE), there, NOW)
        (launch,) = [a for a in plan.plan.actions if isinstance(a, LaunchTest)]
        return launch.token

    there = world(view(HOME, [RELEASED, CANDIDATE]))
    assert token("2030-01-01T11:55:00Z") == token("2030-01-01T11:55:00Z")
    assert token("2030-01-01T11:55:00Z") != token("2029-12-30T11:55:00Z")


def test_a_version_whose_tag_was_taken_off_is_still_held() -> None:
    from planworld import gilded, share

    bare = ours(2, version=2, fingerprint="f2")
    there = world(view(HOME, [RELEASED, bare]))
    all_of_them = share(versions={"select": "All"})
    found = resolve(all_of_them, [gilded(2)], there, "prod", {GOLDEN: frozenset({HOME})})
    assert {t.version for t in found.targets} == {1, 2}
    held = gilded(2, held=frozenset({2}))
    found = resolve(all_of_them, [held], there, "prod", {GOLDEN: frozenset({HOME})})
    assert {t.version for t in found.targets} == {1}


def test_a_failed_nightly_build_leaves_the_released_version_ready() -> None:
    pipeline = f"arn:aws:imagebuilder:{HOME}:111111111111:image-pipeline/p"
    source = {"imageBuilder": {"pipelineArn": pipeline}}
    inputs = recipes.inputs(ImageBuilderSource(pipeline_arn=pipeline))
    build = {
        "id": "b2", "kind": "imageBuilder", "trigger": "schedule/2030-01-01T03:00:00Z",
        "state": "Failed", "inputs": inputs, "message": "exit 1",
        "startedAt": "2030-01-01T03:00:00Z",
    }  # fmt: skip
    versions = [
        ImageVersion(
            version=1, fingerprint="f1", current=True,
            images=(
                RegionalImage(region=HOME, image_id=RELEASED.id, role="home", state="available"),
            ),
        )
    ]  # fmt: skip
    status = {
        "lastBuild": build,
        "latest": {"version": 1, "imageId": RELEASED.id},
        "versions": [v.model_dump(by_alias=True) for v in versions],
    }
    document = golden(status, source=source)
    _, after = step(document, world(view(HOME, [RELEASED])))
    conditions = {c.type: c for c in after.status.conditions}
    assert conditions["Ready"].status == "True"
    assert conditions["BuildSucceeded"].status == "False"
    assert "Stalled" not in conditions
    asked = golden({**status, "lastBuild": {**build, "trigger": "spec/x"}}, source=source)
    _, after = step(asked, world(view(HOME, [RELEASED])))
    assert {c.type: c.status for c in after.status.conditions}["Ready"] == "False"


# Hostile input


@pytest.mark.parametrize(
    ("template", "field"),
    [
        ({"spec": {"containers": ["x"]}}, "spec.containers[0]"),
        ({"spec": {"containers": [{"name": "a", "env": ["A=1"]}]}}, "env[0]"),
        ({"metadata": [], "spec": {"containers": [{"name": "a"}]}}, "metadata"),
        ({"metadata": {"labels": ["a"]}, "spec": {"containers": [{"name": "a"}]}}, "labels"),
        ({"spec": None}, "spec.containers"),
    ],
)
def test_a_pod_template_of_another_shape_is_refused(template: Any, field: str) -> None:
    with pytest.raises(ValidationError) as told:
        JobSource.model_validate({"template": template})
    assert field in str(told.value)


def test_a_pod_template_may_hold_nulls() -> None:
    template = {
        "metadata": None,
        "spec": {"initContainers": None, "containers": [{"name": "a", "env": None}]},
    }
    want = replace(wanted(source={"job": {"template": template}}), uid="uid-1")
    assert kinds(plan_image(want, Source(), world(), NOW).plan.actions) == ["CreateJob"]


@pytest.mark.parametrize("key", ["aws:x", "goldenimage.dev/test"])
def test_instances_cannot_be_made_to_look_like_ours(key: str) -> None:
    recipe = {"parentImage": {"id": ami(1)}, "components": [{"check": "Patched"}]}
    infrastructure = {"instanceProfile": "p", "tags": {key: "x"}}
    source = {"imageBuilder": {"recipe": recipe, "infrastructure": infrastructure}}
    with pytest.raises(ValidationError, match="reserved"):
        GoldenImageSpec.model_validate({"region": HOME, "source": source})


def test_a_pipeline_of_another_region_is_refused() -> None:
    arn = "arn:aws:imagebuilder:us-east-1:111111111111:image-pipeline/p"
    with pytest.raises(ValidationError, match="home Region"):
        GoldenImageSpec.model_validate(
            {"region": HOME, "source": {"imageBuilder": {"pipelineArn": arn}}}
        )
