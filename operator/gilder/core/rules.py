"""AWS's rules about AMIs as pure checks: each answers with the Problem it finds, or None."""

from collections.abc import Mapping
from typing import Any

from gilder.core.observed import Image, Instance, Key, Problem

INSTANCE_STORE = "InstanceStoreUnsupported"
PRODUCT_CODE = "ProductCodeRestricted"
DEFAULT_KEY = "DefaultKeyNotShareable"
KEY_REQUIRED = "KeyRequired"
KEY_POLICY = "KeyPolicyRequired"
PUBLIC_REFUSED = "PublicRefused"

# Operations that a key policy must allow an organization for launching:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/allow-org-ou-to-use-key.html
POLICY_ACTIONS = (
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)


def instance_store_image(image: Image) -> Problem | None:
    """AMIs without an EBS root can be neither encrypted nor copied with a key.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/RootDeviceStorage.html
    """
    if image.root_device_type == "ebs":
        return None
    return Problem(
        INSTANCE_STORE,
        f"spec.source.image: {image.id} has root device type {image.root_device_type}; only "
        "EBS-backed AMIs can be encrypted by copy and kept as golden images. Choose an AMI with "
        "root-device-type=ebs",
        region=image.region,
    )


def instance_store_instance(instance: Instance, region: str) -> Problem | None:
    """CreateImage is refused for an instance whose root is an instance store volume."""
    if instance.root_device_type == "ebs":
        return None
    return Problem(
        INSTANCE_STORE,
        f"spec.source.instance: {instance.id} has root device type {instance.root_device_type}; "
        "CreateImage needs an EBS root volume, and such an instance cannot be stopped and started. "
        "Launch it from an EBS-backed AMI",
        region=region,
    )


def product_code_copy(image: Image) -> Problem | None:
    """Copying an AMI with a billing or Marketplace product code may be refused.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/CopyingAMIs.html
    """
    if not image.product_codes:
        return None
    return Problem(
        PRODUCT_CODE,
        f"spec.source.image: {image.id} has product code {', '.join(image.product_codes)}; AMIs "
        "with product codes cannot be copied or re-encrypted freely. Choose an AMI without one, or "
        "adopt it in place without encryption and replicas",
        region=image.region,
    )


def product_code_share(image: Image) -> Problem | None:
    """AMIs with product codes cannot be shared or made public."""
    if not image.product_codes:
        return None
    return Problem(
        PRODUCT_CODE,
        f"{image.id} in {image.region} has product code {', '.join(image.product_codes)}; such "
        "AMIs cannot be shared. Consumers subscribe to the product and use its own AMI",
        region=image.region,
    )


def default_key(image: Image, keys: Mapping[str, Key]) -> Problem | None:
    """Snapshots encrypted with the AWS managed key aws/ebs cannot be shared.

    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-modifying-snapshot-permissions.html
    """
    managed = sorted(k for k in image.kms_keys if k in keys and keys[k].aws_managed)
    if not managed:
        return None
    return Problem(
        DEFAULT_KEY,
        f"{image.id} in {image.region} is encrypted with the AWS managed key aws/ebs "
        f"({managed[0]}), which cannot be shared. Copy it with a customer-managed key: set "
        "spec.encryption.kmsKeyId (or the replica's kmsKeyId) of its GoldenImage",
        region=image.region,
    )


def public(image: Image, blocked: bool) -> Problem | None:
    """An encrypted AMI is never public, nor any while block public access is on."""
    if image.encrypted:
        return Problem(
            PUBLIC_REFUSED,
            f"spec.public: {image.id} in {image.region} is encrypted; encrypted AMIs cannot be "
            "public. Remove public and confirmPublic",
            region=image.region,
        )
    if blocked:
        return Problem(
            PUBLIC_REFUSED,
            f"spec.public: block public access for AMIs is on in {image.region}. Remove public, "
            "or turn it off there (DisableImageBlockPublicAccess)",
            region=image.region,
        )
    return None


def key_usable(written: str, found: Key | Problem | None, field: str, region: str) -> Problem | Key:
    """The key a field names, when it exists in the Region and is enabled."""
    # KMS does not find the ARN of another Region, so the ARN itself has to tell.
    there = written.split(":")[3] if written.startswith("arn:") else region
    if isinstance(found, Key):
        there = found.region
    if there != region:
        return Problem(
            "KeyNotUsable",
            f"{field}: {written} is a key of {there}, but AMIs of {region} need one of {region}. "
            "Name a key of that Region",
            region=region,
        )
    if isinstance(found, Problem):
        return Problem(found.reason, f"{field}: {found.message}", found.permanent, region)
    if found is None:
        return Problem(
            "KeyNotFound",
            f"{field}: no KMS key {written} in {region}. Create it there or correct the field",
            region=region,
        )
    if found.aws_managed:
        return Problem(
            DEFAULT_KEY,
            f"{field}: {written} is an AWS managed key ({found.arn}); AMIs encrypted with it can "
            "never be shared. Name a customer-managed key",
            region=region,
        )
    if found.state != "Enabled":
        return Problem(
            "KeyNotUsable",
            f"{field}: KMS key {found.arn} is {found.state}. Enable it or name another key",
            region=region,
        )
    return found


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _allowed(statement: Mapping[str, Any]) -> set[str]:
    """The subset of POLICY_ACTIONS that a statement's Action element covers."""
    out: set[str] = set()
    for pattern in _as_list(statement.get("Action")):
        text = str(pattern)
        if text in ("*", "kms:*"):
            return set(POLICY_ACTIONS)
        prefix = text.removesuffix("*")
        for action in POLICY_ACTIONS:
            same = action.lower() == text.lower()
            if same or (text.endswith("*") and action.lower().startswith(prefix.lower())):
                out.add(action)
    return out


def _conditions(statement: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    return [
        (str(op), str(key).lower(), [str(v) for v in _as_list(values)])
        for op, keys in (statement.get("Condition") or {}).items()
        for key, values in keys.items()
    ]


def _reaches(statement: Mapping[str, Any], organization: str, unit: str | None) -> bool:
    """Whether the statement's conditions let every member of the organization or OU through.

    Only the forms that AWS documents for this purpose are understood; any other condition counts
    as a restriction, so that the answer errs on the closed side.
    """
    conditions = _conditions(statement)
    if not conditions:
        return False  # Principal "*" without a condition: open to the world, not our word for it
    for op, key, values in conditions:
        plain = op.removeprefix("ForAnyValue:").removeprefix("ForAllValues:")
        if key == "aws:principalorgid" and plain in ("StringEquals", "StringLike"):
            if organization not in values:
                return False
        elif key == "aws:principalorgpaths" and plain == "StringLike":
            if not any(_path_covers(v, organization, unit) for v in values):
                return False
        else:
            return False
    return True


def _path_covers(pattern: str, organization: str, unit: str | None) -> bool:
    """Whether a pattern of aws:PrincipalOrgPaths holds every account at and below the OU.

    The path of an account ends in its OU and a slash, so only `<...>/<unit>/*` holds them all.
    """
    first, *path = pattern.split("/")
    if first != organization or path[-1:] != ["*"]:
        return False
    above = path[:-1]
    if not above or (len(above) == 1 and above[0].startswith("r-")):
        return True  # everything, or everything below the root
    return unit is not None and above[-1] == unit


def policy_allows(policy: Mapping[str, Any] | None, organization: str, unit: str | None) -> bool:
    """Whether a key policy lets an organization (or one OU of it) use the key for launching.

    `organization` is the id (`o-...`), `unit` the OU id (`ou-...`) or None for the whole.
    Deny statements are not evaluated: one that bites shows at launch, not here.
    """
    if policy is None:
        return False
    allowed: set[str] = set()
    for statement in _as_list(policy.get("Statement")):
        if not isinstance(statement, Mapping) or statement.get("Effect") != "Allow":
            continue
        principal = statement.get("Principal")
        everyone = principal == "*" or (
            isinstance(principal, Mapping) and "*" in _as_list(principal.get("AWS"))
        )
        if everyone and _reaches(statement, organization, unit):
            allowed |= _allowed(statement)
    return allowed >= set(POLICY_ACTIONS)


def operator_statement(account: str, key: str) -> dict[str, Any]:
    """The key-policy statement with which IAM policies of an account can let the operator give
    grants. https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html"""
    partition = key.split(":")[1]
    return {
        "Sid": "AllowGrantsByGilder",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"},
        "Action": ["kms:CreateGrant", "kms:DescribeKey", "kms:ListGrants", "kms:RevokeGrant"],
        "Resource": "*",
    }


def policy_statement(organization: str, unit: str | None) -> dict[str, Any]:
    """The key-policy statement that gives an organization or OU what launching needs."""
    if unit is None:
        condition: dict[str, Any] = {"StringEquals": {"aws:PrincipalOrgID": organization}}
    else:
        condition = {
            "ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": f"{organization}/*/{unit}/*"}
        }
    return {
        # Alphanumeric, and of its own: a Sid may not occur twice in a policy.
        "Sid": "AllowLaunchFromSharedAMIs" + "".join(filter(str.isalnum, unit or organization)),
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": list(POLICY_ACTIONS),
        "Resource": "*",
        "Condition": condition,
    }
