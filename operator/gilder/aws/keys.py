"""KMS keys, their policies and their grants."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from gilder.aws import errors
from gilder.aws.permissions import needs
from gilder.core.observed import Grant, Key, Problem

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient

PAGE = 100  # Limit of ListGrants, 100 at most


@needs("kms:DescribeKey")
def describe(kms: "KMSClient", written: str, region: str) -> Key | Problem:
    """The key that an id, alias or ARN names, or why it cannot be used."""
    try:
        found = kms.describe_key(KeyId=written)["KeyMetadata"]
    except ClientError as error:
        if errors.code(error) in ("NotFoundException", "InvalidArnException"):
            return Problem(
                "KeyNotFound",
                f"no KMS key {written} in {region}. Create it there or correct the field",
                region=region,
            )
        raise
    arn = found["Arn"]
    return Key(
        arn=arn,
        region=arn.split(":")[3],
        aws_managed=found.get("KeyManager") == "AWS",
        state=found.get("KeyState", "Enabled"),
    )


@needs("kms:GetKeyPolicy")
def policy(kms: "KMSClient", arn: str) -> dict[str, Any] | None:
    """The parsed key policy; None where it is not JSON."""
    try:
        parsed = json.loads(policy_text(kms, arn))
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


@needs("kms:GetKeyPolicy")
def policy_text(kms: "KMSClient", arn: str) -> str:
    """The key policy to the letter, to be changed in part and put back."""
    return kms.get_key_policy(KeyId=arn, PolicyName="default")["Policy"]


@needs("kms:PutKeyPolicy")
def put_policy(kms: "KMSClient", arn: str, text: str) -> None:
    """Replace the whole key policy, never past the check that we may change it again.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_PutKeyPolicy.html
    """
    kms.put_key_policy(
        KeyId=arn, PolicyName="default", Policy=text, BypassPolicyLockoutSafetyCheck=False
    )


@needs("kms:ListGrants")
def grants(kms: "KMSClient", arn: str) -> tuple[Grant, ...]:
    """All grants of a key, ours and others'."""
    pages = kms.get_paginator("list_grants").paginate(
        KeyId=arn, PaginationConfig={"PageSize": PAGE}
    )
    return tuple(
        Grant(
            id=raw["GrantId"],
            key=arn,
            name=raw.get("Name", ""),
            principal=raw.get("GranteePrincipal", ""),
            operations=frozenset(raw.get("Operations", [])),
            constrained=bool(raw.get("Constraints")),
        )
        for page in pages
        for raw in page["Grants"]
    )


@needs("kms:CreateGrant")
def create_grant(
    kms: "KMSClient", *, key: str, principal: str, operations: Sequence[str], name: str
) -> str:
    """Create a grant; the same name with the same parameters gives the same grant."""
    made = kms.create_grant(
        KeyId=key,
        GranteePrincipal=principal,
        Operations=list(operations),  # type: ignore[arg-type]
        Name=name,
    )
    return made["GrantId"]


@needs("kms:RevokeGrant")
def revoke_grant(kms: "KMSClient", key: str, grant: str) -> None:
    """Revoke a grant; one that is gone already is no error."""
    try:
        kms.revoke_grant(KeyId=key, GrantId=grant)
    except ClientError as error:
        if errors.code(error) not in ("NotFoundException", "InvalidGrantIdException"):
            raise
