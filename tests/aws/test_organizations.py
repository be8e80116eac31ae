"""Accounts of organizations and OUs, against the local AWS over HTTP."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from gilder.aws import errors, organizations
from gilder.aws.errors import OrganizationError
from gilder.aws.sessions import Sessions
from gilder.sandbox.aws.seed import Seeded
from gilder.sandbox.aws.server import SandboxAws


def nested(aws: SandboxAws, seeded: Seeded, account: str) -> str:
    """An OU below the seeded one, with an account in it."""
    client = aws.client("organizations", "us-east-1")
    unit: str = client.create_organizational_unit(ParentId=seeded.unit_id, Name="deep")[
        "OrganizationalUnit"
    ]["Id"]
    (parent,) = client.list_parents(ChildId=account)["Parents"]
    client.move_account(AccountId=account, SourceParentId=parent["Id"], DestinationParentId=unit)
    return unit


def test_an_organization_has_all_its_accounts(sessions: Sessions, seeded: Seeded) -> None:
    found = organizations.expand(sessions.organizations(), seeded.organization_arn)
    assert found == {seeded.account, *seeded.members}


def test_an_ou_has_the_accounts_of_the_ous_below_it(
    aws: SandboxAws, sessions: Sessions, seeded: Seeded
) -> None:
    client = sessions.organizations()
    assert organizations.expand(client, seeded.unit_arn) == set(seeded.members[:2])
    deep = nested(aws, seeded, seeded.members[2])
    assert organizations.expand(client, seeded.unit_arn) == set(seeded.members)
    below = seeded.unit_arn.replace(seeded.unit_id, deep)
    assert organizations.expand(client, below) == {seeded.members[2]}


def test_an_account_stands_below_its_organization_root_and_ous(
    aws: SandboxAws, sessions: Sessions, seeded: Seeded
) -> None:
    client = sessions.organizations()
    root = (seeded.organization_id, seeded.root_id)
    assert organizations.path_of(client, seeded.members[2]) == root
    assert organizations.path_of(client, seeded.members[0]) == (*root, seeded.unit_id)
    deep = nested(aws, seeded, seeded.members[0])
    assert organizations.path_of(client, seeded.members[0]) == (*root, seeded.unit_id, deep)
    assert organizations.path_of(client, "999999999999") is None


def test_another_organization_is_not_taken_for_the_own_one(
    sessions: Sessions, seeded: Seeded
) -> None:
    for arn in (seeded.organization_arn, seeded.unit_arn):
        other = arn.replace(seeded.organization_id, "o-another0001")
        with pytest.raises(OrganizationError) as caught:
            organizations.expand(sessions.organizations(), other)
        problem = errors.problem(caught.value, f"expanding {other}")
        assert (problem.reason, problem.permanent) == ("OrganizationNotReadable", True)
        assert seeded.organization_id in problem.message


def test_an_ou_that_is_gone_is_an_error_and_not_empty(sessions: Sessions, seeded: Seeded) -> None:
    gone = seeded.unit_arn.replace(seeded.unit_id, "ou-zzzz-zzzzzzzz")
    with pytest.raises(ClientError):
        organizations.expand(sessions.organizations(), gone)


class Pages:
    """An organization of two pages, with accounts in all states."""

    PAGES = (
        [{"Id": "1", "Status": "ACTIVE"}, {"Id": "2", "Status": "SUSPENDED"}],
        [
            {"Id": "3", "Status": "ACTIVE", "State": "PENDING_CLOSURE"},
            {"Id": "4", "State": "ACTIVE"},
        ],
    )

    def describe_organization(self) -> Any:
        return {"Organization": {"Id": "o-1"}}

    def get_paginator(self, name: str) -> Any:
        assert name == "list_accounts"
        return self

    def paginate(self) -> Any:
        return [{"Accounts": page} for page in self.PAGES]


def test_only_active_accounts_count() -> None:
    arn = "arn:aws:organizations::111111111111:organization/o-1"
    assert organizations.expand(Pages(), arn) == {"1", "4"}
