"""Organizations: who may read it, pages, paths, moves and states of accounts."""

import json
from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_key, make_role
from gilder.sandbox.aws.server import SandboxAws

A, B, C, D = "123456789012", "222222222222", "333333333333", "444444444444"
OUTSIDE = "999999999999"


@pytest.fixture
def org(aws: SandboxAws) -> Any:
    client = aws.client("organizations", "us-east-1")
    client.create_organization(FeatureSet="ALL")
    return client


@pytest.fixture
def root(org: Any) -> str:
    root_id: str = org.list_roots()["Roots"][0]["Id"]
    return root_id


def member(aws: SandboxAws, account: str) -> str:
    aws.choose_account_ids(account)
    aws.client("organizations", "us-east-1").create_account(
        AccountName=f"n{account}", Email=f"n{account}@example.com"
    )
    return account


def unit(org: Any, parent: str, name: str) -> dict[str, str]:
    made: dict[str, str] = org.create_organizational_unit(ParentId=parent, Name=name)[
        "OrganizationalUnit"
    ]
    return made


def pages(client: Any, name: str, key: str, **parameters: Any) -> list[str]:
    paginator = client.get_paginator(name)
    return [i["Id"] for page in paginator.paginate(**parameters) for i in page[key]]


def test_what_an_organization_looks_like(aws: SandboxAws, org: Any, root: str) -> None:
    member(aws, B)
    found = org.describe_organization()["Organization"]
    o = found["Id"]
    assert found["Arn"] == f"arn:aws:organizations::{A}:organization/{o}"
    assert found["MasterAccountArn"] == f"arn:aws:organizations::{A}:account/{o}/{A}"
    assert found["MasterAccountId"] == A
    assert org.list_roots()["Roots"][0]["Arn"] == f"arn:aws:organizations::{A}:root/{o}/{root}"
    outer = unit(org, root, "outer")
    assert outer["Arn"] == f"arn:aws:organizations::{A}:ou/{o}/{outer['Id']}"
    inner = unit(org, outer["Id"], "inner")
    org.move_account(AccountId=B, SourceParentId=root, DestinationParentId=inner["Id"])
    described = org.describe_organizational_unit(OrganizationalUnitId=inner["Id"])
    assert described["OrganizationalUnit"] == inner
    assert inner["Path"] == f"{o}/{root}/{outer['Id']}/{inner['Id']}/"
    account = next(a for a in org.list_accounts()["Accounts"] if a["Id"] == B)
    assert account["Arn"] == f"arn:aws:organizations::{A}:account/{o}/{B}"
    assert (account["State"], account["Status"]) == ("ACTIVE", "ACTIVE")
    assert account["Paths"] == [f"{inner['Path']}{B}/"]
    with aws.settings.changed(account_status=False):
        assert "Status" not in org.describe_account(AccountId=B)["Account"]


def test_the_tree_is_read_level_by_level(aws: SandboxAws, org: Any, root: str) -> None:
    for account in (B, C):
        member(aws, account)
    outer = unit(org, root, "outer")["Id"]
    inner = unit(org, outer, "inner")["Id"]
    org.move_account(AccountId=B, SourceParentId=root, DestinationParentId=inner)
    assert pages(org, "list_accounts_for_parent", "Accounts", ParentId=root) == [A, C]
    assert pages(org, "list_accounts_for_parent", "Accounts", ParentId=outer) == []
    assert pages(org, "list_accounts_for_parent", "Accounts", ParentId=inner) == [B]
    units = "list_organizational_units_for_parent"
    assert pages(org, units, "OrganizationalUnits", ParentId=root) == [outer]
    assert pages(org, units, "OrganizationalUnits", ParentId=outer) == [inner]
    assert org.list_parents(ChildId=B)["Parents"] == [{"Id": inner, "Type": "ORGANIZATIONAL_UNIT"}]
    assert org.list_parents(ChildId=outer)["Parents"] == [{"Id": root, "Type": "ROOT"}]
    children = org.list_children(ParentId=outer, ChildType="ORGANIZATIONAL_UNIT")["Children"]
    assert children == [{"Id": inner, "Type": "ORGANIZATIONAL_UNIT"}]
    accounts = org.list_children(ParentId=inner, ChildType="ACCOUNT")["Children"]
    assert accounts == [{"Id": B, "Type": "ACCOUNT"}]


def test_lists_come_in_pages_of_20(aws: SandboxAws, org: Any, root: str, refused: Any) -> None:
    members = [member(aws, f"5{n:011d}") for n in range(44)]
    first = org.list_accounts()
    assert len(first["Accounts"]) == 20
    second = org.list_accounts(NextToken=first["NextToken"])
    third = org.list_accounts(NextToken=second["NextToken"])
    assert len(third["Accounts"]) == 5
    assert "NextToken" not in third
    assert pages(org, "list_accounts", "Accounts") == [A, *members]
    below = pages(org, "list_accounts_for_parent", "Accounts", ParentId=root)
    assert below == [A, *members]
    assert len(org.list_accounts(MaxResults=3)["Accounts"]) == 3
    with refused("InvalidInputException"):
        org.list_accounts(MaxResults=21)
    with refused("InvalidInputException"):
        org.list_accounts(NextToken="nonsense")
    with aws.settings.changed(organizations_empty_page=True):
        assert org.list_accounts()["Accounts"] == []
        assert pages(org, "list_accounts", "Accounts") == [A, *members]


def test_who_may_read(aws: SandboxAws, org: Any, root: str, refused: Any) -> None:
    member(aws, B)
    theirs = aws.client("organizations", "us-east-1", B)
    assert theirs.describe_organization()["Organization"]["MasterAccountId"] == A
    calls: tuple[tuple[str, dict[str, str]], ...] = (
        ("list_roots", {}),
        ("list_accounts", {}),
        ("describe_account", {"AccountId": B}),
        ("list_accounts_for_parent", {"ParentId": root}),
        ("list_organizational_units_for_parent", {"ParentId": root}),
        ("list_parents", {"ChildId": B}),
        ("list_children", {"ParentId": root, "ChildType": "ACCOUNT"}),
        ("create_organizational_unit", {"ParentId": root, "Name": "x"}),
        ("create_account", {"AccountName": "x", "Email": "x@example.com"}),
    )
    for name, parameters in calls:
        with refused("AccessDeniedException", "permissions to access this resource"):
            getattr(theirs, name)(**parameters)
    nobody = aws.client("organizations", "us-east-1", OUTSIDE)
    for name, parameters in (("describe_organization", {}), *calls):
        with refused("AWSOrganizationsNotInUseException"):
            getattr(nobody, name)(**parameters)
    # A delegated administrator reads, and does not change.
    org.register_delegated_administrator(AccountId=B, ServicePrincipal="ssm.amazonaws.com")
    for name, parameters in calls[:-2]:
        assert getattr(theirs, name)(**parameters)
    with refused("AccessDeniedException"):
        theirs.create_organizational_unit(ParentId=root, Name="x")
    # So does a session of a role in the management account.
    session = aws.assume(make_role(aws, A, "reader", trust=[OUTSIDE]), account=OUTSIDE)
    assert pages(aws.client_as(session, "organizations"), "list_accounts", "Accounts") == [A, B]


def test_what_is_not_there(aws: SandboxAws, org: Any, root: str, refused: Any) -> None:
    member(aws, B)
    missing = f"ou-{root[2:]}-00000000"
    for name in ("list_accounts_for_parent", "list_organizational_units_for_parent"):
        with refused("ParentNotFoundException"):
            getattr(org, name)(ParentId=missing)
        with refused("InvalidInputException"):
            getattr(org, name)(ParentId="nonsense")
    with refused("ParentNotFoundException"):
        org.create_organizational_unit(ParentId=missing, Name="x")
    with refused("OrganizationalUnitNotFoundException"):
        org.describe_organizational_unit(OrganizationalUnitId=missing)
    with refused("ChildNotFoundException"):
        org.list_parents(ChildId=C)
    with refused("AccountNotFoundException"):
        org.describe_account(AccountId=C)
    here = unit(org, root, "here")["Id"]
    with refused("DuplicateOrganizationalUnitException"):
        unit(org, root, "here")
    with refused("SourceParentNotFoundException"):
        org.move_account(AccountId=B, SourceParentId=here, DestinationParentId=root)
    with refused("DestinationParentNotFoundException"):
        org.move_account(AccountId=B, SourceParentId=root, DestinationParentId=missing)
    org.move_account(AccountId=B, SourceParentId=root, DestinationParentId=here)
    with refused("OrganizationalUnitNotEmptyException"):
        org.delete_organizational_unit(OrganizationalUnitId=here)
    with refused("DuplicateAccountException"):
        org.move_account(AccountId=B, SourceParentId=here, DestinationParentId=here)


def test_a_move_counts_at_once(
    aws: SandboxAws, org: Any, root: str, ec2: Any, base: str, refused: Any
) -> None:
    member(aws, B)
    outer = unit(org, root, "outer")
    inner = unit(org, outer["Id"], "inner")
    ec2.modify_image_attribute(
        ImageId=base, LaunchPermission={"Add": [{"OrganizationalUnitArn": outer["Arn"]}]}
    )
    kms, key = aws.client("kms"), make_key(aws, "eu-west-1")
    document = json.loads(kms.get_key_policy(KeyId=key)["Policy"])
    paths = {"aws:PrincipalOrgPaths": f"{outer['Path']}*"}
    document["Statement"].append(
        {
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": "kms:DescribeKey",
            "Resource": "*",
            "Condition": {"ForAnyValue:StringLike": paths},
        }
    )
    kms.put_key_policy(KeyId=key, Policy=json.dumps(document))
    theirs, their_keys = aws.client("ec2", account=B), aws.client("kms", account=B)
    with refused("InvalidAMIID.NotFound"):
        theirs.describe_images(ImageIds=[base])
    with refused("AccessDeniedException"):
        their_keys.describe_key(KeyId=key)
    # Below a nested OU the permission of the outer one counts.
    org.move_account(AccountId=B, SourceParentId=root, DestinationParentId=inner["Id"])
    assert theirs.describe_images(ImageIds=[base])["Images"]
    assert their_keys.describe_key(KeyId=key)
    org.move_account(AccountId=B, SourceParentId=inner["Id"], DestinationParentId=root)
    with refused("InvalidAMIID.NotFound"):
        theirs.describe_images(ImageIds=[base])
    with refused("AccessDeniedException"):
        their_keys.describe_key(KeyId=key)


def test_accounts_that_are_suspended_or_closed(aws: SandboxAws, org: Any, refused: Any) -> None:
    for account in (B, C, D):
        member(aws, account)
    role = make_role(aws, C, "reader", trust=[A])
    org.close_account(AccountId=B)
    aws.set_account_state(C, "SUSPENDED")
    aws.set_account_state(D, "PENDING_CLOSURE")
    listed = {a["Id"]: (a["State"], a["Status"]) for a in org.list_accounts()["Accounts"]}
    assert listed == {
        A: ("ACTIVE", "ACTIVE"),
        B: ("CLOSED", "SUSPENDED"),
        C: ("SUSPENDED", "SUSPENDED"),
        D: ("PENDING_CLOSURE", "PENDING_CLOSURE"),
    }
    with refused("AccountAlreadyClosedException"):
        org.close_account(AccountId=B)
    with refused("AccessDenied"):
        aws.assume(role)
    aws.set_account_state(C, "ACTIVE")
    assert aws.assume(role)
