"""What a key policy says to an account, against the policy evaluator of the sandbox."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gilder.core import rules
from gilder.core.keypolicy import Asker, ruling
from gilder.core.membership import Membership, within
from gilder.sandbox.aws import policy as oracle

ACCOUNT, OTHER, OWNER = "222222222222", "333333333333", "123456789012"
ORG, UNIT, ROOT = "o-aaaaaaaaaa", "ou-root-aaaaaaaa", "r-root"
REGION = "eu-west-1"
KEY = f"arn:aws:kms:{REGION}:{OWNER}:key/11111111-2222-3333-4444-555555555555"
USER = f"arn:aws:iam::{ACCOUNT}:user/sandbox"
MEMBER = Membership(ORG, (ROOT, UNIT))


def truth(policy: dict[str, Any], member: Membership | None, action: str) -> bool:
    """What the sandbox says to a user of the account who launches through EC2."""
    context = {
        "aws:principalaccount": [ACCOUNT],
        "kms:calleraccount": [ACCOUNT],
        "aws:principalarn": [USER],
        "aws:principaltype": ["User"],
        "kms:viaservice": [f"ec2.{REGION}.amazonaws.com"],
        "kms:grantisforawsresource": ["true"],
    }
    if member is not None and member.organization:
        context["aws:principalorgid"] = [member.organization]
        context["aws:principalorgpaths"] = [member.org_path]
    return oracle.allows(json.dumps(policy), oracle.Principal(ACCOUNT, USER), action, context)


def one_or_more(values: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3)


ARNS = st.sampled_from(
    [
        ACCOUNT, OTHER, OWNER, "*", USER, f"arn:aws:iam::{ACCOUNT}:root",
        f"arn:aws:iam::{OTHER}:root", f"arn:aws:iam::{ACCOUNT}:role/a",
        f"arn:aws:iam::{OTHER}:role/a", "AROAEXAMPLE",
    ]
)  # fmt: skip
PRINCIPALS = st.just("*") | st.one_of(
    st.fixed_dictionaries({"AWS": one_or_more(ARNS)}),
    st.just({"Service": "ec2.amazonaws.com"}),
)
ACTIONS = one_or_more(
    st.sampled_from(
        [
            "*", "kms:*", "kms:Decrypt", "KMS:decrypt", "kms:CreateGrant", "kms:ReEncrypt*",
            "kms:D*", "kms:GenerateDataKey*", "kms:Describe?ey", "ec2:*", "kms:ListGrants",
        ]
    )
)  # fmt: skip
VALUES = {
    "aws:PrincipalOrgID": [ORG, "o-bbbbbbbbbb", "o-*", "*"],
    "aws:PrincipalOrgPaths": [
        f"{ORG}/*", f"{ORG}/*/{UNIT}/*", f"{ORG}/{ROOT}/", f"{ORG}/{ROOT}/{UNIT}/",
        f"{ORG}/*/{UNIT}", "o-bbbbbbbbbb/*",
    ],
    "kms:ViaService": [f"ec2.{REGION}.amazonaws.com", "ec2.*.amazonaws.com", "s3.*.amazonaws.com"],
    "kms:CallerAccount": [ACCOUNT, OTHER, "2*"],
    "AWS:principalaccount": [ACCOUNT, OTHER],
    "aws:PrincipalArn": [USER, f"arn:aws:iam::{OTHER}:*", "*", f"arn:aws:iam::{ACCOUNT}:role/*"],
    "kms:GrantIsForAWSResource": ["true", "false", "True"],
    "aws:PrincipalType": ["User", "AssumedRole"],
    "aws:SourceVpc": ["vpc-1"],
}  # fmt: skip
OPERATORS = [
    f"{quantifier}{operator}{optional}"
    for quantifier in ("", "ForAnyValue:", "ForAllValues:")
    for operator in (
        "StringEquals", "StringLike", "StringNotEquals", "StringNotLike", "ArnLike", "ArnNotLike",
        "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "Bool", "ArnEquals",
    )
    for optional in ("", "IfExists")
]  # fmt: skip


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(draw(st.integers(0, 2))):
        key = draw(st.sampled_from(sorted(VALUES)))
        if draw(st.integers(0, 7)) == 0:
            found.setdefault("Null", {})[key] = draw(st.sampled_from(["true", "false"]))
            continue
        operator = draw(st.sampled_from(OPERATORS))
        found.setdefault(operator, {})[key] = draw(one_or_more(st.sampled_from(VALUES[key])))
    return found


@st.composite
def statements(draw: st.DrawFn) -> dict[str, Any]:
    principal = draw(st.sampled_from(["Principal"] * 5 + ["NotPrincipal"]))
    action = draw(st.sampled_from(["Action"] * 5 + ["NotAction"]))
    made = {
        "Effect": draw(st.sampled_from(["Allow", "Allow", "Deny"])),
        principal: draw(PRINCIPALS),
        action: draw(ACTIONS),
        "Resource": "*",
    }
    if condition := draw(conditions()):
        made["Condition"] = condition
    return made


@settings(max_examples=400, deadline=None)
@given(
    st.lists(statements(), min_size=1, max_size=4),
    st.sampled_from([MEMBER, Membership(ORG, (ROOT,)), None]),
    st.sampled_from(["known", "unknown", "outside"]),
    st.sampled_from(rules.POLICY_ACTIONS),
)
def test_an_answer_never_contradicts_the_sandbox(
    written: list[dict[str, Any]], member: Membership | None, known: str, action: str
) -> None:
    policy = {"Version": "2012-10-17", "Statement": written}
    told = member if known == "known" else None
    if member is None and known == "outside":
        told = Membership(outside=ORG)
    found = ruling(policy, Asker(ACCOUNT, REGION, told), action, KEY)
    assert found.allowed in (None, truth(policy, member, action))


def allow(principal: Any, condition: Any = None, **more: Any) -> dict[str, Any]:
    made = {"Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*", **more}
    return made | ({"Condition": condition} if condition else {})


DENY = {"Effect": "Deny", "Sid": "No"}
ONLY_ADMIN = {"ArnNotLike": {"aws:PrincipalArn": f"arn:aws:iam::{OWNER}:role/admin"}}
EVERYBODY = {"AWS": "*"}
CASES = [
    ("the account", [allow({"AWS": ACCOUNT})], True),
    ("its root", [allow({"AWS": [f"arn:aws:iam::{ACCOUNT}:root"]})], True),
    ("in the other partition", [allow({"AWS": f"arn:aws-cn:iam::{ACCOUNT}:root"})], True),
    ("another account", [allow({"AWS": OTHER})], False),
    ("a role of it", [allow({"AWS": f"arn:aws:iam::{ACCOUNT}:role/x"})], None),
    ("a service", [allow({"Service": "ec2.amazonaws.com"})], False),
    ("everybody", [allow("*")], True),
    ("its organization", [rules.policy_statement(ORG, None)], True),
    ("its OU", [rules.policy_statement(ORG, UNIT)], True),
    ("another organization", [rules.policy_statement("o-bbbbbbbbbb", None)], False),
    ("an unknown condition", [allow(EVERYBODY, {"StringEquals": {"aws:SourceVpc": "v"}})], None),
    ("an unknown operator", [allow(EVERYBODY, {"IpAddress": {"aws:SourceIp": "::/0"}})], None),
    ("a variable", [allow("*", {"StringEquals": {"kms:CallerAccount": "${aws:x}"}})], None),
    ("denied", [allow("*"), allow({"AWS": ACCOUNT}, **DENY)], False),
    ("denied another", [allow("*"), allow({"AWS": OTHER}, **DENY)], True),
    ("denied but for an admin", [allow("*"), allow("*", ONLY_ADMIN, **DENY)], False),
    ("perhaps denied", [allow("*"), allow("*", {"Bool": {"aws:x": "true"}}, **DENY)], None),
    ("of another key", [allow("*", Resource="arn:aws:kms:x")], None),
    ("not resource", [allow("*", NotResource="x")], None),
    ("no effect", [{"Principal": "*", "Action": "*"}], None),
    ("not a statement", ["x"], None),
]  # fmt: skip


@pytest.mark.parametrize(("written", "answer"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_cases(written: list[Any], answer: bool | None) -> None:
    policy = {"Statement": written if len(written) > 1 else written[0]}
    assert ruling(policy, Asker(ACCOUNT, REGION, MEMBER), "kms:Decrypt", KEY).allowed is answer


def test_who_decides_is_named() -> None:
    policy = {"Statement": [allow("*"), allow({"AWS": OTHER}), allow({"AWS": ACCOUNT}, **DENY)]}
    found = ruling(policy, Asker(ACCOUNT, REGION), "kms:Decrypt", KEY)
    assert (found.allows, found.denies) == (("number 1",), ("No",))
    assert ruling(None, Asker(ACCOUNT, REGION), "kms:Decrypt", KEY).allowed is None


def test_conditions_on_an_unknown_organization() -> None:
    policy = {"Statement": rules.policy_statement(ORG, UNIT)}
    answers = [
        ruling(policy, Asker(ACCOUNT, REGION, m), "kms:Decrypt", KEY).allowed
        for m in (None, Membership(outside=ORG), Membership(outside="o-cccccccccc"))
    ]
    assert answers == [None, False, None]


def test_the_other_conditions_of_a_grant_count_for_create_grant_alone() -> None:
    condition = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    policy = {"Statement": allow({"AWS": ACCOUNT}, condition)}
    asker = Asker(ACCOUNT, REGION)
    assert ruling(policy, asker, "kms:CreateGrant", KEY).allowed is True
    assert ruling(policy, asker, "kms:Decrypt", KEY).allowed is None


def test_membership() -> None:
    arn = f"arn:aws:organizations::{OWNER}:"
    organization, unit = f"{arn}organization/{ORG}", f"{arn}ou/{ORG}/{UNIT}"
    assert within(MEMBER, organization) is within(MEMBER, unit) is True
    assert within(Membership(ORG, (ROOT,)), unit) is False
    assert within(MEMBER, f"{arn}organization/o-bbbbbbbbbb") is False
    assert within(None, organization) is None
    assert within(Membership(outside=ORG), unit) is False
    assert within(Membership(outside="o-cccccccccc"), unit) is None
