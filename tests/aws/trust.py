"""Roles in the sandbox's accounts, with trust policies, and access files that lead to them."""

import json
from typing import Any

from gilder.sandbox.aws.server import DEFAULT_ACCOUNT, SandboxAws

PROD = "222222222222"
HUB = "333333333333"


def make_role(
    aws: SandboxAws,
    account: str,
    name: str = "gilder",
    *,
    trusts: str = f"arn:aws:iam::{DEFAULT_ACCOUNT}:root",
    external_id: str | None = None,
    seconds: int = 3600,
) -> str:
    """A role that `trusts` may assume and tag; its ARN."""
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Principal": {"AWS": trusts},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    }
    if external_id:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    trust = {"Version": "2012-10-17", "Statement": [statement]}
    made = aws.client("iam", "us-east-1", account).create_role(
        RoleName=name,
        AssumeRolePolicyDocument=json.dumps(trust),
        MaxSessionDuration=max(3600, seconds),
    )
    return str(made["Role"]["Arn"])
