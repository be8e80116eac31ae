"""The registry of accounts: which Sessions an account has, and which survive another file."""

from collections.abc import Sequence
from typing import Any

import pytest
from trust import HUB, PROD, make_role

from gilder.api.access import AssumedRole, load
from gilder.aws import accounts as registry
from gilder.aws import errors
from gilder.aws.accounts import Accounts
from gilder.aws.sessions import Sessions
from gilder.sandbox.aws.server import DEFAULT_ACCOUNT, SandboxAws

TEXT = f"""
accounts:
- id: "{PROD}"
  roles: [{{arn: "arn:aws:iam::{PROD}:role/gilder"}}]
- id: "{HUB}"
  profile: hub
organizations: {{account: "{PROD}"}}
consumers:
- accounts: ["4*"]
  roles: [{{arn: "arn:aws:iam::{{account}}:role/gilder-consumer"}}]
"""


def make(
    *,
    profile: str | None,
    roles: Sequence[AssumedRole],
    expected: str | None,
    base: Sessions | None,
) -> Sessions:
    return Sessions("eu-west-1", profile=profile, roles=roles, expected=expected, base=base)


class Made:
    """Records what was made, without making it."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []

    def __call__(self, **how: Any) -> Any:
        self.made.append(how)
        return object()


def test_accounts_have_sessions_of_their_own_and_keep_them(aws: SandboxAws) -> None:
    make_role(aws, PROD)
    accounts = Accounts(load(TEXT), make)
    assert accounts.own.account() == DEFAULT_ACCOUNT
    assert accounts.of(PROD).account() == PROD
    assert accounts.of(PROD) is accounts.of(PROD)
    assert accounts.of(DEFAULT_ACCOUNT) is accounts.own
    assert accounts.organizations() is accounts.of(PROD)
    with pytest.raises(errors.UnknownAccountError) as caught:
        accounts.of("999999999999")
    problem = errors.problem(caught.value, "x")
    assert (problem.reason, problem.permanent) == ("AccountNotAllowed", True)


def test_consumers_are_reached_by_their_role(aws: SandboxAws) -> None:
    make_role(aws, "444444444444", "gilder-consumer")
    accounts = Accounts(load(TEXT), make)
    consumer = accounts.consumer("444444444444")
    assert consumer is not None
    assert consumer.account() == "444444444444"
    assert accounts.consumer("444444444444") is consumer
    assert accounts.consumer("555555555555") is None


def test_without_a_file_there_is_the_own_account_alone(aws: SandboxAws) -> None:  # noqa: ARG001
    accounts = Accounts(None, make)
    assert accounts.of(DEFAULT_ACCOUNT) is accounts.own
    assert accounts.organizations() is accounts.own
    assert accounts.consumer("444444444444") is None
    with pytest.raises(errors.UnknownAccountError):
        accounts.of(PROD)


def test_how_sessions_are_made() -> None:
    made = Made()
    accounts = Accounts(load(TEXT), made)
    accounts.of(PROD)
    accounts.of(HUB)
    accounts.consumer("444444444444")
    assert [(m["expected"], m["profile"], m["base"]) for m in made.made] == [
        (None, None, None),
        (PROD, None, accounts.own),
        (HUB, "hub", None),
        ("444444444444", None, accounts.own),
    ]


def test_another_file_keeps_what_did_not_change() -> None:
    accounts = Accounts(load(TEXT), Made())
    own, prod, hub = accounts.own, accounts.of(PROD), accounts.of(HUB)
    consumer = accounts.consumer("444444444444")
    accounts.replace(load(TEXT.replace(f'id: "{HUB}"', f'id: "{HUB}"\n  name: renamed')))
    assert accounts.of(HUB) is hub
    accounts.replace(load(TEXT.replace('role/gilder"', 'role/other"')))
    assert accounts.own is own
    assert accounts.of(HUB) is hub
    assert accounts.of(PROD) is not prod
    assert accounts.consumer("444444444444") is consumer
    accounts.replace(load(TEXT.replace("gilder-consumer", "another")))
    assert accounts.consumer("444444444444") is not consumer
    accounts.replace(load("namespaces: []"))
    assert accounts.consumer("444444444444") is None
    assert accounts.organizations() is own


def test_only_so_many_consumers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "CONSUMERS", 2)
    accounts = Accounts(load(TEXT), Made())
    a, b, c = (f"40000000000{n}" for n in range(3))
    first, second = accounts.consumer(a), accounts.consumer(b)
    assert accounts.consumer(a) is first  # used again, so b is the oldest
    accounts.consumer(c)
    assert accounts.consumer(a) is first
    assert accounts.consumer(b) is not second
