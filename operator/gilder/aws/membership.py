"""Which organization an account is in, as AWS Organizations tells those who may ask."""

from typing import Any

from gilder.aws import errors
from gilder.aws.permissions import needs
from gilder.core.membership import Membership

DEPTH = 8  # OUs nest five levels deep below the root


@needs("organizations:DescribeOrganization", "organizations:ListParents")
def membership(client: Any, account: str) -> Membership | None:
    """The organization of an account and its place there; None where that may not be asked.

    Only the management account and delegated administrators may call ListParents:
    https://docs.aws.amazon.com/organizations/latest/APIReference/API_ListParents.html
    """
    try:
        organization = str(client.describe_organization()["Organization"]["Id"])
    except errors.AWS_ERRORS:
        return None  # not allowed, or these credentials are of no organization
    path: list[str] = []
    child = account
    while len(path) < DEPTH and not child.startswith("r-"):
        try:
            parents = client.list_parents(ChildId=child)["Parents"]
        except errors.AWS_ERRORS as error:
            if errors.code(error) in ("ChildNotFoundException", "AccountNotFoundException"):
                return Membership(outside=organization)
            return None
        if not parents:
            return None
        child = str(parents[0]["Id"])
        path.insert(0, child)
    return Membership(organization, tuple(path))
