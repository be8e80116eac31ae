"""SSM parameters in the image's own account: when they move, and what they leave alone."""

from datetime import timedelta
from typing import Any

import pytest
from planworld import DR, GOLDEN, HOME, NOW, ami, kinds, ours, reasons, view, wanted, world
from publishworld import (
    NAME,
    PARAMETER,
    REPLICATED,
    image_plan,
    parameter,
    publish,
    remembering,
    served,
    told,
)

from gilder.api import GoldenImage
from gilder.core.actions import DeleteParameter, PutParameter
from gilder.core.observed import Problem
from gilder.core.published import Parameter
from gilder.core.publishing import AGAIN, TAKEN, UNSEEN, plan_unpublish
from gilder.core.report import is_work
from gilder.core.report_publish import after_deletion, tell_published, told_published
from gilder.core.results import Result
from gilder.core.versions import plan_image

BROKEN = Problem("Throttled", "slow down", False, DR)
BOTH = served(2, HOME, DR)
DAILY = "0 3 * * *"


def at(region: str, *parameters: Parameter, **changes: Any) -> Any:
    there = {p.name: p for p in parameters}
    owned: dict[str, list[str]] = {}
    for one in parameters:
        if one.owner:
            owned.setdefault(one.owner, []).append(one.name)
    tagged = {k: tuple(v) for k, v in owned.items()}
    return view(region, published=there, tagged=tagged, **changes)


def puts(plan: Any) -> dict[str, PutParameter]:
    return {a.region: a for a in plan.publishing.plan.actions if isinstance(a, PutParameter)}


def test_an_image_that_publishes_nothing_plans_nothing() -> None:
    plan = publish(wanted(), image_plan(served()), world())
    assert plan.publishing.plan.settled


def test_each_region_gets_its_own_ami() -> None:
    plan = publish(wanted(**REPLICATED), image_plan(BOTH), world())
    found = puts(plan)
    assert {r: a.image for r, a in found.items()} == {HOME: ami(20), DR: ami(21)}
    assert {(a.name, a.version, a.owner, a.exists, a.heals) for a in found.values()} == {
        (NAME, 2, GOLDEN, False, False)
    }


def test_a_region_without_a_copy_keeps_what_it_tells() -> None:
    seen = world(at(HOME, parameter(ami(10))), at(DR, parameter(ami(11))))
    plan = publish(wanted(**REPLICATED), image_plan(served()), seen)
    assert set(puts(plan)) == {HOME}
    assert kinds(plan.publishing.plan.actions) == ["PutParameter"]


def test_nothing_is_written_while_nothing_is_served() -> None:
    seen = world(at(HOME, parameter(ami(10))))
    plan = publish(wanted(**PARAMETER), image_plan({}, 0), seen)
    assert plan.publishing.plan.settled


def test_what_is_as_it_should_be_is_told() -> None:
    plan = publish(wanted(**PARAMETER), image_plan(served()), world(at(HOME, parameter(ami(20)))))
    assert plan.publishing.plan.settled
    (seen,) = plan.publishing.seen
    assert (seen.kind, seen.name, seen.region, seen.image_id, seen.version) == (
        "Parameter", NAME, HOME, ami(20), 2,
    )  # fmt: skip


@pytest.mark.parametrize(
    "there", [world(at(HOME, parameter(ami(99)))), world()], ids=["overwritten", "deleted"]
)
def test_a_change_by_hand_is_drift_and_mended(there: Any) -> None:
    memory = remembering(told(image_id=ami(20)))
    plan = publish(wanted(memory, **PARAMETER), image_plan(served()), there)
    (action,) = plan.publishing.plan.actions
    assert isinstance(action, PutParameter)
    assert action.heals
    assert not is_work(action)
    assert action.image == ami(20)


def test_a_move_to_another_version_is_no_drift() -> None:
    memory = remembering(told(image_id=ami(10), version=1))
    seen = world(at(HOME, parameter(ami(10))))
    (action,) = publish(wanted(memory, **PARAMETER), image_plan(served()), seen).plan.actions
    assert is_work(action)


@pytest.mark.parametrize(
    ("owner", "words"),
    [("", "was not written by this operator"), ("team/other", "belongs to GoldenImage team/other")],
)
def test_a_parameter_of_somebody_else_stays_and_holds_up_no_other_region(
    owner: str, words: str
) -> None:
    memory = remembering(told(image_id=ami(20)))  # it was ours, and was made anew by hand
    seen = world(at(HOME, parameter("anything", owner)))
    plan = publish(wanted(memory, **REPLICATED), image_plan(BOTH), seen)
    assert set(puts(plan)) == {DR}
    (problem,) = plan.publishing.plan.problems
    assert (problem.reason, problem.permanent, problem.region) == ("ParameterNotOurs", True, HOME)
    assert words in problem.message
    assert f"goldenimage.dev/image={GOLDEN}" in problem.message


def test_a_parameter_that_is_handed_over_by_tags_is_overwritten() -> None:
    seen = world(at(HOME, parameter("ami-of-somebody")))
    (action,) = publish(wanted(**PARAMETER), image_plan(served()), seen).plan.actions
    assert isinstance(action, PutParameter)
    assert action.exists


def test_a_parameter_of_another_type_is_told_and_not_tried() -> None:
    seen = world(at(HOME, parameter(ami(20), other="String of data type text")))
    plan = publish(wanted(**PARAMETER), image_plan(served()), seen).publishing.plan
    assert reasons(plan.problems) == ["ParameterOfAnotherType"]
    assert not plan.actions
    assert "Delete the parameter" in plan.problems[0].message


def test_a_region_that_cannot_be_read_is_told_and_holds_up_no_other() -> None:
    seen = world(view(DR, problem=BROKEN))
    plan = publish(wanted(**REPLICATED), image_plan(served()), seen)
    assert set(puts(plan)) == {HOME}
    assert plan.publishing.plan.problems == (BROKEN,)


def test_a_denied_read_holds_up_no_other_region() -> None:
    denied = Problem("AccessDenied", "no", True, DR)
    seen = world(view(DR, published={NAME: denied}))
    plan = publish(wanted(**REPLICATED), image_plan(BOTH), seen)
    assert set(puts(plan)) == {HOME}
    assert plan.publishing.plan.problems == (denied,)


# What AWS looks at after it has answered


def test_a_value_is_awaited_before_it_is_written_again() -> None:
    memory = remembering(told(image_id=ami(20), message=UNSEEN))
    want, seen = wanted(memory, **PARAMETER), world(at(HOME, parameter(ami(10))))
    early = publish(want, image_plan(served()), seen, now=NOW + timedelta(seconds=TAKEN - 1))
    assert not early.publishing.plan.actions
    assert early.publishing.plan.waiting == (f"parameter {NAME} in {HOME} to show {ami(20)}",)
    late = publish(want, image_plan(served()), seen, now=NOW + timedelta(seconds=TAKEN + 1))
    assert reasons(late.publishing.plan.problems) == ["ParameterNotTaken"]
    (action,) = late.publishing.plan.actions
    assert is_work(action)


def test_what_is_not_taken_twice_is_told_all_the_time() -> None:
    memory = remembering(told(image_id=ami(20), message=AGAIN))
    want, seen = wanted(memory, **PARAMETER), world()
    plan = publish(want, image_plan(served()), seen).publishing.plan
    assert reasons(plan.problems) == ["ParameterNotTaken"]
    assert not plan.problems[0].permanent
    assert not plan.actions


def golden(**spec: Any) -> GoldenImage:
    body = {
        "apiVersion": "goldenimage.dev/v1alpha1",
        "kind": "GoldenImage",
        "metadata": {"name": "base", "namespace": "team", "uid": "u", "generation": 1},
        "spec": {"region": HOME, "source": {"image": {"id": ami(1)}}, **PARAMETER, **spec},
    }
    return GoldenImage.model_validate(body)


def test_status_follows_a_write_through_to_the_look_that_sees_it() -> None:
    image = golden()
    plan = publish(wanted(**PARAMETER), image_plan(served()), world())
    done = [Result(a) for a in plan.plan.actions]
    first = told_published(image, plan, done, "2030-01-01T12:00:00+00:00")
    assert [(t.image_id, t.message) for t in first] == [(ami(20), UNSEEN)]

    image = image.model_copy(
        update={"status": image.status.model_copy(update={"published": first})}
    )
    again = told_published(image, plan, done, "2030-01-01T12:02:00+00:00")
    assert [t.message for t in again] == [AGAIN]

    want = wanted(remembering(*first), **PARAMETER)
    seen = publish(want, image_plan(served()), world(at(HOME, parameter(ami(20)))))
    (last,) = told_published(image, seen, [], "2030-01-01T12:03:00+00:00")
    assert (last.message, last.at) == ("", first[0].at)


def test_a_write_that_failed_leaves_no_trace() -> None:
    plan = publish(wanted(**PARAMETER), image_plan(served()), world())
    failed = [Result(a, Problem("Throttled", "slow", False, HOME)) for a in plan.plan.actions]
    assert told_published(golden(), plan, failed, "2030-01-01T12:00:00+00:00") == ()


def test_published_is_not_told_before_the_last_region_has_the_version() -> None:
    image = golden(replicas=[{"region": DR}, {"region": "us-east-1", "schedule": {"cron": DAILY}}])
    old = {HOME: served(2)[HOME], DR: served(1, DR)[DR]}
    seen = world(at(HOME, parameter(ami(20))), at(DR, parameter(ami(11))))
    plan = publish(wanted(**REPLICATED), image_plan(old), seen)
    (verdict,) = tell_published(image, plan, [], ())
    assert (verdict.status, verdict.reason) == ("False", "Publishing")
    assert f"version 2 to be available in {DR}" in verdict.message
    seen = world(at(HOME, parameter(ami(20))), at(DR, parameter(ami(21))))
    plan = publish(wanted(**REPLICATED), image_plan(BOTH), seen)
    (verdict,) = tell_published(image, plan, [], ())
    assert (verdict.status, verdict.reason) == ("True", "Published")


# Names that change


def test_a_renamed_parameter_goes_once_the_new_one_is_there() -> None:
    memory = remembering(told(name="/old", image_id=ami(20)))
    want = wanted(memory, **PARAMETER)
    old = parameter(ami(20), name="/old")
    before = publish(want, image_plan(served()), world(at(HOME, old))).plan.actions
    assert kinds(before) == ["PutParameter"]
    after = publish(want, image_plan(served()), world(at(HOME, old, parameter(ami(20)))))
    (action,) = after.plan.actions
    assert isinstance(action, DeleteParameter)
    assert action.name == "/old"


def test_a_renamed_parameter_stays_while_the_new_name_is_somebody_elses() -> None:
    memory = remembering(told(name="/old", image_id=ami(20)))
    seen = world(at(HOME, parameter(ami(20), name="/old"), parameter("x", "")))
    plan = publish(wanted(memory, **PARAMETER), image_plan(served()), seen)
    assert not plan.plan.actions
    assert reasons(plan.plan.problems) == ["ParameterNotOurs"]


@pytest.mark.parametrize("lost", [False, True], ids=["by status", "by tags"])
def test_without_publish_or_its_region_what_is_ours_goes(lost: bool) -> None:
    entries = [told(image_id=ami(20)), told(region=DR, image_id=ami(21))]
    seen = world(at(HOME, parameter(ami(20))), at(DR, parameter(ami(21))))
    # The replica left; by tags alone it is found while something is still published.
    memory = remembering() if lost else remembering(*entries)
    plan = publish(wanted(memory, **PARAMETER), image_plan(served()), seen)
    assert [(a.kind, a.region) for a in plan.plan.actions] == [("DeleteParameter", DR)]
    if not lost:
        none = publish(wanted(memory), image_plan(served()), seen)
        gone = [(a.kind, a.region) for a in none.plan.actions]
        assert gone == [("DeleteParameter", DR), ("DeleteParameter", HOME)]


def test_what_was_ours_and_is_somebody_elses_now_is_forgotten() -> None:
    memory = remembering(told(image_id=ami(20)))
    plan = publish(wanted(memory), image_plan(served()), world(at(HOME, parameter("x", ""))))
    assert not plan.plan.actions
    assert plan.publishing.gone == {("Parameter", "", HOME, NAME)}


# Versions


def versions(**spec: Any) -> Any:
    """The plan of an image with versions 1 and 2 in both Regions, as of spec.pinnedVersion."""
    source = spec.pop("at", 2)
    homes = [ours(n * 10, version=n, fingerprint=f"f{n}") for n in (1, 2)]
    copies = [ours(n * 10 + 1, DR, version=n, fingerprint=f"f{n}", role="replica") for n in (1, 2)]
    memory = remembering(prints={1: "f1", 2: "f2"}, highest=2, latest=spec.pop("latest", 2))
    want = wanted(memory, **REPLICATED, **spec)
    parameters = {
        HOME: parameter(ami(10 * source)),
        DR: parameter(ami(10 * source + 1)),
    }
    seen = world(
        at(HOME, parameters[HOME], images=[*homes, ours(20, version=2, fingerprint="f2")]),
        at(DR, parameters[DR], images=copies),
    )
    problem = Problem("SourceNotFound", "gone", True, HOME)
    image = plan_image(want, problem, seen, NOW)
    return publish(want, image, seen)


def test_a_pinned_version_moves_all_regions_back() -> None:
    plan = versions(pinnedVersion=1)
    assert {r: a.image for r, a in puts(plan).items()} == {HOME: ami(10), DR: ami(11)}
    assert {a.version for a in puts(plan).values()} == {1}


def test_without_the_pin_all_regions_stay() -> None:
    assert puts(versions()) == {}


# The end


@pytest.mark.parametrize(
    ("policy", "kind"), [("Delete", "DeleteParameter"), ("Orphan", "ReleaseParameter")]
)
def test_parameters_go_or_are_let_go_by_policy(policy: str, kind: str) -> None:
    memory = remembering(told(image_id=ami(20)))
    want = wanted(memory, deletionPolicy=policy, **REPLICATED)
    seen = world(at(HOME, parameter(ami(20))), at(DR, parameter(ami(21))))
    plan = plan_unpublish(want, seen)
    assert {(a.kind, a.region) for a in plan.actions} == {(kind, HOME), (kind, DR)}
    assert after_deletion(memory.published, [Result(a) for a in plan.actions]) == ()


def test_retained_parameters_stay() -> None:
    want = wanted(remembering(told(image_id=ami(20))), **PARAMETER)
    assert plan_unpublish(want, world(at(HOME, parameter(ami(20))))).settled


def test_the_end_leaves_alone_what_is_not_ours_or_gone() -> None:
    memory = remembering(told(image_id=ami(20)), told(region=DR, image_id=ami(21)))
    want = wanted(memory, deletionPolicy="Delete", **REPLICATED)
    assert plan_unpublish(want, world(at(HOME, parameter("x", "")))).settled


def test_the_end_names_what_it_cannot_look_at() -> None:
    denied = Problem("AccessDenied", "no", True, HOME)
    want = wanted(remembering(told()), deletionPolicy="Delete", **PARAMETER)
    plan = plan_unpublish(want, world(view(HOME, published={NAME: denied})))
    assert plan.problems == (denied,)
