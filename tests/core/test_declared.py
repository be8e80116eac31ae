"""Who an ImageShare declares: its own lists, lists kept elsewhere, temporary ones, and a judge."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planworld import HOME, NOW, ORG, OU, OU_ID, A, B, C, D, accounts, reasons, share

from gilder.api.imageshare import ListedAccounts
from gilder.core.declared import Listing, accounts_in, declare, next_end
from gilder.core.observed import NOBODY, Principals, Problem
from gilder.core.shares import Share
from gilder.core.times import rfc3339

QUICK = settings(max_examples=200, deadline=None, database=None, derandomize=True)
MAP = "configMap l/accounts"
PARAMETER = f"ssmParameter /l in {HOME}"
GONE = Problem("ListUnreadable", "gone", False)
FROM_MAP = [{"configMap": {"name": "l"}}]

ids = st.from_regex(r"[0-9]{12}", fullmatch=True)


def declared(one: Share, read: Mapping[str, Listing] | None = None, **more: Any) -> Share:
    return declare(one, read or {}, more.pop("now", NOW), **more)


def known(one: Share, source: str, *who: str, problem: str | None = None) -> Share:
    """The share with what a list said when it was read last."""
    return replace(one, listed=(ListedAccounts(source=source, accounts=who, problem=problem),))


def lent(until: str, **who: str) -> dict[str, str]:
    return {**(who or {"account": A}), "until": until}


# Lists in words


@QUICK
@given(
    st.lists(ids, max_size=6),
    st.sampled_from((",", " ", "\n", ";", ", ", "\r\n", "\t", " # 1234\n", "\n# x, y\n\n")),
    st.sampled_from(("", '"', "'")),
)
def test_a_list_may_be_written_in_many_ways(some: list[str], apart: str, quote: str) -> None:
    text = apart.join(f"{quote}{a}{quote}" for a in some)
    assert accounts_in(text, "here") == tuple(sorted(set(some)))
    assert accounts_in(f"[{text}]", "here") == tuple(sorted(set(some)))


@QUICK
@given(st.text(max_size=60))
def test_a_list_is_account_ids_or_a_problem_that_tells_no_secret(text: str) -> None:
    found = accounts_in(text, "here")
    if isinstance(found, tuple):
        assert all(len(a) == 12 and a.isdecimal() and a.isascii() for a in found)
        assert list(found) == sorted(set(found))
    else:
        assert found.reason == "ListMalformed"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("12345678901", "entry 1 of 1"),
        ("1234567890123", "entry 1 of 1"),
        (f"{A}, hunter2, {B}", "entry 2 of 3"),
        (f"{A}{B}", "entry 1 of 1"),
        ("٣٣٣٣٣٣٣٣٣٣٣٣", "entry 1 of 1"),
        ("a b c d e f g", "entry 1, 2, 3, 4, 5 of 7"),
    ],
)
def test_what_is_no_account_id_is_counted_and_not_repeated(text: str, wrong: str) -> None:
    found = accounts_in(text, "the source")
    assert isinstance(found, Problem)
    assert wrong in found.message
    assert "the source" in found.message
    assert "hunter2" not in found.message
    assert found.permanent


@pytest.mark.parametrize("text", ["", "  \n", "# nobody", ",,;", "[]"])
def test_an_empty_text_is_an_empty_list(text: str) -> None:
    assert accounts_in(text, "here") == ()


# Lists of a share


def test_lists_and_the_share_s_own_accounts_add_up() -> None:
    some = [*FROM_MAP, {"ssmParameter": {"name": "/l", "region": HOME}}]
    one = declared(share(accounts=[A], accountsFrom=some), {MAP: (A, B), PARAMETER: (C,)})
    assert one.declared == accounts(A, B, C)
    assert [(x.source, x.accounts, x.problem) for x in one.listed] == [
        (MAP, (A, B), None),
        (PARAMETER, (C,), None),
    ]
    assert not one.refused
    assert not one.uncertain


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ((), "ListEmpty"),
        (GONE, "ListUnreadable"),
        (None, "ListUnreadable"),
        (Problem("ListMalformed", "entry 1"), "ListMalformed"),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_a_list_that_says_nothing_keeps_what_it_said(
    said: Listing | None, reason: str, before: bool
) -> None:
    one = share(accounts=[A], accountsFrom=FROM_MAP)
    one = known(one, MAP, B) if before else one
    found = declared(one, {} if said is None else {MAP: said})
    assert found.declared == (accounts(A, B) if before else accounts(A))
    assert found.uncertain is not before, "without a word from it nobody is a stranger"
    assert reasons(found.refused) == [reason]
    assert found.listed[0].accounts == ((B,) if before else ())
    assert found.listed[0].problem


def test_a_list_may_be_empty_where_that_is_said() -> None:
    one = known(share(accountsFrom=[{"configMap": {"name": "l"}, "allowEmpty": True}]), MAP, B)
    found = declared(one, {MAP: ()})
    assert found.declared == NOBODY
    assert not found.refused
    assert not found.uncertain
    assert not found.listed[0].problem


def test_a_list_that_is_no_longer_declared_is_forgotten() -> None:
    found = declared(known(share(accounts=[A]), MAP, B))
    assert found.declared == accounts(A)
    assert found.listed == ()


def test_another_list_does_not_inherit() -> None:
    found = declared(known(share(accountsFrom=FROM_MAP), PARAMETER, B), {MAP: GONE})
    assert found.declared == NOBODY
    assert found.uncertain


who = st.lists(st.sampled_from((A, B, C, D)), unique=True, max_size=4)


@QUICK
@given(who, who, who, who, st.integers(-2, 2), st.sampled_from(("ok", "gone", "never")))
def test_declared_is_a_union_less_who_is_ignored(
    own: list[str], listed: list[str], last: list[str], ignored: list[str], hours: int, read: str
) -> None:
    until = rfc3339(NOW + timedelta(hours=hours))
    one = share(
        accounts=own,
        accountsFrom=[{"configMap": {"name": "l"}, "allowEmpty": True}],
        ignoreAccounts=ignored,
        temporary=[lent(until, account=D)],
    )
    if read != "never":
        one = known(one, MAP, *last)
    found = declared(one, {MAP: tuple(listed) if read == "ok" else GONE})
    want = {*own, *{"ok": listed, "gone": last, "never": []}[read]}
    want |= {D} if hours > 0 else set()
    assert found.principals == accounts(*(want - set(ignored)))
    assert found.uncertain is (read == "never")


@pytest.mark.parametrize("state", [{"leaving": True}, {"unreadable": "no such spec"}])
def test_who_leaves_or_cannot_be_read_declares_nothing_new(state: dict[str, Any]) -> None:
    one = replace(share(accounts=[A]), **state)
    assert declared(one, {MAP: (B,)}) is one


# Time


def test_access_ends_to_the_second() -> None:
    one = share(temporary=[lent("2030-01-01T13:00:00+01:00")])
    assert declared(one, now=NOW - timedelta(seconds=1)).declared == accounts(A)
    assert declared(one, now=NOW - timedelta(microseconds=1)).declared == accounts(A)
    assert declared(one, now=NOW).declared == NOBODY, "12:00 UTC"


@pytest.mark.parametrize(
    ("who", "want", "name"),
    [
        ({"account": A}, accounts(A), A),
        ({"organization": ORG}, Principals(organizations=frozenset({ORG})), "o-abcdefghij"),
        ({"organizationalUnit": OU}, Principals(units=frozenset({OU})), OU_ID),
    ],
)
def test_whoever_may_be_lent_to(who: dict[str, str], want: Principals, name: str) -> None:
    found = declared(share(temporary=[lent("2030-01-01T12:00:10Z", **who)]))
    assert found.declared == want
    assert found.expiring == ((name, "2030-01-01T12:00:10Z"),)
    assert found.wake == 10.0


@QUICK
@given(st.integers(1, 60 * 60 * 24 * 30))
def test_it_wakes_for_the_announcement_and_for_the_end(seconds: int) -> None:
    end = NOW + timedelta(seconds=seconds)
    one = share(temporary=[lent(rfc3339(end))])
    found = declared(one)
    assert found.wake is not None
    soon = seconds <= 24 * 3600
    assert bool(found.expiring) is soon
    then = NOW + timedelta(seconds=found.wake)
    assert abs(then - (end if soon else end - timedelta(hours=24))) < timedelta(seconds=1)
    assert declared(one, now=end).wake is None
    if not soon:
        assert declared(one, now=then).expiring


def test_it_does_not_wake_all_the_time() -> None:
    one = share(temporary=[lent("2030-01-01T12:00:00.1Z")])
    assert declared(one).wake == 0.5


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"accounts": [A]},
        {"accountsFrom": FROM_MAP},
        {"temporary": [lent("2030-01-01T13:00:00Z"), lent("2030-02-01T00:00:00Z")]},
    ],
)
def test_who_stays_for_another_reason_is_not_announced(elsewhere: dict[str, Any]) -> None:
    spec = {"temporary": [lent("2030-01-01T13:00:00Z")], **elsewhere}
    found = declared(share(**spec), {MAP: (A,)})
    assert found.expiring == ()
    later = declared(share(**spec), {MAP: (A,)}, now=NOW + timedelta(hours=2))
    assert later.declared == accounts(A)


@pytest.mark.parametrize(
    ("until", "want"),
    [
        ([], None),
        (["2029-12-31T00:00:00Z"], None),
        (["2030-01-01T12:00:00Z"], None),
        (["2030-01-02T00:00:00+02:00", "2030-01-03T00:00:00Z"], "2030-01-01T22:00:00Z"),
    ],
)
def test_the_next_end(until: list[str], want: str | None) -> None:
    assert next_end(share(temporary=[lent(u) for u in until]).spec, NOW) == want


def test_times_of_other_zones_are_told_in_utc() -> None:
    assert datetime(2030, 1, 1, 12, tzinfo=UTC) == NOW
    found = declared(share(temporary=[lent("2030-01-01T23:30:00+05:30")]))
    assert found.expiring == ((A, "2030-01-01T18:00:00Z"),)


# A judge, and grantees


def test_a_judge_has_the_last_word_and_sees_nobody_ignored() -> None:
    asked: list[Principals] = []
    no = Problem("PrincipalNotAllowed", "not B")

    def judge(some: Principals) -> tuple[Principals, tuple[Problem, ...]]:
        asked.append(some)
        return some - accounts(B), (no,)

    one = share(
        accounts=[A, B, C], ignoreAccounts=[C], organizations=[ORG], public=True, confirmPublic=True
    )
    found = declared(one, judge=judge)
    orgs = Principals(organizations=frozenset({ORG}), public=True)
    assert asked == [accounts(A, B) | orgs]
    assert found.declared == accounts(A) | orgs
    assert found.refused == (no,)


@pytest.mark.parametrize(
    ("kms", "told"),
    [
        ({"granteePrincipals": [f"arn:aws:iam::{A}:role/x"]}, []),
        ({"granteePrincipals": ["arn:aws:iam::{account}:role/x"]}, []),
        ({"granteePrincipals": [f"arn:aws:iam::{D}:role/x"]}, ["GranteeNotShared"]),
        ({"granteePrincipals": [f"arn:aws:iam::{B}:role/x"]}, ["GranteeNotShared"]),
        ({"mode": "None", "granteePrincipals": [f"arn:aws:iam::{D}:role/x"]}, []),
    ],
)
def test_grantees_of_accounts_that_are_not_shared_with(
    kms: dict[str, Any], told: list[str]
) -> None:
    found = declared(share(accounts=[A, B], ignoreAccounts=[B], kms=kms))
    assert reasons(found.refused) == told
