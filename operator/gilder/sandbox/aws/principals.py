"""Roles that policies and grants name: whether they exist, and the unique id behind an ARN."""

import re
from typing import Any

from moto.iam.models import iam_backends

from gilder.sandbox.aws.assumed import PARTITION

_ROLE = re.compile(r"arn:aws[\w-]*:iam::(\d{12}):role/(?:.+/)?[\w+=,.@-]{1,64}")
_SERVICE_LINKED = ":role/aws-service-role/"
# Organizations makes it in every account that it creates.
_GIVEN = "OrganizationAccountAccessRole"


def role_account(arn: str) -> str | None:
    """The account of a role's ARN, or None for anything else."""
    match = _ROLE.fullmatch(arn)
    return match[1] if match else None


def _roles(account: str) -> list[Any]:
    return list(iam_backends[account][PARTITION].roles.values())


def find_role(arn: str) -> Any | None:
    """The role of an ARN, of whatever account."""
    account = role_account(arn)
    if account is None:
        return None
    return next((r for r in _roles(account) if r.arn == arn), None)


def role_id(arn: str) -> str | None:
    role = find_role(arn)
    return None if role is None else str(role.id)


def role_missing(arn: str) -> bool:
    """Whether a role does not exist in an account whose roles the sandbox knows.

    Tests that make no role in an account may name any. Service-linked roles are always there.
    """
    account = role_account(arn)
    if account is None or _SERVICE_LINKED in arn:
        return False
    roles = _roles(account)
    known = any(r.name != _GIVEN for r in roles)
    return known and all(r.arn != arn for r in roles)


def role_gone(arn: str, unique_id: str | None) -> bool:
    """Whether the role that was meant is not there any more, though one of its name may be."""
    return unique_id is not None and role_id(arn) != unique_id
