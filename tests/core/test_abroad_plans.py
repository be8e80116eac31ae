"""Parameters in consumer accounts: what is due where, and what stands in the way."""

from datetime import timedelta
from typing import Any

from planworld import DR, HOME, NOW, A, B, ami, reasons, wanted
from publishworld import NAME, remembering, served, told

from gilder.core.abroad import (
    AGE,
    LATE,
    LEAVING,
    MOST,
    RETRY,
    SOON,
    UNSEEN,
    YOUNG,
    Todo,
    agenda,
    keeping,
    pause_after,
    tried_again,
    troubles,
)
from gilder.core.observed import Use
from gilder.core.times import rfc3339

SPEC: dict[str, Any] = {
    "publish": {"ssmParameter": {"name": "/golden/{name}", "accounts": [A, B]}},
}
REFUSED = "RoleNotAssumable: assuming the role: no"


def entry(account: str = A, region: str = HOME, **changes: Any) -> Any:
    return told(account=account, region=region, **{"image_id": ami(20), **changes})


def due(plan: Any) -> dict[str, Todo]:
    return {t.account: t for t in plan.due}


def test_every_account_and_region_is_due_first() -> None:
    want = wanted(replicas=[{"region": DR}], **SPEC)
    plan = agenda(want, served(2, HOME, DR), NOW)
    assert {a: sorted(t.put) for a, t in due(plan).items()} == {A: [DR, HOME], B: [DR, HOME]}
    assert plan.again is None


def test_nothing_is_due_while_nothing_is_served() -> None:
    assert agenda(wanted(**SPEC), {}, NOW).due == ()


def test_what_is_told_is_looked_at_each_hour_or_when_asked() -> None:
    want = wanted(remembering(entry(A), entry(B)), **SPEC)
    later = NOW + timedelta(seconds=AGE + 1)
    assert agenda(want, served(), NOW).due == ()
    assert agenda(want, served(), NOW).again == AGE
    assert set(due(agenda(want, served(), later))) == {A, B}
    assert set(due(agenda(want, served(), NOW, asked=True))) == {A, B}


def test_another_version_is_due_at_once_and_so_is_the_way_back() -> None:
    want = wanted(remembering(entry(A), entry(B, image_id=ami(30))), **SPEC)
    assert due(agenda(want, served(3), NOW)).keys() == {A}
    assert due(agenda(want, served(2), NOW)).keys() == {B}


def test_one_account_that_refuses_holds_up_no_other() -> None:
    want = wanted(remembering(entry(A, image_id="", message=REFUSED)), **SPEC)
    plan = agenda(want, served(), NOW)
    assert due(plan).keys() == {B}
    assert plan.again == RETRY
    later = agenda(want, served(), NOW + timedelta(seconds=RETRY), at_once=1)
    assert due(later).keys() == {A}
    assert later.again == 1.0  # B is next


def test_what_was_tried_in_vain_is_tried_again() -> None:
    assert tried_again([entry(A)]) is None
    assert tried_again([entry(A), entry(B, message=REFUSED)]) == RETRY
    assert tried_again([entry(A, message=UNSEEN), entry(B, message=REFUSED)]) == SOON
    stuck = entry(A, version=0, message=REFUSED)
    assert tried_again([stuck]) is None
    assert tried_again([stuck], leaving=True) == RETRY


def test_what_has_not_worked_for_long_is_tried_less_often() -> None:
    """Each try is a look at the whole image."""
    refused = entry(A, image_id="", message=REFUSED)
    young = wanted(remembering(refused, entry(B), entry("", at=rfc3339(NOW))), **SPEC)
    assert agenda(young, served(), NOW).again == RETRY
    assert pause_after(young, NOW) == RETRY
    then = NOW + timedelta(seconds=YOUNG + 1)
    now = {"at": rfc3339(then)}
    refused = entry(A, image_id="", message=REFUSED, **now)
    late = wanted(remembering(refused, entry(B, **now), entry("", at=rfc3339(NOW))), **SPEC)
    assert agenda(late, served(), then).again == LATE
    assert tried_again([refused], pause_after(late, then)) == LATE


def test_what_refuses_is_told_by_kind_and_what_was_just_written_is_not() -> None:
    want = wanted(**SPEC)
    found = troubles(want, [entry(A, message=REFUSED), entry(B, message=UNSEEN)])
    assert reasons(found) == ["RoleNotAssumable"]
    assert not found[0].permanent
    denied = troubles(want, [entry(A, message="AccessDenied: no")])
    assert denied[0].permanent


def test_an_account_that_left_the_list_is_cleared_and_holds_up_nothing() -> None:
    spec = {"publish": {"ssmParameter": {"name": "/golden/{name}", "accounts": [B]}}}
    want = wanted(remembering(entry(A), entry(B)), **spec)
    (todo,) = agenda(want, served(), NOW).due
    assert (todo.account, [t.name for t in todo.drop], dict(todo.put)) == (A, [NAME], {})
    stuck = entry(A, version=0, message=REFUSED)
    want = wanted(remembering(stuck, entry(B)), **spec)
    assert agenda(want, served(), NOW).due == ()
    assert troubles(want, [stuck]) == ()
    assert agenda(want, served(), NOW + timedelta(seconds=LEAVING + 1)).due[0].drop == (stuck,)


def test_a_renamed_parameter_goes_after_the_new_one_is_there() -> None:
    old = entry(A, name="/old")
    want = wanted(remembering(old), **SPEC)
    assert due(agenda(want, served(), NOW))[A].drop == ()
    want = wanted(remembering(old, entry(A), entry(B)), **SPEC)
    assert due(agenda(want, served(), NOW))[A].drop == (old,)
    unseen = wanted(remembering(old, entry(A, message=UNSEEN), entry(B)), **SPEC)
    assert agenda(unseen, served(), NOW).due == ()
    assert agenda(unseen, served(), NOW).again == SOON
    assert agenda(unseen, served(), NOW, pace=0.5).again == SOON / 2


def test_everything_goes_when_the_image_goes() -> None:
    want = wanted(remembering(entry(A), entry(B)), **SPEC)
    plan = agenda(want, {}, NOW, leaving=True)
    assert {a: len(t.drop) for a, t in due(plan).items()} == {A: 1, B: 1}
    assert agenda(wanted(**SPEC), {}, NOW, leaving=True).due == ()


def test_too_many_are_told_and_none_of_them_is_taken_away() -> None:
    accounts = [f"{n:012}" for n in range(100)]
    replicas = [{"region": f"eu-test-{n}"} for n in range(9)]
    spec = {"publish": {"ssmParameter": {"name": NAME, "accounts": accounts}}}
    memory = remembering(*(entry(a) for a in accounts))
    plan = agenda(wanted(memory, replicas=replicas, **spec), served(3), NOW, at_once=100)
    assert reasons(plan.problems) == ["TooManyParameters"]
    assert len(plan.due) == MOST // 10
    assert not any(t.drop for t in plan.due)


def test_an_ami_that_a_consumers_parameter_still_names_is_in_use() -> None:
    stuck = entry(A, image_id=ami(10), version=1, message=REFUSED)
    left = entry(B, image_id=ami(10), version=0, message=REFUSED)  # its account left the list
    found = keeping(wanted(remembering(stuck, left), **SPEC), {ami(10): Use(), ami(5): Use()})
    assert found[ami(10)].by == (f"parameter {NAME} in {HOME} of account {A}",)
    assert found[ami(5)] == Use()
