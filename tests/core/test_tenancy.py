"""What the access file lets namespaces do, as tables."""

import pytest

from gilder.api.access import AccessFile, load
from gilder.core import tenancy
from gilder.core.observed import NOBODY, Principals

FILE = load("""
accounts: [{id: "111111111111", profile: prod}]
consumers:
- {accounts: ["222222222222"], roles: [{arn: "arn:aws:iam::222222222222:role/special"}]}
- accounts: ["2*", "333333333333"]
  roles:
  - {arn: "arn:aws:iam::999999999999:role/hub"}
  - {arn: "arn:aws:iam::{account}:role/gilder-consumer", externalId: xyz}
namespaces:
- names: [images, "team-*"]
  accounts: [own, "111111111111"]
  consumers: ["2*"]
  keyPolicies: true
  parameterLists: ["/gilder/*"]
  maxPrincipals: 12
  allow: {accounts: ["2*", "3*"], organizations: ["o-good*"], organizationalUnits: ["ou-ab12-*"]}
  deny: {accounts: ["2222*"], organizationalUnits: ["ou-ab12-bad*"]}
- names: ["team-a", public]
  accounts: ["111111111111"]
  public: true
""")
ORG = "arn:aws:organizations::111111111111:organization/o-"
UNIT = "arn:aws:organizations::111111111111:ou/o-good000001/ou-"


def rule(namespace: str, file: AccessFile | None = FILE) -> tenancy.Rule:
    return tenancy.rule_of(file, namespace)


def test_the_first_entry_that_matches_counts() -> None:
    assert rule("team-a").place == "namespaces[0]"
    assert rule("public").place == "namespaces[1]"
    assert rule("Team-a") == tenancy.CLOSED
    assert rule("team") == tenancy.CLOSED


def test_without_a_file_all_is_allowed_but_consumers_and_other_accounts() -> None:
    alone = rule("any", None)
    who = Principals(frozenset({"999999999999"}), frozenset({ORG + "x"}), frozenset({UNIT + "x"}))
    everybody = who | Principals(public=True)
    assert tenancy.judge(alone, everybody, "any") == (everybody, ())
    assert alone.key_policies
    assert alone.plain_images
    assert alone.organization_lists
    assert alone.may_read_parameter("/any/name")
    assert tenancy.may_use_account(alone, None, "any") is None
    assert tenancy.may_use_account(alone, "111111111111", "any") is not None
    assert not tenancy.may_use_consumer(alone, "222222222222")
    assert tenancy.consumer_roles(None, "222222222222") is None


def test_a_namespace_without_an_entry_may_nothing() -> None:
    who = Principals(frozenset({"3" * 12}), frozenset({ORG + "x"}), frozenset({UNIT + "x"}), True)
    left, problems = tenancy.judge(rule("other"), who, "other")
    assert left == NOBODY
    assert [p.reason for p in problems] == ["PrincipalNotAllowed"] * 3 + ["PublicNotAllowed"]
    assert all("namespace other" in p.message for p in problems)
    assert "no entry of namespaces" in problems[0].message
    assert tenancy.may_use_account(rule("other"), None, "other") is not None
    assert not tenancy.may_use_consumer(rule("other"), "222222222222")
    assert not rule("other").may_read_parameter("/gilder/x")


@pytest.mark.parametrize(
    ("declared", "allowed", "field", "ids"),
    [
        (Principals(frozenset({"333333333333"})), True, "", ""),
        (Principals(frozenset({"211111111111"})), True, "", ""),
        (Principals(frozenset({"222200000000"})), False, "spec.accounts", "222200000000"),
        (Principals(frozenset({"400000000000"})), False, "spec.accounts", "400000000000"),
        (Principals(organizations=frozenset({ORG + "good000001"})), True, "", ""),
        (
            Principals(organizations=frozenset({ORG + "evil000001"})),
            False,
            "spec.organizations:",
            "o-evil000001",
        ),
        (Principals(units=frozenset({UNIT + "ab12-good0001"})), True, "", ""),
        (
            Principals(units=frozenset({UNIT + "ab12-bad00001"})),
            False,
            "spec.organizationalUnits:",
            "ou-ab12-bad00001",
        ),
        (
            Principals(units=frozenset({UNIT + "zz99-good0001"})),
            False,
            "spec.organizationalUnits:",
            "ou-zz99-good0001",
        ),
    ],
)
def test_a_principal_is_judged_by_allow_and_deny(
    declared: Principals, allowed: bool, field: str, ids: str
) -> None:
    left, problems = tenancy.judge(rule("images"), declared, "images")
    assert left == (declared if allowed else NOBODY)
    if allowed:
        assert problems == ()
        return
    (problem,) = problems
    assert (problem.reason, problem.permanent) == ("PrincipalNotAllowed", True)
    assert problem.message.startswith(field)
    assert ids in problem.message
    assert "the operator's administrator" in problem.message


def test_what_is_allowed_stays_beside_what_is_refused() -> None:
    many = frozenset({"333333333333", *(f"40000000000{n}" for n in range(7))})
    left, (problem, public) = tenancy.judge(rule("images"), Principals(many, public=True), "images")
    assert left == Principals(frozenset({"333333333333"}))
    assert "400000000004 and 2 more" in problem.message
    assert "400000000005" not in problem.message
    assert public.reason == "PublicNotAllowed"
    assert public.message.startswith("spec.public: ")


def test_public_where_it_is_allowed() -> None:
    everybody = Principals(public=True)
    assert tenancy.judge(rule("public"), everybody, "public") == (everybody, ())


def test_too_many_are_all_refused() -> None:
    twelve = Principals(frozenset(f"3000000000{n:02}" for n in range(12)))
    assert tenancy.judge(rule("images"), twelve, "images") == (twelve, ())
    left, (problem,) = tenancy.judge(rule("images"), twelve | Principals(public=True), "images")
    assert left == NOBODY
    assert (problem.reason, problem.permanent) == ("TooManyPrincipals", True)
    assert "13 principals" in problem.message


def test_accounts_that_may_be_used() -> None:
    assert tenancy.may_use_account(rule("images"), None, "images") is None
    assert tenancy.may_use_account(rule("images"), "111111111111", "images") is None
    problem = tenancy.may_use_account(rule("images"), "999999999999", "images")
    assert problem is not None
    assert (problem.reason, problem.permanent) == ("AccountNotAllowed", True)
    assert "account 999999999999" in problem.message
    own = tenancy.may_use_account(rule("public"), None, "public")
    assert own is not None
    assert "or use spec.account 111111111111" in own.message


def test_consumers_that_may_be_used_and_their_roles() -> None:
    assert tenancy.may_use_consumer(rule("images"), "222222222222")
    assert not tenancy.may_use_consumer(rule("images"), "333333333333")
    assert not tenancy.may_use_consumer(rule("public"), "222222222222")
    special = tenancy.consumer_roles(FILE, "222222222222")
    assert special is not None
    assert [r.arn for r in special] == ["arn:aws:iam::222222222222:role/special"]
    chain = tenancy.consumer_roles(FILE, "333333333333")
    assert chain is not None
    assert [r.arn for r in chain] == [
        "arn:aws:iam::999999999999:role/hub",
        "arn:aws:iam::333333333333:role/gilder-consumer",
    ]
    assert chain[1].external_id == "xyz"
    assert tenancy.consumer_roles(FILE, "444444444444") is None
    assert rule("images").may_read_parameter("/gilder/a/b")
    assert not rule("images").may_read_parameter("/other")
