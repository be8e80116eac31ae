"""What an explanation says of an AMI, a table of what AWS may hold."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gilder.api.imageshare import DEFAULT_OPERATIONS
from gilder.api.names import TAG_GATES
from gilder.core.explain import Explanation, Seen, Target, explain
from gilder.core.membership import Membership
from gilder.core.observed import Grant, Image, Key, Principals, Problem
from gilder.core.question import Declared, Question

NOW = datetime(2026, 11, 25, tzinfo=UTC)
HOME, OWNER, A = "eu-west-1", "123456789012", "222222222222"
KEY = f"arn:aws:kms:{HOME}:{OWNER}:key/k"
ORG = "o-aaaaaaaaaa"
ORGANIZATION = f"arn:aws:organizations::{OWNER}:organization/{ORG}"
ROOT = f"arn:aws:iam::{A}:root"
IMAGE = Image("ami-1", HOME, OWNER, encrypted=True, kms_keys=frozenset({KEY}))
OURS = {
    "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{OWNER}:root"}, "Action": "kms:*",
    "Resource": "*",
}  # fmt: skip
GRANT = Grant("g1", KEY, "gilder:default:x", ROOT, frozenset(DEFAULT_OPERATIONS))
ACCOUNT = Principals(frozenset({A}))
MEMBERS = Principals(organizations=frozenset({ORGANIZATION}))
TARGET = Target(HOME, "ami-1", "images/base", 3)


def key(*statements: dict[str, Any], **more: Any) -> Key:
    return Key(KEY, HOME, policy={"Statement": [OURS, *statements]}, **more)


def seen(image: Image | None = IMAGE, who: Any = ACCOUNT, *grants: Grant, **more: Any) -> Seen:
    keys = more.pop("keys", {KEY: key()})
    return Seen(OWNER, image, who, keys, {KEY: grants}, **more)


def ask(what: Seen, *declared: Declared, **more: Any) -> Explanation:
    target = more.pop("target", TARGET)
    return explain(target, what, Question(A, declared=declared, **more), NOW)


def share(who: Principals = ACCOUNT, **more: Any) -> Declared:
    return Declared("images/team", who, **more)


def test_all_is_given() -> None:
    found = ask(seen(IMAGE, ACCOUNT, GRANT), share())
    assert found.could is True
    assert found.launch.as_dict() == {
        "state": "Given", "by": ["account"], "why": "declared by ImageShare images/team"
    }  # fmt: skip
    assert found.keys[0].by == ("grant g1 (gilder:default:x)",)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (replace(IMAGE, product_codes=("p",)), "has product code p"),
        (replace(IMAGE, tags={TAG_GATES: "pending"}), "has not passed its gates"),
        (replace(IMAGE, tags={TAG_GATES: "failed/1"}), "has not passed its gates"),
        (IMAGE, "nothing gives 222222222222 the launch permission"),
    ],
)
def test_why_there_is_no_launch_permission(image: Image, why: str) -> None:
    found = ask(seen(image, Principals(), GRANT))
    assert found.could is False
    assert why in found.launch.why


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ([], f"no ImageShare declares {A} for this image"),
        ([share(Principals(frozenset({OWNER})))], f"no ImageShare declares {A}"),
        ([share()], "although ImageShare images/team declares it"),
        ([share(passive="suspended (spec.suspend)")], "ImageShare images/team is suspended"),
        ([share(elsewhere=True)], "for other versions or Regions of the image alone"),
        ([share(MEMBERS)], "nor does AWS have what ImageShare images/team declares"),
    ],
)
def test_which_share_should_have_given_it(declared: list[Declared], text: str) -> None:
    launch = ask(seen(IMAGE, Principals(), GRANT), *declared).launch
    assert launch.state == "Missing"
    assert text in f"{launch.why} {launch.fix}"


def test_no_share_is_named_where_none_was_read() -> None:
    found = explain(TARGET, seen(IMAGE, Principals()), Question(A, declared=None), NOW)
    texts = f"{found.launch} {found.keys}"
    assert "no ImageShare" not in texts
    assert found.could is False


@pytest.mark.parametrize(
    ("declared", "fix"),
    [
        ([share()], "has kms.mode Grant: key access is given at the operator's next look"),
        ([share(kms="KeyPolicy")], "has kms.mode KeyPolicy: key access is given"),
        ([share(kms="None")], "has kms.mode None, which leaves key access to others"),
        ([share(kms="None"), share()], "has kms.mode Grant: key access"),
        ([share(passive="paused by annotation")], "but is paused by annotation"),
        ([share(MEMBERS)], "no ImageShare with kms.mode Grant declares"),
    ],
)
def test_who_should_have_given_the_key(declared: list[Declared], fix: str) -> None:
    found = ask(seen(), *declared)
    assert found.could is False
    assert fix in found.keys[0].fix


def test_members_need_a_statement_and_not_a_grant() -> None:
    member = Membership(ORG, ("r-1",))
    found = ask(seen(who=MEMBERS), share(MEMBERS), membership=member)
    assert found.launch.by == (f"organization {ORG}",)
    assert f'"aws:PrincipalOrgID": "{ORG}"' in found.keys[0].fix


def test_a_deny_wins_over_a_grant() -> None:
    deny = {"Sid": "No", "Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*"}
    found = ask(seen(IMAGE, ACCOUNT, GRANT, keys={KEY: key(deny)}))
    assert found.could is False
    assert found.keys[0].why == f"statement No of the key policy denies {A} use of the key"


@pytest.mark.parametrize(
    ("keys", "grants", "why"),
    [
        ({KEY: Problem("AccessDenied", "no")}, (), "no"),
        ({}, (), "was not read"),
        ({KEY: Key(KEY, HOME)}, (GRANT,), "the key policy cannot be read"),
        ({KEY: key()}, (replace(GRANT, constrained=True),), "has constraints"),
        ({KEY: key()}, (replace(GRANT, principal=f"arn:aws:iam::{A}:role/x"),), "alone"),
    ],
)
def test_what_cannot_be_told_of_a_key(keys: Any, grants: tuple[Grant, ...], why: str) -> None:
    found = ask(seen(IMAGE, ACCOUNT, *grants, keys=keys))
    assert found.could is None
    assert found.keys[0].state == "Unknown"
    assert why in found.keys[0].why
    assert len(found.failed) == sum(isinstance(k, Problem) for k in keys.values())


def test_several_keys_are_told_one_by_one() -> None:
    other = KEY + "2"
    image = replace(IMAGE, kms_keys=frozenset({KEY, other}))
    keys = {KEY: key(), other: replace(key(), arn=other)}
    found = ask(seen(image, ACCOUNT, GRANT, keys=keys))
    assert [(k.key, k.state) for k in found.keys] == [(KEY, "Given"), (other, "Missing")]
    assert found.could is False


@pytest.mark.parametrize(
    ("image", "could", "text"),
    [
        (replace(IMAGE, state="pending"), False, "it is pending"),
        (replace(IMAGE, state="failed", state_reason="full"), False, "it is failed: full"),
        (replace(IMAGE, state="disabled"), False, "it is disabled, so that"),
        (replace(IMAGE, kms_keys=frozenset()), None, "keys of its snapshots were not seen"),
        (replace(IMAGE, owner="999999999999"), None, "belongs to account 999999999999"),
        (replace(IMAGE, deprecated_at="2026-01-01T00:00:00.000Z"), True, "deprecated since"),
        (replace(IMAGE, encrypted=False, kms_keys=frozenset()), True, "not encrypted"),
        (None, False, "it is deregistered"),
    ],
)
def test_the_ami_itself(image: Image | None, could: bool | None, text: str) -> None:
    found = ask(seen(image, ACCOUNT, GRANT))
    assert found.could is could
    assert text in " ".join([*(f.why for f in found.findings), *found.notes])


def test_an_ami_of_nobody_is_not_called_deregistered() -> None:
    found = ask(seen(None), target=Target(HOME, "ami-1"))
    assert (found.could, [p.reason for p in found.failed]) == (None, ["ImageNotFound"])


def test_permissions_that_could_not_be_read() -> None:
    denied = Problem("AccessDenied", "reading launch permissions: no")
    found = ask(seen(IMAGE, denied, GRANT))
    assert (found.could, found.failed) == (None, (denied,))
    assert ask(seen(IMAGE, None, GRANT)).could is None
    # What is certain stays certain.
    assert ask(seen(IMAGE, denied)).could is False
