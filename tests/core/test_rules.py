"""AWS's rules as tables; above all what a key policy lets in."""

from collections.abc import Mapping
from typing import Any

import pytest
from planworld import HOME, HOME_KEY, ORG_ID, OU_ID, image, key, reasons

from gilder.core import rules
from gilder.core.observed import Instance, Key, Problem
from gilder.core.rules import POLICY_ACTIONS, policy_allows, policy_statement

OTHER_ORG, OTHER_OU = "o-zzzzzzzzzz", "ou-abcd-99999999"
BY_ORG = {"StringEquals": {"aws:PrincipalOrgID": ORG_ID}}


def by_path(*patterns: str, op: str = "ForAnyValue:StringLike") -> dict[str, Any]:
    return {op: {"aws:PrincipalOrgPaths": list(patterns)}}


def statement(condition: Mapping[str, Any] | None = BY_ORG, **changes: Any) -> dict[str, Any]:
    base = {
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": list(POLICY_ACTIONS),
        "Resource": "*",
        **({"Condition": condition} if condition else {}),
    }
    return {**base, **changes}


HALF, REST = list(POLICY_ACTIONS[:3]), list(POLICY_ACTIONS[3:])


@pytest.mark.parametrize(
    ("name", "statements", "organization", "unit"),
    [
        ("no statement", [], False, False),
        ("organization", [statement()], True, True),
        ("organization, one of several", [statement(
            {"StringEquals": {"aws:PrincipalOrgID": [OTHER_ORG, ORG_ID]}})], True, True),
        ("organization by StringLike", [statement(
            {"StringLike": {"aws:PrincipalOrgID": ORG_ID}})], True, True),
        ("condition keys know no case", [statement(
            {"StringEquals": {"AWS:principalorgid": ORG_ID}})], True, True),
        ("another organization", [statement(
            {"StringEquals": {"aws:PrincipalOrgID": OTHER_ORG}})], False, False),
        ("not this organization", [statement(
            {"StringNotEquals": {"aws:PrincipalOrgID": ORG_ID}})], False, False),
        ("path of all", [statement(by_path(f"{ORG_ID}/*"))], True, True),
        ("path of the root", [statement(by_path(f"{ORG_ID}/r-ab12/*"))], True, True),
        ("path of another's all", [statement(by_path(f"{OTHER_ORG}/*"))], False, False),
        ("path of the OU", [statement(by_path(f"{ORG_ID}/r-ab12/{OU_ID}/*"))], False, True),
        ("path of the OU, any parent", [statement(by_path(f"{ORG_ID}/*/{OU_ID}/*"))], False, True),
        ("path of another OU", [statement(by_path(f"{ORG_ID}/*/{OTHER_OU}/*"))], False, False),
        ("path below the OU", [statement(
            by_path(f"{ORG_ID}/*/{OU_ID}/{OTHER_OU}/*"))], False, False),
        ("path below the OU, any", [statement(
            by_path(f"{ORG_ID}/*/{OU_ID}/ou-*"))], False, False),
        ("path of the OU's own accounts only", [statement(
            by_path(f"{ORG_ID}/r-ab12/{OU_ID}/"))], False, False),
        ("a wildcard that StringEquals does not know", [statement(
            by_path(f"{ORG_ID}/*", op="ForAnyValue:StringEquals"))], False, False),
        ("one path of several", [statement(
            by_path(f"{ORG_ID}/*/{OTHER_OU}/*", f"{ORG_ID}/*/{OU_ID}/*"))], False, True),
        ("no condition at all", [statement(None)], False, False),
        ("a further condition", [statement(
            {**BY_ORG, "Bool": {"aws:MultiFactorAuthPresent": "true"}})], False, False),
        ("both conditions", [statement(
            {**BY_ORG, **by_path(f"{ORG_ID}/*/{OU_ID}/*")})], False, True),
        ("principal *", [statement(Principal="*")], True, True),
        ("principal among others", [statement(Principal={"AWS": ["arn:x", "*"]})], True, True),
        ("one principal", [statement(Principal={"AWS": "arn:aws:iam::1:root"})], False, False),
        ("a service", [statement(Principal={"Service": "*"})], False, False),
        ("deny", [statement(Effect="Deny")], False, False),
        ("kms:*", [statement(Action="kms:*")], True, True),
        ("*", [statement(Action="*")], True, True),
        ("prefixes", [statement(Action=[
            "kms:ReEncrypt*", "kms:De*", "kms:CreateGrant", "kms:GenerateDataKey*"])], True, True),
        ("actions know no case", [statement(
            Action=[a.upper() for a in POLICY_ACTIONS])], True, True),
        ("one action short", [statement(Action=list(POLICY_ACTIONS[1:]))], False, False),
        ("not actions", [{**statement(NotAction="kms:Put*"), "Action": []}], False, False),
        ("in two statements", [statement(Action=HALF), statement(Action=REST)], True, True),
        ("half of it for another", [statement(Action=HALF), statement(
            {"StringEquals": {"aws:PrincipalOrgID": OTHER_ORG}}, Action=REST)], False, False),
        ("not a statement", ["x"], False, False),
    ],
)  # fmt: skip
def test_policy_allows(name: str, statements: list[Any], organization: bool, unit: bool) -> None:
    policy = {"Version": "2012-10-17", "Statement": statements}
    assert policy_allows(policy, ORG_ID, None) is organization, name
    assert policy_allows(policy, ORG_ID, OU_ID) is unit, name


def test_policy_of_one_statement_outside_a_list() -> None:
    assert policy_allows({"Statement": statement()}, ORG_ID, None)


def test_policy_that_was_not_read() -> None:
    assert not policy_allows(None, ORG_ID, None)


@pytest.mark.parametrize("unit", [None, OU_ID])
def test_the_statement_that_is_told_is_enough_and_no_more(unit: str | None) -> None:
    policy = {"Statement": [policy_statement(ORG_ID, unit)]}
    assert policy_allows(policy, ORG_ID, unit)
    assert not policy_allows(policy, OTHER_ORG, None)
    assert not policy_allows(policy, OTHER_ORG, OU_ID)
    if unit:
        assert not policy_allows(policy, ORG_ID, None)
        assert not policy_allows(policy, ORG_ID, OTHER_OU)


def test_statements_for_several_go_into_one_policy() -> None:
    sids = {policy_statement(ORG_ID, u)["Sid"] for u in (None, OU_ID, OTHER_OU)}
    assert len(sids) == 3
    assert all(s.isalnum() for s in sids)


ALIAS = "alias/golden"


@pytest.mark.parametrize(
    ("name", "found", "reason", "said"),
    [
        ("usable", key(HOME_KEY), None, ""),
        ("not there", None, "KeyNotFound", f"no KMS key {ALIAS} in {HOME}"),
        ("of another Region", key(HOME_KEY, region="us-east-1"), "KeyNotUsable", "us-east-1"),
        ("disabled", key(HOME_KEY, state="Disabled"), "KeyNotUsable", "is Disabled"),
        (
            "being deleted",
            key(HOME_KEY, state="PendingDeletion"),
            "KeyNotUsable",
            "is PendingDeletion",
        ),
        ("not readable", Problem("Throttled", "slow", False), "Throttled", "slow"),
    ],
)
def test_key_usable(name: str, found: Key | Problem | None, reason: str | None, said: str) -> None:
    answer = rules.key_usable(ALIAS, found, "spec.x", HOME)
    if reason is None:
        assert answer is found
        return
    assert isinstance(answer, Problem), name
    assert answer.reason == reason
    assert answer.message.startswith("spec.x: ")
    assert said in answer.message
    assert answer.region == HOME
    assert answer.permanent is (reason != "Throttled")


PLAIN = image(1)
ENCRYPTED = image(1, key=HOME_KEY)


@pytest.mark.parametrize(
    ("problem", "want"),
    [
        (rules.instance_store_image(PLAIN), []),
        (rules.instance_store_image(image(1, root_device_type="instance-store")),
         [rules.INSTANCE_STORE]),
        (rules.instance_store_instance(Instance("i-1", "running", "ebs"), HOME), []),
        (rules.instance_store_instance(Instance("i-1", "running", "instance-store"), HOME),
         [rules.INSTANCE_STORE]),
        (rules.product_code_copy(PLAIN), []),
        (rules.product_code_copy(image(1, product_codes=("pc",))), [rules.PRODUCT_CODE]),
        (rules.product_code_share(PLAIN), []),
        (rules.product_code_share(image(1, product_codes=("pc",))), [rules.PRODUCT_CODE]),
        (rules.default_key(PLAIN, {}), []),
        (rules.default_key(ENCRYPTED, {}), []),
        (rules.default_key(ENCRYPTED, {HOME_KEY: key(HOME_KEY)}), []),
        (rules.default_key(ENCRYPTED, {HOME_KEY: key(HOME_KEY, aws_managed=True)}),
         [rules.DEFAULT_KEY]),
        (rules.public(PLAIN, blocked=False), []),
        (rules.public(PLAIN, blocked=True), [rules.PUBLIC_REFUSED]),
        (rules.public(ENCRYPTED, blocked=False), [rules.PUBLIC_REFUSED]),
    ],
)  # fmt: skip
def test_refusals(problem: Problem | None, want: list[str]) -> None:
    found = [problem] if problem else []
    assert reasons(found) == want
    for one in found:
        assert one.permanent
        assert one.region == HOME
