"""Our one statement in a key policy: read back, changed, and nothing of others touched."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planworld import CLUSTER, HOME, HOME_KEY, ORG, ORG_ID, OU, OU_ID, OWNER, key, view, world

from gilder.core import rules
from gilder.core.actions import PutKeyPolicy
from gilder.core.observed import Key, Observed, Principals, Problem
from gilder.core.plan import Draft, Plan, freeze
from gilder.core.shares import KeyPlace
from gilder.core.statements import (
    LARGEST,
    editable,
    let_in,
    own,
    plan_policies,
    reach,
    reaches,
    replaced,
    same,
    sid,
    stands,
    statement,
    statements,
)

QUICK = settings(max_examples=200, deadline=None, database=None, derandomize=True)
AT = (HOME, HOME_KEY)
UNIT = f"{ORG_ID}/{OU_ID}"
SID = sid(CLUSTER)
LAUNCH = frozenset(a.removeprefix("kms:") for a in rules.POLICY_ACTIONS)
SOME = frozenset({"Decrypt"})

names = st.from_regex(r"o-[a-z0-9]{10}(/ou-[a-z0-9]{4}-[a-z0-9]{8})?", fullmatch=True)
many = st.frozensets(names, min_size=1, max_size=8)
operations = st.frozensets(st.sampled_from(sorted(LAUNCH)), min_size=1)
words = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)
foreign = st.fixed_dictionaries(
    {"Effect": st.sampled_from(("Allow", "Deny")), "Action": st.sampled_from(("kms:*", ["a"]))},
    optional={"Sid": words, "Principal": st.just("*"), "Condition": st.just({"Bool": {"a": "b"}})},
)
policies = st.fixed_dictionaries(
    {"Version": st.just("2012-10-17"), "Statement": st.lists(foreign, max_size=4)},
    optional={"Id": words},
)


def letting(*who: str, ops: frozenset[str] = SOME, **changes: Any) -> dict[str, Any]:
    return {**statement(CLUSTER, who, ops), **changes}


def planned(
    one: Mapping[str, Any] | None,
    want: Mapping[str, frozenset[str]],
    held: frozenset[str] = frozenset(),
    more: int = 0,
) -> tuple[Plan, list[PutKeyPolicy], bool]:
    """The plan for a key with this statement of ours, and `more` characters of others."""
    others = [{"Sid": "Theirs", "Effect": "Allow", "Principal": "x" * more}]
    policy = {"Statement": [*others, *([one] if one else [])]}
    seen = world(view(HOME, keys=[key(HOME_KEY, policy=policy)]))
    return _run(seen, want, held)


def _run(
    seen: Observed,
    want: Mapping[str, frozenset[str]],
    held: frozenset[str] = frozenset(),
    recorded: frozenset[KeyPlace] = frozenset(),
) -> tuple[Plan, list[PutKeyPolicy], bool]:
    draft = Draft()
    found = plan_policies(CLUSTER, [AT], {AT: want}, {AT: held}, seen, draft, recorded)
    plan = freeze(draft)
    return plan, [a for a in plan.actions if isinstance(a, PutKeyPolicy)], AT in found


# The statement


@QUICK
@given(many, operations)
def test_whom_a_statement_lets_in_is_read_back(who: frozenset[str], ops: frozenset[str]) -> None:
    one = statement(CLUSTER, who, ops)
    assert let_in(one) == who
    assert own({"Statement": [one]}, CLUSTER) == one
    assert let_in(json.loads(json.dumps(one))) == who
    for name in who:
        assert stands({"Statement": [one]}, CLUSTER, name, ops)
        assert not stands({"Statement": [one]}, CLUSTER, name, ops | {"Other"})


@QUICK
@given(many)
def test_aws_lets_in_exactly_whom_it_names(who: frozenset[str]) -> None:
    policy = {"Statement": [statement(CLUSTER, who, LAUNCH)]}
    for name in who:
        organization, _, unit = name.partition("/")
        if any("/" in n for n in who) or len(who) == 1:
            assert rules.policy_allows(policy, organization, unit or None)
    assert not rules.policy_allows(policy, "o-zzzzzzzzzzz", None)
    for name in who:
        organization, _, unit = name.partition("/")
        if unit and organization not in who:
            assert not rules.policy_allows(policy, organization, None)


@pytest.mark.parametrize(
    "one",
    [
        None,
        {},
        {"Sid": SID},
        {"Condition": None},
        {"Condition": []},
        {"Condition": ["x"]},
        {"Condition": {}},
        {"Condition": {"StringEquals": None}},
        {"Condition": {"StringEquals": {}}},
        {"Condition": {"StringEquals": "aws:PrincipalOrgID"}},
        {"Condition": {"StringEquals": {"aws:PrincipalOrgID": None}}},
    ],
)
def test_what_is_no_statement_of_ours_lets_nobody_in(one: Mapping[str, Any] | None) -> None:
    assert let_in(one) == frozenset()
    assert not stands({"Statement": [one]}, CLUSTER, ORG_ID, frozenset())


@pytest.mark.parametrize(
    "changes",
    [
        {"Principal": {"AWS": OWNER}},
        {"Principal": "*"},
        {"Effect": "Deny"},
        {"Resource": HOME_KEY},
        {"Condition": {"StringNotEquals": {"aws:PrincipalOrgID": ORG_ID}}},
        {"Condition": {"StringEquals": {"aws:PrincipalAccount": ORG_ID}}},
        {"NotAction": "kms:Decrypt"},
        {"Condition": {"StringEquals": {"aws:PrincipalOrgID": ORG_ID}, "Bool": {"a": "b"}}},
    ],
)
def test_a_statement_that_somebody_changed_is_written_anew(changes: dict[str, Any]) -> None:
    one = letting(ORG_ID, **changes)
    assert not stands({"Statement": [one]}, CLUSTER, ORG_ID, SOME)
    _, (put,), _ = planned(one, {ORG_ID: SOME})
    assert put.statement == letting(ORG_ID)
    assert put.add == (ORG_ID,), "so that launch permissions wait for it"
    assert put.remove == ()
    assert put.before == one


def test_organizations_alone_go_by_their_id() -> None:
    assert letting(ORG_ID)["Condition"] == {"StringEquals": {"aws:PrincipalOrgID": [ORG_ID]}}


def test_with_an_ou_all_go_by_path() -> None:
    assert letting(ORG_ID, UNIT)["Condition"] == {
        "ForAnyValue:StringLike": {
            "aws:PrincipalOrgPaths": [f"{ORG_ID}/*", f"{ORG_ID}/*/{OU_ID}/*"]
        }
    }


@pytest.mark.parametrize("cluster", ["prod", "prod-eu", "prod-e-u", "prodEu", "a", "a-" * 30 + "a"])
def test_a_sid_is_alphanumeric(cluster: str) -> None:
    assert sid(cluster).isalnum()
    assert sid(cluster).isascii()


def test_sids_of_clusters_differ() -> None:
    some = ["prod", "prod-eu", "prodeu", "prod-e-u", "pro-deu"]
    assert len({sid(c) for c in some}) == len(some)


def test_reach() -> None:
    assert reach(ORG) == ORG_ID
    assert reach(OU) == UNIT
    both = Principals(frozenset({OWNER}), frozenset({ORG}), frozenset({OU}))
    assert reaches(both) == {ORG_ID, UNIT}


# The policy


@QUICK
@given(policies, many, st.booleans(), st.integers(0, 4))
def test_others_stay_as_they_are(
    policy: dict[str, Any], who: frozenset[str], gone: bool, at: int
) -> None:
    before = json.dumps(policy["Statement"])
    policy["Statement"].insert(at, letting("o-old"))
    new = None if gone else statement(CLUSTER, who, SOME)
    after = replaced(policy, SID, new)
    assert {k: v for k, v in after.items() if k != "Statement"} == {
        k: v for k, v in policy.items() if k != "Statement"
    }
    others = [s for s in after["Statement"] if s.get("Sid") != SID]
    assert json.dumps(others) == before, "byte for byte, and in their order"
    assert own(after, CLUSTER) == new
    assert replaced(after, SID, new) == after


@pytest.mark.parametrize(
    ("policy", "count"),
    [
        (None, 0),
        ({}, 0),
        ({"Statement": {"Sid": "one"}}, 1),
        ({"Statement": []}, 0),
        ({"Statement": ["odd", {"Sid": "one"}]}, 2),
    ],
)
def test_policies_of_any_form(policy: dict[str, Any] | None, count: int) -> None:
    assert len(statements(policy)) == count
    assert own(policy, CLUSTER) is None
    assert len(statements(replaced(policy or {}, SID, letting(ORG_ID)))) == count + 1


@pytest.mark.parametrize(
    ("one", "other", "want"),
    [
        ({"Action": "a"}, {"Action": ["a"]}, True),
        ({"Action": ["a", "b"]}, {"Action": ["b", "a"]}, True),
        ({"Action": ["a", "b"]}, {"Action": ["a"]}, False),
        ({"a": {"b": ["x", "y"]}}, {"a": {"b": ["y", "x"]}}, True),
        ({"a": "b"}, {"a": "b", "c": "d"}, False),
        ({"a": {"b": "c"}}, {"a": "b"}, False),
        (None, None, True),
        (None, {}, False),
    ],
)
def test_same(one: Any, other: Any, want: bool) -> None:
    assert same(one, other) is want
    assert same(other, one) is want


# The plan


def test_nobody_wanted_and_no_statement_is_nothing_to_do() -> None:
    plan, puts, there = planned(None, {})
    assert plan.settled
    assert not puts
    assert not there


def test_a_statement_that_nobody_wants_goes() -> None:
    _, (put,), there = planned(letting(ORG_ID), {})
    assert put.statement is None
    assert put.remove == (ORG_ID,)
    assert there


def test_nobody_is_shut_out_while_somebody_is_let_in() -> None:
    _, (put,), _ = planned(letting(ORG_ID), {UNIT: SOME})
    assert put.statement == letting(ORG_ID, UNIT)
    assert (put.add, put.remove) == ((UNIT,), ())
    _, (put,), _ = planned(put.statement, {UNIT: SOME})
    assert put.statement == letting(UNIT)
    assert (put.add, put.remove) == ((), (ORG_ID,))


def test_who_is_held_keeps_the_place_and_is_not_let_in_anew() -> None:
    held = frozenset({ORG_ID})
    assert not planned(letting(ORG_ID), {}, held)[1]
    assert not planned(None, {}, held)[1]
    assert not planned(letting(UNIT, ORG_ID), {UNIT: SOME}, held)[1]


def test_more_operations_are_let_in_like_somebody_new() -> None:
    _, (put,), _ = planned(letting(ORG_ID), {ORG_ID: LAUNCH})
    assert put.statement == letting(ORG_ID, ops=LAUNCH)
    assert put.add == (ORG_ID,)
    _, (put,), _ = planned(letting(ORG_ID, ops=LAUNCH), {ORG_ID: SOME})
    assert put.statement == letting(ORG_ID)
    assert (put.add, put.remove) == ((), ())


wanted = st.dictionaries(st.sampled_from((ORG_ID, UNIT, "o-other00000")), operations)
existing = st.one_of(
    st.none(),
    st.builds(lambda w, o: letting(*w, ops=o), many, operations),
    st.just(letting(ORG_ID, Principal={"AWS": OWNER})),
    st.just(letting(ORG_ID, UNIT, Effect="Deny")),
)


@QUICK
@given(existing, wanted, st.frozensets(st.sampled_from((ORG_ID, UNIT))))
def test_at_most_two_rewritings_come_to_what_is_wanted(
    one: dict[str, Any] | None, want: dict[str, frozenset[str]], held: frozenset[str]
) -> None:
    now: Mapping[str, Any] | None = one
    first = let_in(one)
    for _ in range(2):
        _, puts, _ = planned(now, want, held)
        for put in puts:
            assert put.before == now
            assert not (put.add and put.remove), "who loses comes after who gains"
            assert let_in(put.statement) <= {*want, *let_in(now)}
            assert {*want} <= let_in(put.statement)
            now = put.statement
    assert not planned(now, want, held)[1]
    assert let_in(now) == {*want} | (held & first)
    for name, ops in want.items():
        assert stands({"Statement": [now]}, CLUSTER, name, ops)


def test_a_policy_that_would_be_too_large_is_left_alone() -> None:
    plan, puts, _ = planned(None, {ORG_ID: SOME}, more=LARGEST)
    assert not puts
    (told,) = plan.problems
    assert told.reason == "KeyPolicyTooLarge"
    assert told.permanent


def test_the_largest_policy_fits() -> None:
    empty = {"Statement": [{"Sid": "Theirs", "Effect": "Allow", "Principal": ""}]}
    room = LARGEST - len(json.dumps(replaced(empty, SID, letting(ORG_ID))))
    assert planned(None, {ORG_ID: SOME}, more=room)[1]
    assert not planned(None, {ORG_ID: SOME}, more=room + 1)[1]


def test_a_statement_goes_however_large_the_policy_is() -> None:
    assert planned(letting(ORG_ID), {}, more=LARGEST)[1]


@pytest.mark.parametrize("found", [None, key(HOME_KEY)])
def test_a_policy_that_was_not_read_is_not_written(found: Key | None) -> None:
    seen = world(view(HOME, keys=[found] if found else []))
    plan, puts, there = _run(seen, {ORG_ID: SOME})
    assert not puts
    assert not there
    assert [p.reason for p in plan.problems] == ["KeyPolicyUnread"]
    assert _run(seen, {})[0].settled
    plan, _, _ = _run(seen, {}, recorded=frozenset({AT}))
    assert [p.reason for p in plan.problems] == ["KeyPolicyUnread"], "a statement may be left"


@pytest.mark.parametrize(
    ("problem", "told"),
    [(Problem("AccessDenied", "no"), True), (Problem("KeyNotFound", "gone"), False)],
)
def test_with_a_key_its_statement_is_gone(problem: Problem, told: bool) -> None:
    seen = world(view(HOME, written={HOME_KEY: problem}))
    plan, _, _ = _run(seen, {}, recorded=frozenset({AT}))
    assert plan.problems == ((problem,) if told else ())
    assert _run(seen, {ORG_ID: SOME})[0].problems == (problem,)


def test_a_region_that_was_not_read_may_hold_a_statement() -> None:
    problem = Problem("AccessDenied", "no")
    seen = world(view(HOME, problem=problem))
    assert _run(seen, {}, recorded=frozenset({AT}))[0].problems == (problem,)


def test_editable() -> None:
    assert editable(key(HOME_KEY), HOME_KEY, OWNER)
    assert not editable(None, HOME_KEY, OWNER)
    assert not editable(key(HOME_KEY, aws_managed=True), HOME_KEY, OWNER)
    assert not editable(key(HOME_KEY), HOME_KEY, "999999999999")
