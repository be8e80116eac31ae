"""Changing one statement of a key policy, with nothing of others lost."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gilder.aws import keys
from gilder.core.statements import replaced, same, statements

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient


class PolicyChangedError(Exception):
    """Somebody else changed the key policy in between; nothing of theirs was overwritten, or what
    was written is not there any more."""


def change(
    kms: "KMSClient",
    arn: str,
    name: str,
    statement: Mapping[str, Any] | None,
    before: Mapping[str, Any] | None,
) -> None:
    """Put `statement` in the place of the one with this Sid, or remove that for None.

    KMS has no conditional write, so the policy is read right before and right after. Raises
    PolicyChangedError when our own statement is not `before` at the first reading, or when the
    second shows something else than was written. ClientError as KMS says; the lock-out check of
    KMS is never bypassed.
    """
    text = keys.policy_text(kms, arn)
    policy = json.loads(text)
    if not isinstance(policy, dict):
        raise PolicyChangedError(f"the key policy of {arn} is not a policy document")
    if not same(_named(policy, name), before):
        raise PolicyChangedError(f"statement {name} was changed by somebody else in between")
    wanted = replaced(policy, name, statement)
    if not statements(wanted):
        # A policy without any statement locks everybody out, and KMS refuses it.
        raise PolicyChangedError(f"nothing but statement {name} is left in the key policy")
    keys.put_policy(kms, arn, json.dumps(wanted))
    after = json.loads(keys.policy_text(kms, arn))
    if not same(_named(after, name), statement):
        raise PolicyChangedError(f"statement {name} was overwritten by somebody else")


def _named(policy: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    for one in statements(policy):
        if isinstance(one, Mapping) and one.get("Sid") == name:
            return one
    return None
