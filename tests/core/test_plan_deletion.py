"""plan_deletion as a table."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from planworld import DR, FOREIGN, HOME, NOW, ami, image, kinds, ours, reasons, view, wanted, world

from gilder.api.names import TAG_ADOPTED, TAG_PREFIX
from gilder.core.actions import (
    DeleteSnapshot,
    DeregisterImage,
    ProtectImage,
    ReportUsage,
    UntagResources,
)
from gilder.core.deletion import plan_deletion
from gilder.core.observed import Image, Problem, Snapshot, Use
from gilder.core.plan import Plan
from gilder.core.times import rfc3339

HOLE = Problem("AccessDenied", "no", region=DR)
PAIR = [ours(1), ours(2, version=2, tags={TAG_ADOPTED: "true", "cost": "1"})]
STRANGERS = [
    image(7),
    ours(8, golden="team/other"),
    ours(9, cluster="test"),
    ours(10, owner=FOREIGN),
]


FREE = Use(report="available", reported_at=rfc3339(NOW))


def uses(used: dict[str, str]) -> dict[str, Use]:
    """Nothing uses the AMIs, but for what is said."""
    found = {ami(n): FREE for n in range(1, 20)}
    return found | {i: replace(FREE, by=(by,)) for i, by in used.items()}


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
    plan = plan_deletion(wanted(deletionPolicy=policy), seen, uses(in_use), NOW)
    assert kinds(plan.actions) == actions
    assert reasons(plan.problems) == problems


def test_orphan_takes_only_ownership_tags_from_ami_and_snapshots() -> None:
    plan = plan_deletion(wanted(deletionPolicy="Orphan"), world(view(HOME, PAIR[1:])), {}, NOW)
    (action,) = plan.actions
    assert isinstance(action, UntagResources)
    assert action.resources == (ami(2), "snap-00000002")
    assert set(action.keys) == {k for k in PAIR[1].tags if k.startswith(TAG_PREFIX)}
    assert "cost" not in action.keys


def test_in_use_names_the_user_and_the_way_out() -> None:
    plan = plan_deletion(
        wanted(deletionPolicy="Delete"),
        world(view(HOME, PAIR)),
        uses({ami(1): "lt-0abc"}),
        NOW,
    )
    (problem,) = plan.problems
    assert ami(1) in problem.message
    assert "lt-0abc" in problem.message
    assert "spec.deletionPolicy" in problem.message
    assert problem.region == HOME


def test_an_unreadable_region_is_told_and_holds_up_no_other() -> None:
    seen = world(view(HOME, PAIR), view(DR, problem=HOLE))
    plan = plan_deletion(wanted(deletionPolicy="Delete"), seen, uses({}), NOW)
    assert reasons(plan.problems) == ["AccessDenied"]
    assert kinds(plan.actions) == ["DeregisterImage"] * 2


def test_snapshots_go_with_their_ami() -> None:
    plan = plan_deletion(
        wanted(deletionPolicy="Delete"), world(view(HOME, PAIR[:1])), uses({}), NOW
    )
    (action,) = plan.actions
    assert isinstance(action, DeregisterImage)
    assert action.snapshots == ("snap-00000001",)


def delete(there: Sequence[Image], found: dict[str, Use], **spec: Any) -> Plan:
    seen = world(view(HOME, there))
    return plan_deletion(wanted(deletionPolicy="Delete", **spec), seen, found, NOW)


def test_what_nobody_asked_about_counts_as_used() -> None:
    plan = delete(PAIR[:1], {})
    assert reasons(plan.problems) == ["ImageInUse"]
    assert plan.actions == ()


def test_what_could_not_be_asked_counts_as_used() -> None:
    plan = delete(PAIR[:1], {ami(1): Use(problem=HOLE)})
    assert reasons(plan.problems) == ["ImageInUse"]
    assert plan.actions == ()


def test_other_accounts_are_asked_about_and_awaited() -> None:
    plan = delete(PAIR[:1], {ami(1): Use()})
    assert [type(a) for a in plan.actions] == [ReportUsage]
    assert plan.waiting
    pending = delete(PAIR[:1], {ami(1): replace(FREE, report="pending")})
    assert pending.actions == ()
    assert pending.waiting
    told = delete(PAIR[:1], {ami(1): replace(FREE, others=("2 ec2:Instance of account 2",))})
    assert reasons(told.problems) == ["ImageInUse"]


def test_a_report_that_failed_is_told_and_one_of_yesterday_asked_anew() -> None:
    failed = delete(PAIR[:1], {ami(1): replace(FREE, report="error")})
    assert reasons(failed.problems) == ["UsageUnknown"]
    old = delete(PAIR[:1], {ami(1): replace(FREE, reported_at="2029-12-30T00:00:00Z")})
    assert [type(a) for a in old.actions] == [ReportUsage]


def test_other_accounts_need_not_be_asked_about() -> None:
    retention = {"checkOtherAccounts": False}
    plan = delete(PAIR[:1], {ami(1): Use(lack=HOLE)}, retention=retention)
    assert kinds(plan.actions) == ["DeregisterImage"]
    assert reasons(delete(PAIR[:1], {ami(1): Use(lack=HOLE)}).problems) == ["UsageUnknown"]


def test_protection_of_ours_is_taken_off_and_that_of_others_is_told() -> None:
    there = [replace(PAIR[0], protection="enabled-without-cooldown")]
    told = delete(there, uses({}))
    assert reasons(told.problems) == ["DeregistrationProtected"]
    assert told.actions == ()
    mine = delete(there, uses({}), retention={"deregistrationProtection": "Enabled"})
    (action,) = mine.actions
    assert isinstance(action, ProtectImage)
    assert action.mode == "disabled"
    assert mine.waiting


def test_snapshots_whose_ami_is_gone_go_too_and_those_of_others_stay() -> None:
    left = Snapshot("snap-left", PAIR[0].tags)
    foreign = Snapshot("snap-foreign", STRANGERS[1].tags)
    used = Snapshot("snap-00000007", PAIR[0].tags)  # by an AMI of somebody else
    seen = world(
        view(HOME, [*PAIR[:1], image(7)], snapshots={s.id: s for s in (left, foreign, used)})
    )
    plan = plan_deletion(wanted(deletionPolicy="Delete"), seen, uses({}), NOW)
    gone = [a.snapshot for a in plan.actions if isinstance(a, DeleteSnapshot)]
    assert gone == ["snap-left"]


def test_copies_go_before_what_they_were_made_from() -> None:
    copy = ours(3, DR, role="replica")
    seen = world(view(HOME, PAIR[:1]), view(DR, [copy]))
    want = wanted(deletionPolicy="Delete")
    assert [a.region for a in plan_deletion(want, seen, uses({}), NOW).actions] == [DR]
    # Regions are worked on side by side, so home comes in a later look.
    left = world(view(HOME, PAIR[:1]))
    assert [a.region for a in plan_deletion(want, left, uses({}), NOW).actions] == [HOME]
