"""What is looked at, and kept, from the side of the accounts that AMIs are shared with."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planworld import HOME, HOME_KEY, NOW, ORG, A, B, C, accounts, ami, image, share

from gilder.api.imageshare import Consumer, ImageShareSpec
from gilder.core.consumers import (
    AGE,
    NO_ROLE,
    RETRY,
    Facts,
    accounts_of,
    due,
    fingerprint,
    images_of,
    tag_actions,
    verdict,
    wanted_tags,
)
from gilder.core.observed import NOBODY, Image, Principals
from gilder.core.shares import Target
from gilder.core.sharing import TargetState
from gilder.core.times import rfc3339

QUICK = settings(max_examples=200, deadline=None, database=None, derandomize=True)
TAGS = {
    "Name": "base",
    "team": "x",
    "aws:cloudformation:stack": "s",
    "goldenimage.dev/version": "1",
}


def spec(tags: Mapping[str, Any] | None = None, **more: Any) -> ImageShareSpec:
    return share(accounts=[A], consumerTags=tags, **more).spec


def state(number: int, declared: Principals, **changes: Any) -> TargetState:
    target = Target(HOME, ami(number), changes.pop("image", image(number)))
    return TargetState(target, declared, changes.pop("missing", NOBODY), **changes)


def seen(account: str, message: str | None = None, seconds: float = 0, **more: Any) -> Consumer:
    checked = rfc3339(NOW - timedelta(seconds=seconds))
    return Consumer(account=account, checked=checked, message=message, **more)


# Who is looked at


def test_accounts_are_those_with_access_in_place() -> None:
    states = [
        state(1, accounts(A, B) | Principals(organizations=frozenset({ORG})), missing=accounts(B)),
        state(2, accounts(C), leaving=True),
        state(3, accounts(C), unresolved=True),
    ]
    assert accounts_of(states) == [A]
    assert accounts_of([*states, state(4, accounts(B, A))]) == [A, B]
    assert accounts_of([]) == []


def test_images_are_those_that_the_account_may_launch() -> None:
    states = [
        state(1, accounts(A)),
        state(2, accounts(A), missing=accounts(A)),
        state(3, accounts(A), leaving=True),
        state(4, accounts(A), image=None),
        state(5, accounts(B)),
        state(6, accounts(A, B)),
    ]
    assert [i.id for i in images_of(states, A)] == [ami(1), ami(6)]


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (Facts({}), ""),
        (Facts(None), "not visible"),
        (Facts(None, "denied"), "not visible"),
        (Facts({}, "UnauthorizedOperation"), "dry run of a launch says: UnauthorizedOperation"),
        (Facts({}, keys=((HOME_KEY, ""),)), ""),
        (Facts({}, keys=((HOME_KEY, "AccessDenied"),)), f"{HOME_KEY} is not usable: AccessDenied"),
    ],
)
def test_why_an_account_cannot_launch(facts: Facts, word: str) -> None:
    assert word in facts.wrong
    assert bool(facts.wrong) is bool(word)


# When


@pytest.mark.parametrize(
    ("before", "want"),
    [
        (None, 0),
        (seen(A, digest="other"), 0),
        (seen(A, digest="m"), AGE),
        (seen(A, digest="m", seconds=AGE - 1), 1),
        (seen(A, digest="m", seconds=AGE + 1), 0),
        (seen(A, "wrong", digest="m"), RETRY),
        (seen(A, "wrong", digest="m", seconds=RETRY), 0),
        (Consumer(account=A, digest="m"), 0),
    ],
)
def test_due(before: Consumer | None, want: float) -> None:
    assert due(before, "m", NOW) == want


def test_the_fingerprint_changes_with_what_is_looked_at() -> None:
    one = image(1, tags={"Name": "a"})
    copying = spec({"copyKeys": ["*"]})
    marks = [
        fingerprint(copying, [one]),
        fingerprint(copying, [replace(one, tags={"Name": "b"})]),
        fingerprint(copying, [image(2, tags={"Name": "a"})]),
        fingerprint(copying, [one, image(2)]),
        fingerprint(copying, []),
        fingerprint(copying, [image(1, tags={"Name": "a"}, key=HOME_KEY)]),
        fingerprint(spec({"copyKeys": ["*"]}, verifyFromConsumer=True), [one]),
    ]
    assert len(set(marks)) == len(marks)
    ignored = replace(one, tags={"Name": "a", "goldenimage.dev/version": "7"})
    assert fingerprint(copying, [ignored]) == marks[0]


# Tags


@pytest.mark.parametrize(
    ("tags", "want"),
    [
        (None, {}),
        ({}, {}),
        ({"copyKeys": ["Name", "absent"]}, {"Name": "base"}),
        ({"copyKeys": ["*"]}, {"Name": "base", "team": "x"}),
        ({"copyKeys": ["aws:cloudformation:stack", "goldenimage.dev/version"]}, {}),
        ({"copyKeys": ["*"], "tags": {"team": "y", "new": ""}},
         {"Name": "base", "team": "y", "new": ""}),
    ],
)  # fmt: skip
def test_wanted_tags(tags: dict[str, Any] | None, want: dict[str, str]) -> None:
    assert wanted_tags(spec(tags), image(1, tags=TAGS)) == want


def run(
    want: dict[str, Any] | None, there: Mapping[str, str] | None, ours: Sequence[str] = ()
) -> list[tuple[dict[str, str], tuple[str, ...]]]:
    images: list[Image] = [image(1, tags=TAGS)]
    found = tag_actions(spec(want), A, images, {ami(1): Facts(there)}, ours)
    assert all(a.account == A and a.image == ami(1) and a.region == HOME for a in found)
    return [(dict(a.tags), a.gone) for a in found]


def test_tags_that_lack_or_differ_are_set() -> None:
    want = {"tags": {"a": "1", "b": "2", "c": "3"}}
    assert run(want, {"a": "1", "b": "x", "theirs": "y"}) == [({"b": "2", "c": "3"}, ())]
    assert run(want, {"a": "1", "b": "2", "c": "3"}) == []


def test_only_our_own_tags_are_removed() -> None:
    there = {"a": "1", "old": "2", "theirs": "3"}
    assert run({"tags": {"a": "1"}}, there, ["a", "old", "absent"]) == [({}, ("old",))]
    assert run(None, there, ["old"]) == [({}, ("old",))]
    assert run(None, there) == []


def test_an_ami_that_is_not_seen_is_not_tagged() -> None:
    assert run({"tags": {"a": "1"}}, None) == []
    assert tag_actions(spec({"tags": {"a": "1"}}), A, [image(1)], {}, ()) == []


tags = st.dictionaries(st.sampled_from(("a", "b", "c", "d")), st.sampled_from(("1", "2")))


@QUICK
@given(tags, tags, st.lists(st.sampled_from(("a", "b", "c", "d"))))
def test_tagging_comes_to_an_end_and_leaves_what_is_theirs(
    want: dict[str, str], there: dict[str, str], ours: list[str]
) -> None:
    after = dict(there)
    for new, gone in run({"tags": want}, there, ours):
        after = {k: v for k, v in {**after, **new}.items() if k not in gone}
    assert run({"tags": want}, after, ours) == []
    assert want.items() <= after.items()
    theirs = {k: v for k, v in there.items() if k not in ours and k not in want}
    assert theirs.items() <= after.items()
    assert set(after) <= set(want) | set(theirs)


# The condition


LOOKING = spec(verifyFromConsumer=True)


@pytest.mark.parametrize(
    ("consumers", "asked", "want"),
    [
        ([], 0, ("Unknown", "NoAccounts")),
        ([], 2, ("Unknown", "NotChecked")),
        ([seen(A)], 2, ("Unknown", "NotChecked")),
        ([seen(A), seen(B)], 2, ("True", "Verified")),
        ([seen(A), seen(B, "no")], 2, ("False", "NotLaunchable")),
        ([seen(B, "no")], 2, ("False", "NotLaunchable")),
        ([seen(A), seen(B, NO_ROLE)], 2, ("Unknown", "NoConsumerRole")),
        ([seen(A, "no"), seen(B, NO_ROLE)], 2, ("False", "NotLaunchable")),
    ],
)
def test_verdict(consumers: list[Consumer], asked: int, want: tuple[str, str]) -> None:
    found = verdict(LOOKING, consumers, asked)
    assert found is not None
    assert (found.status, found.reason) == want


def test_nobody_asked() -> None:
    assert verdict(spec(), [seen(A, "no")], 1) is None
    assert verdict(spec({"tags": {"a": "1"}}), [seen(A)], 1) is not None


@pytest.mark.parametrize("message", ["no", NO_ROLE])
def test_of_many_some_are_named(message: str) -> None:
    many = [seen(f"{n:012d}", message) for n in range(7)]
    found = verdict(LOOKING, many, 7)
    assert found is not None
    assert f"{4:012d}" in found.message
    assert f"{5:012d}" not in found.message
    assert "2 more" in found.message
