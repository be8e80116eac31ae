"""AWS Organizations: the accounts of an organization or OU, and where an account stands.

Only the management account and accounts that it delegated this to may ask:
https://docs.aws.amazon.com/organizations/latest/userguide/orgs_delegate_policies.html
"""

from typing import Any

from botocore.exceptions import ClientError

from gilder.aws import errors
from gilder.aws.errors import OrganizationError
from gilder.aws.permissions import needs

# How deep OUs may be nested is five; more would be a circle.
# https://docs.aws.amazon.com/organizations/latest/userguide/orgs_reference_limits.html
DEEPEST = 10
NO_MEMBER = frozenset({"ChildNotFoundException", "AccountNotFoundException"})


@needs(
    "organizations:DescribeOrganization",
    "organizations:ListAccounts",
    "organizations:ListAccountsForParent",
    "organizations:ListOrganizationalUnitsForParent",
)
def expand(client: Any, arn: str) -> frozenset[str]:
    """Ids of all active accounts of an organization, or of an OU and the OUs below it, by its ARN.

    Raises OrganizationError when the ARN is of another organization than the credentials.
    """
    kind, *ids = arn.rpartition(":")[2].split("/")
    organization = _organization(client)
    if ids[0] != organization:
        raise OrganizationError(ids[0], organization)
    if kind == "organization":
        pages = client.get_paginator("list_accounts").paginate()
        return frozenset(a["Id"] for page in pages for a in page["Accounts"] if _active(a))
    found: set[str] = set()
    parents = [ids[-1]]
    while parents:
        parent = parents.pop()
        for page in client.get_paginator("list_accounts_for_parent").paginate(ParentId=parent):
            found |= {a["Id"] for a in page["Accounts"] if _active(a)}
        below = client.get_paginator("list_organizational_units_for_parent")
        for page in below.paginate(ParentId=parent):
            parents += [unit["Id"] for unit in page["OrganizationalUnits"]]
    return frozenset(found)


@needs("organizations:DescribeOrganization", "organizations:ListParents")
def path_of(client: Any, account: str) -> tuple[str, ...] | None:
    """Ids of organization, root and OUs above an account, from the top; None when not a member."""
    path: list[str] = []
    child = account
    while not child.startswith("r-") and len(path) < DEEPEST:
        try:
            parents = client.list_parents(ChildId=child)["Parents"]
        except ClientError as error:
            if child == account and errors.code(error) in NO_MEMBER:
                return None
            raise
        if not parents:
            return None
        child = parents[0]["Id"]
        path.insert(0, child)
    return (_organization(client), *path)


def _organization(client: Any) -> str:
    return str(client.describe_organization()["Organization"]["Id"])


def _active(account: dict[str, Any]) -> bool:
    """State has taken the place of Status.

    https://docs.aws.amazon.com/organizations/latest/APIReference/API_Account.html
    """
    return (account.get("State") or account.get("Status")) == "ACTIVE"
