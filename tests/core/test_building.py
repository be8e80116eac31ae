"""Builds, step by step: what status remembers, what is seen, what the plan does next."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from planworld import (
    CLUSTER,
    DR,
    GOLDEN,
    HOME,
    HOME_KEY,
    NOW,
    ami,
    image,
    key,
    key_arn,
    kinds,
    ours,
    reasons,
    view,
    wanted,
    world,
)

from gilder.api.gates import Gates
from gilder.api.goldenimage import Build
from gilder.api.names import TAG_BUILD, TAG_CLUSTER, TAG_GATES, TAG_IMAGE, TAG_ORIGIN, TAG_ROLE
from gilder.core.actions import CopyImage, CreateJob, DeregisterImage, StartBuild, TagResources
from gilder.core.digest import digest
from gilder.core.observed import Image, Observed, Problem
from gilder.core.versions import ImagePlan, plan_image, plan_work_end
from gilder.core.wanted import Judged, Known, Memory, Source, Wanted
from gilder.core.work import SeenBuild, SeenJob, SeenTest, Work

PARENT = image(1)
RECIPE: dict[str, Any] = {
    "recipe": {"parentImage": {"id": ami(1)}, "components": [{"check": "NoSecrets"}]},
    "infrastructure": {"instanceProfile": "builder"},
}
BY_RECIPE = {"imageBuilder": RECIPE}
BY_PIPELINE = {
    "imageBuilder": {
        "pipelineArn": "arn:aws:imagebuilder:eu-west-1:111111111111:image-pipeline/golden"
    }
}
BY_JOB = {"job": {"template": {"spec": {"containers": [{"name": "bake", "image": "baker"}]}}}}
ARN = "arn:aws:imagebuilder:eu-west-1:111111111111:image/prod-team-base/1.2.3/1"
EMPTY = Memory()


def plan(
    source: dict[str, Any],
    memory: Memory = EMPTY,
    seen: Observed | None = None,
    work: Work = Work(),  # noqa: B008
    *,
    parent: Source | Problem = Source(image=PARENT),  # noqa: B008
    may_build: bool = True,
    **spec: Any,
) -> ImagePlan:
    request = spec.pop("request", None)
    want = replace(wanted(memory, source=source, **spec), uid="uid-1", request=request)
    return plan_image(want, parent, seen or world(), NOW, work, may_build=may_build)


def begun(source: dict[str, Any], **spec: Any) -> Build:
    record = plan(source, **spec).build.record
    assert record is not None
    return record


def under_way(source: dict[str, Any], **changes: Any) -> Memory:
    record = begun(source).model_copy(update={"state": "Running", "ref": ARN, **changes})
    return Memory(build=record)


def seen_build(record: Build | None, **changes: Any) -> Work:
    assert record is not None
    return Work(builds=(SeenBuild(ARN, record.id, **{"state": "BUILDING", **changes}),))


def built(source: dict[str, Any], **changes: Any) -> Memory:
    """A build that ended well and whose AMI is not a version yet."""
    update = {"state": "Succeeded", "image_id": ami(9), "finished_at": "2030-01-01T11:00:00Z"}
    return Memory(last_build=begun(source).model_copy(update={**update, **changes}))


# Beginning


@pytest.mark.parametrize("source", [BY_RECIPE, BY_PIPELINE, BY_JOB], ids=lambda s: next(iter(s)))
def test_the_first_build(source: dict[str, Any]) -> None:
    found = plan(source)
    (action,) = found.plan.actions
    assert isinstance(action, StartBuild | CreateJob)
    record = found.build.record
    assert record is not None
    assert record.id == action.build
    assert (record.trigger, record.version, record.state) == ("initial", 1, "Pending")
    assert found.build.begins
    assert plan(source).plan.actions == found.plan.actions, "the same build after a crash"


def test_a_recipe_is_built_on_its_parent_with_the_home_key() -> None:
    home = view(HOME, keys=[key(HOME_KEY)])
    found = plan(BY_RECIPE, seen=world(home), encryption={"kmsKeyId": HOME_KEY})
    (action,) = found.plan.actions
    assert isinstance(action, StartBuild)
    assert action.order is not None
    assert action.order.parent == ami(1)
    (distribution,) = action.order.distributions
    assert distribution["region"] == HOME
    assert distribution["amiDistributionConfiguration"]["kmsKeyId"] == HOME_KEY
    assert action.tags[TAG_BUILD] == action.build


def test_no_build_without_a_place_a_parent_or_a_key() -> None:
    queued = plan(BY_RECIPE, may_build=False)
    assert queued.plan.actions == ()
    assert "GILDER_MAX_BUILDS" in queued.plan.waiting[0]
    assert queued.build.due == "initial"
    lost = plan(BY_RECIPE, parent=Problem("SourceNotFound", "no parent"))
    assert kinds(lost.plan.actions) == []
    assert reasons(lost.plan.problems) == ["SourceNotFound"]
    keyless = plan(BY_RECIPE, encryption={"kmsKeyId": HOME_KEY})
    assert kinds(keyless.plan.actions) == []
    pending = plan(BY_RECIPE, parent=Source(image=replace(PARENT, state="pending")))
    assert pending.plan.actions == ()
    assert ami(1) in pending.plan.waiting[0]


# Following


def test_a_build_that_is_not_seen_is_asked_for_again_with_the_same_token() -> None:
    record = begun(BY_RECIPE)
    found = plan(BY_RECIPE, Memory(build=record))
    (action,) = found.plan.actions
    assert isinstance(action, StartBuild)
    assert action.build == record.id


def test_a_build_under_way_is_awaited_and_never_doubled() -> None:
    memory = under_way(BY_RECIPE)
    found = plan(BY_RECIPE, memory, work=seen_build(memory.build))
    assert found.plan.actions == ()
    assert found.build.record is not None
    assert found.build.record.stage == "BUILDING"
    assert found.plan.retry_after
    # Found by its tag, when the answer with its ARN was lost.
    lost = Memory(build=memory.build.model_copy(update={"ref": "", "state": "Pending"}))  # type: ignore[union-attr]
    found = plan(BY_RECIPE, lost, work=seen_build(lost.build))
    assert found.plan.actions == ()
    assert found.build.record is not None
    assert found.build.record.ref == ARN


def test_a_listing_that_failed_changes_nothing() -> None:
    memory = under_way(BY_RECIPE)
    problem = Problem("Throttled", "slow down", permanent=False)
    work = Work(problems=(problem,), unread=frozenset({"builds"}))
    found = plan(BY_RECIPE, memory, work=work)
    assert found.plan.actions == ()
    assert found.build.record == memory.build
    assert found.plan.problems == (problem,)


def test_a_changed_spec_waits_for_the_build_under_way() -> None:
    memory = under_way(BY_RECIPE)
    other = {"imageBuilder": {**RECIPE, "recipe": {**RECIPE["recipe"], "workingDirectory": "/x"}}}
    found = plan(other, memory, work=seen_build(memory.build))
    assert found.plan.actions == ()
    assert found.build.record is not None
    ended = plan(other, memory, work=seen_build(memory.build, state="AVAILABLE", image=ami(9)))
    assert ended.build.ended is not None
    assert ended.build.ended.state == "Succeeded"
    assert ended.build.record is not None, "and then the changed one is built"
    assert ended.build.record.trigger.startswith("spec/")


def test_a_failure_is_told_with_step_and_log_and_not_repeated() -> None:
    memory = under_way(BY_RECIPE)
    left = ((ami(8), ("snap-8",)),)
    work = seen_build(
        memory.build, state="FAILED", step="ApplyBuildComponents: exit 1", reason="SSM failed",
        leftovers=left,
    )  # fmt: skip
    found = plan(BY_RECIPE, memory, work=work)
    assert found.build.record is None
    assert found.build.ended is not None
    assert (found.build.ended.state, found.build.ended.id) == ("Failed", memory.build.id)  # type: ignore[union-attr]
    assert found.plan.actions == (
        DeregisterImage(region=HOME, image=ami(8), snapshots=("snap-8",), leftover=True),
    )
    (problem,) = found.plan.problems
    assert problem.reason == "BuildFailed"
    assert "ApplyBuildComponents: exit 1" in problem.message
    assert "/aws/imagebuilder/prod-team-base" in problem.message
    later = plan(BY_RECIPE, Memory(last_build=found.build.ended))
    assert later.plan.actions == ()
    assert reasons(later.plan.problems) == ["BuildFailed"]
    asked = plan(BY_RECIPE, Memory(last_build=found.build.ended), request="again")
    assert kinds(asked.plan.actions) == ["StartBuild"]
    assert asked.plan.problems == ()


def test_a_build_that_takes_too_long_is_cancelled_once() -> None:
    started = (NOW - timedelta(hours=13)).isoformat()
    memory = under_way(BY_RECIPE, started_at=started)
    found = plan(BY_RECIPE, memory, work=seen_build(memory.build))
    assert kinds(found.plan.actions) == ["CancelBuild"]
    again = Memory(build=found.build.record)
    assert plan(BY_RECIPE, again, work=seen_build(memory.build)).plan.actions == ()
    ended = plan(BY_RECIPE, again, work=seen_build(memory.build, state="CANCELLED"))
    assert ended.build.ended is not None
    assert "longer than 720 minutes" in ended.build.ended.message


def test_a_build_that_vanished() -> None:
    young = under_way(BY_RECIPE)
    assert plan(BY_RECIPE, young).build.record is not None
    old = under_way(BY_RECIPE, started_at=(NOW - timedelta(minutes=6)).isoformat())
    assert reasons(plan(BY_RECIPE, old).plan.problems) == ["BuildFailed"]


# What came of it


def home_of(number: int, memory: Memory, **changes: Any) -> Image:
    """The AMI of the last build as a version."""
    assert memory.last_build is not None
    tags = changes.pop("tags", {})
    origin = {TAG_ORIGIN: f"trigger=initial inputs={memory.last_build.inputs} parent={ami(1)}"}
    return ours(number, fingerprint=memory.last_build.id, tags={**origin, **tags}, **changes)


def test_the_built_ami_becomes_the_version_as_it_is() -> None:
    memory = built(BY_RECIPE)
    found = plan(BY_RECIPE, memory, world(view(HOME, [image(9)])))
    (take,) = found.plan.actions
    assert isinstance(take, TagResources)
    assert take.resources == (ami(9), "snap-00000009")
    assert take.tags[TAG_ROLE] == "home"
    assert take.tags[TAG_ORIGIN].startswith("trigger=initial")
    assert TAG_GATES not in take.tags
    gated = plan(BY_RECIPE, memory, world(view(HOME, [image(9)])), gates={"manual": True})
    assert gated.plan.actions[0].tags[TAG_GATES] == "pending"  # type: ignore[union-attr]


def test_with_another_key_it_is_copied_and_the_first_one_goes() -> None:
    memory = built(BY_RECIPE)
    keyed = {"encryption": {"kmsKeyId": HOME_KEY}}
    first = world(view(HOME, [image(9)], keys=[key(HOME_KEY)]))
    (stage,) = plan(BY_RECIPE, memory, first, **keyed).plan.actions
    assert isinstance(stage, TagResources)
    assert stage.tags[TAG_ROLE] == "intermediate"
    staged = home_of(9, memory, role="intermediate")
    second = world(view(HOME, [staged], keys=[key(HOME_KEY)]))
    assert kinds(plan(BY_RECIPE, memory, second, **keyed).plan.actions) == ["CopyImage"]
    home = home_of(10, memory, key=HOME_KEY)
    third = world(view(HOME, [staged, home], keys=[key(HOME_KEY)]))
    found = plan(BY_RECIPE, memory, third, **keyed)
    assert found.plan.actions == ()
    assert [r.id for r in found.retirement.retiring] == [staged.id]  # asked about before it goes
    assert found.version == 1
    assert found.home == home


def test_a_settled_version_asks_for_nothing() -> None:
    memory = built(BY_RECIPE)
    home = home_of(9, memory)
    found = plan(BY_RECIPE, memory, world(view(HOME, [home])), replicas=[{"region": DR}])
    assert kinds(found.plan.actions) == ["CopyImage"]
    copy = ours(11, DR, fingerprint=home.fingerprint, role="replica")
    found = plan(
        BY_RECIPE, memory, world(view(HOME, [home]), view(DR, [copy])), replicas=[{"region": DR}]
    )
    assert found.plan.settled
    assert found.version == 1


def test_without_status_the_tags_tell_what_was_built() -> None:
    home = home_of(9, built(BY_RECIPE))
    found = plan(BY_RECIPE, EMPTY, world(view(HOME, [home])))
    assert found.plan.actions == ()
    assert found.version == 1


def test_a_key_that_is_changed_twice_gives_each_copy_a_name_and_a_token_of_its_own() -> None:
    memory = built(BY_RECIPE)
    assert memory.last_build is not None
    keys = [key_arn(HOME, n) for n in (1, 2, 3)]

    def made(number: int, by: int, attempt: int, **changes: Any) -> Image:
        suffix = f"-r{attempt}" if attempt > 1 else ""
        return home_of(
            number, memory, key=keys[by], asked_key=keys[by], attempt=attempt,
            name=f"team-base-v1{suffix}", created="2029-12-01T00:00:00Z", **changes,
        )  # fmt: skip

    def copy(there: list[Image]) -> CopyImage:
        known = {(1, HOME, "home"): Known(ami(10), True, "")}
        prints = {1: memory.last_build.id}  # type: ignore[union-attr]
        told = replace(memory, images=known, prints=prints, highest=1, latest=1)
        seen = world(view(HOME, there, keys=[key(k) for k in keys]))
        found = plan(BY_RECIPE, told, seen, encryption={"kmsKeyId": keys[2]})
        (action,) = [a for a in found.plan.actions if isinstance(a, CopyImage)]
        return action

    first = copy([made(9, 0, 1), made(10, 1, 2)])
    assert first.name == "team-base-v1-r3"
    failed = made(11, 2, 3, state="failed")
    second = copy([made(9, 0, 1), made(10, 1, 2), failed])
    assert second.name == "team-base-v1-r4"
    assert second.token != first.token


def test_a_lost_home_ami_is_built_anew() -> None:
    memory = built(BY_RECIPE)
    assert memory.last_build is not None
    known = {(1, HOME, "home"): Known(ami(9), True, "")}
    memory = replace(memory, images=known, prints={1: memory.last_build.id}, highest=1, latest=1)
    found = plan(BY_RECIPE, memory, world(view(HOME)))
    assert "StartBuild" in kinds(found.plan.actions)
    assert found.build.record is not None
    assert found.build.record.trigger == f"lost/{ami(9)}"


# A version that must pass gates


def test_a_candidate_is_kept_apart_from_the_released_version() -> None:
    asked = digest(Gates(manual=True).model_dump(mode="json"), length=8)
    tested = {2: Judged("Pending", (), "2030-01-01T11:00:00Z", asked)}
    memory = replace(built(BY_RECIPE), latest=1, highest=2, tested=tested)
    old = ours(5, fingerprint="old", version=1)
    new = home_of(9, memory, version=2, tags={TAG_GATES: "pending"})
    there = world(view(HOME, [old, new]))
    found = plan(BY_RECIPE, memory, there, gates={"manual": True}, replicas=[{"region": DR}])
    assert (found.version, found.candidate) == (1, 2)
    assert found.home == old
    (copy,) = found.plan.actions
    assert copy.source_image == old.id  # type: ignore[union-attr]
    assert found.verdict.awaits_approval
    passed = home_of(9, memory, version=2, tags={TAG_GATES: "passed"})
    found = plan(
        BY_RECIPE, memory, world(view(HOME, [old, passed])), gates={"manual": True},
        replicas=[{"region": DR}],
    )  # fmt: skip
    assert (found.version, found.home) == (2, passed)
    assert found.plan.actions[0].source_image == passed.id  # type: ignore[union-attr]


def test_a_first_version_that_has_not_passed_is_not_released() -> None:
    memory = built(BY_RECIPE)
    new = home_of(9, memory, tags={TAG_GATES: "pending"})
    found = plan(
        BY_RECIPE, memory, world(view(HOME, [new])), gates={"manual": True},
        replicas=[{"region": DR}],
    )  # fmt: skip
    assert found.home is None
    assert found.plan.actions == ()
    assert found.candidate_home == new


@pytest.mark.parametrize("tags", [{TAG_IMAGE: "team/other"}, {TAG_CLUSTER: "test"}])
def test_an_ami_that_was_built_with_the_tags_of_another_is_left_to_it(tags: dict[str, str]) -> None:
    made = image(9, tags={TAG_IMAGE: "team/base", TAG_CLUSTER: "prod", **tags})
    memory = built(BY_JOB)
    want = replace(wanted(memory, source=BY_JOB), uid="uid-1", others={"team/base", "team/other"})
    found = plan_image(want, Source(image=PARENT), world(view(HOME, [made])), NOW)
    assert "TagResources" not in kinds(found.plan.actions)
    assert reasons(found.plan.problems) == ["OwnedByAnother"]
    assert ami(9) in found.plan.problems[0].message


# Jobs


def job(record: Build | None, **changes: Any) -> SeenJob:
    assert record is not None
    return SeenJob(**{"name": "base-1", "build": record.id, "owner": "uid-1", **changes})


def test_a_job_is_followed_to_its_ami() -> None:
    memory = under_way(BY_JOB, ref="base-1")
    record = memory.build
    assert record is not None
    running = plan(BY_JOB, memory, work=Work(jobs=(job(record),)))
    assert running.plan.actions == ()
    done = Work(jobs=(job(record, state="succeeded"),))
    waiting = plan(BY_JOB, memory, work=done)
    assert waiting.build.record is not None
    assert waiting.plan.waiting
    made = image(9, tags={TAG_BUILD: record.id})
    ended = plan(BY_JOB, memory, world(view(HOME, [made])), done)
    assert ended.build.ended is not None
    assert ended.build.ended.image_id == ami(9)
    version = ours(9, fingerprint=record.id, tags={TAG_BUILD: record.id})
    after = replace(memory, build=None, last_build=ended.build.ended)
    cleared = plan(BY_JOB, after, world(view(HOME, [version])), done)
    assert kinds(cleared.plan.actions) == ["DeleteJob"]


def test_a_job_without_an_ami_is_a_failure_that_tells_the_fix() -> None:
    memory = under_way(BY_JOB, finished_at=(NOW - timedelta(minutes=6)).isoformat())
    found = plan(BY_JOB, memory, work=Work(jobs=(job(memory.build, state="succeeded"),)))
    assert f"{TAG_BUILD}={memory.build.id}" in found.plan.problems[0].message  # type: ignore[union-attr]


def test_a_failed_job_tells_the_end_of_its_log() -> None:
    memory = under_way(BY_JOB)
    failed = job(memory.build, state="failed", message="BackoffLimitExceeded", log="no such AMI")
    left = image(9, tags={TAG_BUILD: memory.build.id})  # type: ignore[union-attr]
    found = plan(BY_JOB, memory, world(view(HOME, [left])), Work(jobs=(failed,)))
    assert kinds(found.plan.actions) == ["DeregisterImage"]
    (problem,) = found.plan.problems
    assert "no such AMI" in problem.message
    assert "kubectl logs -n team job/base-1" in problem.message


def test_a_job_that_was_deleted() -> None:
    memory = under_way(BY_JOB)
    found = plan(BY_JOB, memory)
    assert "was deleted" in found.plan.problems[0].message
    pending = Memory(build=begun(BY_JOB))
    assert kinds(plan(BY_JOB, pending).plan.actions) == ["CreateJob"]


def test_the_manifest_of_a_job() -> None:
    (action,) = plan(BY_JOB).plan.actions
    assert isinstance(action, CreateJob)
    spec = action.manifest["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    env = {e["name"]: e["value"] for e in container["env"]}
    assert env["GILDER_BUILD_ID"] == env["PKR_VAR_build_id"] == action.build
    assert env["AWS_REGION"] == HOME
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    (owner,) = action.manifest["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == ("uid-1", True)


# The end


def stop(
    source: dict[str, Any], memory: Memory, work: Work, seen: Observed | None = None, **how: Any
) -> ImagePlan:
    want: Wanted = replace(wanted(memory, source=source), uid="uid-1")
    return plan_work_end(want, seen or world(), work, NOW, discard=how.get("discard", False))


def test_a_suspended_build_is_cancelled_and_goes_on_later() -> None:
    memory = under_way(BY_RECIPE)
    found = stop(BY_RECIPE, memory, seen_build(memory.build))
    assert kinds(found.plan.actions) == ["CancelBuild"]
    assert found.build.record is not None
    after = Memory(build=found.build.record)
    ended = stop(BY_RECIPE, after, seen_build(memory.build, state="CANCELLED"))
    assert ended.build.record is None
    assert ended.build.ended is not None
    assert ended.build.ended.state == "Cancelled"
    resumed = plan(BY_RECIPE, Memory(last_build=ended.build.ended))
    assert resumed.build.record is not None
    assert resumed.build.record.attempt == 2
    assert resumed.build.record.id != memory.build.id  # type: ignore[union-attr]


def test_test_instances_end_with_the_work() -> None:
    test = SeenTest("i-1", ami(9), GOLDEN, "running")
    other = SeenTest("i-2", ami(9), "else/where", "running")
    found = stop(BY_RECIPE, EMPTY, Work(tests=(test, other)))
    assert [a.instance for a in found.plan.actions] == ["i-1"]  # type: ignore[union-attr]


def test_a_job_is_deleted_with_what_it_made() -> None:
    memory = under_way(BY_JOB)
    found = stop(BY_JOB, memory, Work(jobs=(job(memory.build),)))
    assert kinds(found.plan.actions) == ["DeleteJob"]
    assert found.plan.waiting
    left = image(9, tags={TAG_BUILD: memory.build.id})  # type: ignore[union-attr]
    kept = stop(BY_JOB, memory, Work(), world(view(HOME, [left])))
    assert kept.build.ended is not None
    assert kept.build.ended.image_id == left.id, "it was finished, and stays for later"
    gone = stop(BY_JOB, memory, Work(), world(view(HOME, [left])), discard=True)
    assert kinds(gone.plan.actions) == ["DeregisterImage"]
    assert gone.build.record is None


@pytest.mark.parametrize("discard", [True, False])
def test_a_build_that_ended_meanwhile(discard: bool) -> None:
    memory = under_way(BY_RECIPE)
    work = seen_build(memory.build, state="AVAILABLE", image=ami(9))
    found = stop(BY_RECIPE, memory, work, discard=discard)
    assert found.build.record is None
    assert kinds(found.plan.actions) == (["DeregisterImage"] if discard else [])


def test_the_cluster_is_in_the_recipe_name() -> None:
    (action,) = plan(BY_RECIPE).plan.actions
    assert isinstance(action, StartBuild)
    assert action.order is not None
    assert action.order.name.startswith(f"{CLUSTER}-team-base-")
