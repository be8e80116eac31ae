"""Launch templates that follow an image: which version is made from which, and which ones go."""

from datetime import timedelta
from typing import Any

import pytest
from planworld import (
    DR,
    GOLDEN,
    HOME,
    NOW,
    ami,
    kinds,
    ours,
    reasons,
    view,
    wanted,
    world,
)  # fmt: skip
from publishworld import image_plan, made, publish, remembering, served, template, told

from gilder.api.goldenimage import Retiring
from gilder.core.actions import PruneTemplateVersions, SetTemplateImage
from gilder.core.needs import of_image
from gilder.core.observed import Problem, Use
from gilder.core.published import Template, TemplateVersion
from gilder.core.publishing import plan_unpublish
from gilder.core.report import is_work
from gilder.core.retention import Retirement
from gilder.core.templates import KEEP, description, mark_of, reusable, source_of
from gilder.core.times import rfc3339

ID = "lt-0123456789abcdef0"
NO_TEMPLATE = Template("")
BY_HAND = TemplateVersion(1, "ami-00000001", "made by hand")
SPEC: dict[str, Any] = {"publish": {"launchTemplates": [{"name": "web"}]}}
LIVING = [ours(20, version=2), ours(10, version=1)]


def at(there: Template | Problem, *images: Any, region: str = HOME) -> Any:
    return world(view(region, images or LIVING, templates={"web": there}))


def one(plan: Any) -> Any:
    (action,) = plan.publishing.plan.actions
    return action


def test_a_description_tells_whose_it_is_and_what_it_was_made_from() -> None:
    text = description("prod", "a" * 200 + "/" + "b" * 200, 7, 12)
    assert len(text) == 255
    assert source_of(text) == 12
    assert mark_of(text) != mark_of(description("test", "a" * 200 + "/" + "b" * 200, 7, 12))
    assert (mark_of("by hand"), source_of("by hand")) == ("", 0)


def test_the_default_version_is_pointed_to_what_is_served() -> None:
    action = one(publish(wanted(**SPEC), image_plan(served()), at(template(BY_HAND))))
    assert isinstance(action, SetTemplateImage)
    assert (action.template, action.image, action.source) == (ID, ami(20), 1)
    assert is_work(action)


def test_a_default_changed_by_hand_is_drift_and_its_settings_are_kept() -> None:
    memory = remembering(told("LaunchTemplate", name="web", image_id=ami(20)))
    by_hand = TemplateVersion(3, "ami-0000000f")
    action = one(publish(wanted(memory, **SPEC), image_plan(served()), at(template(by_hand))))
    assert (action.heals, action.source) == (True, 3)
    assert not is_work(action)


def test_a_rollback_moves_the_template_back() -> None:
    there = template(made(3, ami(20), version=2))
    action = one(publish(wanted(**SPEC), image_plan(served(1), 1), at(there)))
    assert (action.image, action.source) == (ami(10), 3)


def test_one_that_has_the_ami_is_told_and_left() -> None:
    plan = publish(wanted(**SPEC), image_plan(served()), at(template(made(2, ami(20)))))
    assert plan.publishing.plan.settled
    assert [(t.kind, t.name, t.image_id) for t in plan.publishing.seen] == [
        ("LaunchTemplate", "web", ami(20))
    ]


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        (NO_TEMPLATE, "LaunchTemplateNotFound"),
        (Problem("AccessDenied", "no", True, HOME), "AccessDenied"),
        (
            template(TemplateVersion(2, "ami-1", description("prod", "team/other", 1, 1))),
            "LaunchTemplateOfAnother",
        ),
    ],
)
def test_what_cannot_be_changed_is_told(there: Template | Problem, reason: str) -> None:
    plan = publish(wanted(**SPEC), image_plan(served()), at(there)).publishing.plan
    assert reasons(plan.problems) == [reason]
    assert not plan.actions


def test_a_template_in_a_region_that_is_not_served_is_told() -> None:
    spec = {"publish": {"launchTemplates": [{"name": "web", "region": DR}]}}
    plan = publish(wanted(**spec), image_plan(served()), at(template(BY_HAND), region=DR))
    assert reasons(plan.publishing.plan.problems) == ["TemplateRegionNotServed"]


def test_one_template_in_trouble_holds_up_no_other() -> None:
    spec = {"publish": {"launchTemplates": [{"name": "gone"}, {"name": "web"}]}}
    seen = world(view(HOME, templates={"gone": NO_TEMPLATE, "web": template(BY_HAND)}))
    plan = publish(wanted(**spec), image_plan(served()), seen).publishing.plan
    assert kinds(plan.actions) == ["SetTemplateImage"]
    assert reasons(plan.problems) == ["LaunchTemplateNotFound"]


def test_one_that_left_the_spec_is_forgotten() -> None:
    memory = remembering(told("LaunchTemplate", name="web", image_id=ami(20)))
    plan = publish(wanted(memory), image_plan(served()), at(template(made(2, ami(20)))))
    assert not plan.publishing.plan.actions
    assert plan.publishing.gone == {("LaunchTemplate", "", HOME, "web")}


def test_a_version_is_used_again_for_the_same_step_only() -> None:
    mark = mark_of(made(2, ami(20)).description)
    some = [made(2, ami(20), source=1), made(3, ami(20), source=2), made(4, ami(10), source=2)]
    assert reusable(some, mark, ami(20), 2) == 3
    assert reusable(some, mark, ami(20), 5) == 0
    assert reusable(some, "of another", ami(20), 2) == 0


# Old versions


def full(*versions: TemplateVersion, default: int, named: Any = frozenset()) -> Template:
    by_number = {v.number: v for v in versions}
    return template(by_number[default], versions=versions, named=named)


def pruned(plan: Any) -> list[int]:
    some = [a for a in plan.plan.actions if isinstance(a, PruneTemplateVersions)]
    return [n for a in some for n in a.versions]


def test_versions_of_amis_that_are_gone_go() -> None:
    some = [made(2, ami(5)), made(3, ami(10)), made(4, ami(20)), TemplateVersion(1, ami(6))]
    plan = publish(wanted(**SPEC), image_plan(served()), at(full(*some, default=4)))
    assert pruned(plan) == [2]


def test_versions_of_amis_that_stay_are_kept_however_old() -> None:
    some = [made(n, ami(10)) for n in range(2, 2 + KEEP)] + [made(20, ami(20))]
    plan = publish(wanted(**SPEC), image_plan(served()), at(full(*some, default=20)))
    assert pruned(plan) == []
    more = [made(n, ami(10)) for n in range(2, 4 + KEEP)] + [made(20, ami(20))]
    plan = publish(wanted(**SPEC), image_plan(served()), at(full(*more, default=20)))
    assert pruned(plan) == [2, 3]


@pytest.mark.parametrize("named", [frozenset({2}), None], ids=["by a group", "unknown"])
def test_versions_that_groups_name_stay(named: Any) -> None:
    some = [made(2, ami(5)), made(4, ami(20))]
    plan = publish(wanted(**SPEC), image_plan(served()), at(full(*some, default=4, named=named)))
    assert pruned(plan) == []


OURS = f"ec2:LaunchTemplate arn:aws:ec2:{HOME}:111111111111:launch-template/{ID}"
DUE = Retiring(
    id=ami(10), region=HOME, version=1, action="Deregister", reason="", since="", at=rfc3339(NOW)
)


@pytest.mark.parametrize(
    ("use", "goes"),
    [
        (Use(by=(OURS,)), True),
        (Use(by=(OURS, f"ec2:Instance arn:aws:ec2:{HOME}:1:instance/i-1")), False),
        (Use(by=(OURS.replace(ID, "lt-00000000"),)), False),
        (Use(by=(OURS,), others=("1 ec2:Instance of account 2",)), False),
        (Use(by=(OURS,), problem=Problem("Throttled", "", False)), False),
        (None, False),
    ],
)
def test_an_ami_that_is_due_is_not_kept_by_our_own_old_versions_alone(
    use: Use | None, goes: bool
) -> None:
    some = [made(2, ami(10)), made(4, ami(20), version=2)]
    uses = {ami(10): use} if use is not None else {}
    plan = image_plan(served(), retirement=Retirement((DUE,)))
    found = publish(wanted(**SPEC), plan, at(full(*some, default=4)), uses=uses)
    assert pruned(found) == ([2] if goes else [])
    early = publish(
        wanted(**SPEC), plan, at(full(*some, default=4)), uses=uses,
        now=NOW - timedelta(seconds=5),
    )  # fmt: skip
    assert pruned(early) == []


def test_versions_are_read_where_an_ami_is_to_go() -> None:
    needs = of_image(wanted(remembering(retiring={ami(10): DUE}), **SPEC))
    assert needs[HOME].versions == {"web"}
    assert of_image(wanted(**SPEC))[HOME].versions == frozenset()


def test_at_the_end_versions_go_that_alone_use_their_ami() -> None:
    some = [made(2, ami(10)), made(3, ami(20)), made(4, ami(20))]
    uses = {ami(10): Use(by=(OURS,)), ami(20): Use(by=(OURS, "ec2:Instance i-1"))}
    want = wanted(deletionPolicy="Delete", **SPEC)
    seen = at(full(*some, default=4))
    (action,) = plan_unpublish(want, seen, uses=uses).actions
    assert isinstance(action, PruneTemplateVersions)
    assert (action.versions, action.images) == ((2,), (ami(10),))
    assert plan_unpublish(wanted(deletionPolicy="Orphan", **SPEC), seen, uses=uses).settled
    assert GOLDEN in some[0].description
