"""plan_deletion as a table."""

from collections.abc import Sequence

import pytest
from planworld import DR, FOREIGN, HOME, ami, image, kinds, ours, reasons, view, wanted, world

from gilder.api.names import TAG_ADOPTED, TAG_PREFIX
from gilder.core.actions import DeregisterImage, UntagResources
from gilder.core.observed import Image, Problem
from gilder.core.versions import plan_deletion

HOLE = Problem("AccessDenied", "no", region=DR)
PAIR = [ours(1), ours(2, version=2, tags={TAG_ADOPTED: "true", "cost": "1"})]
STRANGERS = [
    image(7),
    ours(8, golden="team/other"),
    ours(9, cluster="test"),
    ours(10, owner=FOREIGN),
]


@pytest.mark.parametrize(
    ("name", "policy", "there", "in_use", "actions", "problems"),
    [
        ("retain leaves all", "Retain", PAIR, {}, [], []),
        ("retain does not mind a hole", "Retain", PAIR, {}, [], []),
        ("orphan takes our tags off", "Orphan", PAIR, {}, ["UntagResources"] * 2, []),
        ("orphan of AMIs in use", "Orphan", PAIR, {ami(1): "i-1"}, ["UntagResources"] * 2, []),
        ("delete deregisters", "Delete", PAIR, {}, ["DeregisterImage"] * 2, []),
        ("one in use stays", "Delete", PAIR, {ami(1): "i-1"}, ["DeregisterImage"], ["ImageInUse"]),
        (
            "all in use stay",
            "Delete",
            PAIR,
            {ami(1): "i-1", ami(2): "lt-1"},
            [],
            ["ImageInUse"] * 2,
        ),
        ("delete touches nobody else's", "Delete", STRANGERS, {}, [], []),
        ("orphan touches nobody else's", "Orphan", STRANGERS, {}, [], []),
        ("nothing there", "Delete", [], {}, [], []),
    ],
)
def test_deletion(
    name: str,
    policy: str,
    there: Sequence[Image],
    in_use: dict[str, str],
    actions: list[str],
    problems: list[str],
) -> None:
    seen = world(view(HOME, there), *([view(DR, problem=HOLE)] if "hole" in name else []))
    plan = plan_deletion(wanted(deletionPolicy=policy), seen, in_use)
    assert kinds(plan.actions) == actions
    assert reasons(plan.problems) == problems


def test_orphan_takes_only_ownership_tags_from_ami_and_snapshots() -> None:
    plan = plan_deletion(wanted(deletionPolicy="Orphan"), world(view(HOME, PAIR[1:])), {})
    (action,) = plan.actions
    assert isinstance(action, UntagResources)
    assert action.resources == (ami(2), "snap-00000002")
    assert set(action.keys) == {k for k in PAIR[1].tags if k.startswith(TAG_PREFIX)}
    assert "cost" not in action.keys


def test_in_use_names_the_user_and_the_way_out() -> None:
    plan = plan_deletion(
        wanted(deletionPolicy="Delete"), world(view(HOME, PAIR)), {ami(1): "lt-0abc"}
    )
    (problem,) = plan.problems
    assert ami(1) in problem.message
    assert "lt-0abc" in problem.message
    assert "spec.deletionPolicy" in problem.message
    assert problem.region == HOME


def test_an_unreadable_region_is_told_and_holds_up_no_other() -> None:
    seen = world(view(HOME, PAIR), view(DR, problem=HOLE))
    plan = plan_deletion(wanted(deletionPolicy="Delete"), seen, {})
    assert reasons(plan.problems) == ["AccessDenied"]
    assert kinds(plan.actions) == ["DeregisterImage"] * 2


def test_snapshots_go_with_their_ami() -> None:
    plan = plan_deletion(wanted(deletionPolicy="Delete"), world(view(HOME, PAIR[:1])), {})
    (action,) = plan.actions
    assert isinstance(action, DeregisterImage)
    assert action.snapshots == ("snap-00000001",)
