"""Launch permissions and the other image attributes: modify, describe, reset."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.keys import aws_managed
from gilder.sandbox.aws.model import Image, find_snapshot, need_owned, unavailable
from gilder.sandbox.aws.public_access import public_access_blocked
from gilder.sandbox.aws.registering import check_description
from gilder.sandbox.aws.registry import Call, ec2

_ORGANIZATION = re.compile(r"arn:aws[\w-]*:organizations::\d{12}:organization/o-[a-z0-9]{10,32}")
_UNIT = re.compile(
    r"arn:aws[\w-]*:organizations::\d{12}:ou/o-[a-z0-9]{10,32}/ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}"
)
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-quotas.html
_SHARING_LIMIT = 1000
EVERYBODY = {"Group": "all"}
_VALID: dict[str, Callable[[str], bool]] = {
    "UserId": lambda v: len(v) == 12 and v.isdigit(),
    "Group": lambda v: v == "all",
    "OrganizationArn": lambda v: bool(_ORGANIZATION.fullmatch(v)),
    "OrganizationalUnitArn": lambda v: bool(_UNIT.fullmatch(v)),
}
_FLAT = {
    "UserIds": "UserId",
    "UserGroups": "Group",
    "OrganizationArns": "OrganizationArn",
    "OrganizationalUnitArns": "OrganizationalUnitArn",
}


def _changes(call: Call) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """What to add and remove, from both forms of the request, every value of them."""
    both = call.get("LaunchPermission") or {}
    added = [dict(p) for p in both.get("Add", [])]
    removed = [dict(p) for p in both.get("Remove", [])]
    flat = [{key: v} for name, key in _FLAT.items() for v in call.get(name, [])]
    operation = call.get("OperationType")
    if flat and operation not in ("add", "remove"):
        raise AwsError("MissingParameter", "The request must contain the parameter operationType")
    (removed if operation == "remove" else added).extend(flat)
    for permission in added + removed:
        if len(permission) != 1:
            raise AwsError(
                "InvalidParameterCombination",
                "A launch permission names one of UserId, Group, OrganizationArn and "
                "OrganizationalUnitArn",
            )
        for key, value in permission.items():
            if not _VALID[key](value):
                item = key[0].lower() + key[1:]
                raise AwsError(
                    "InvalidAMIAttributeItemValue",
                    f'Invalid attribute item value "{value}" for {item} item type.',
                )
    return added, removed


def _check_shareable(call: Call, image: Image, added: list[dict[str, str]]) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/sharingamis-explicit.html"""
    if image.product_codes:
        raise AwsError(
            "InvalidParameterValue",
            f"The image {image.id} has product codes; its launch permissions cannot be modified",
        )
    snapshots = [find_snapshot(s, image.region) for s in image.snapshots]
    if EVERYBODY in added:
        if public_access_blocked(call.account, call.region):
            raise AwsError(
                "OperationNotPermitted",
                "You can't publicly share this image because block public access for AMIs is "
                "enabled for this account. To publicly share the image, you must call the "
                "DisableImageBlockPublicAccess API.",
            )
        if any(s is not None and s.encrypted for s in snapshots):
            raise AwsError(
                "UnsupportedOperation",
                "Encrypted snapshots can't be shared publicly. Specify another snapshot.",
            )
    if any(s is not None and s.encrypted and aws_managed(s.kms_key_id) for s in snapshots):
        raise AwsError(
            "InvalidParameter",
            "Snapshots encrypted with the AWS Managed CMK can't be shared. "
            "Specify another snapshot.",
        )


def _modify_permissions(call: Call, image: Image) -> None:
    added, removed = _changes(call)
    if not added and not removed:
        raise AwsError(
            "MissingParameter", "The request must contain the parameter LaunchPermission"
        )
    if image.state != "available":
        raise unavailable(image.id)
    if added:
        _check_shareable(call, image, added)
    result = list(image.launch_permissions)
    result.extend(p for i, p in enumerate(added) if p not in result and p not in added[:i])
    result = [p for p in result if p not in removed]
    if len(result) > _SHARING_LIMIT and len(result) > len(image.launch_permissions):
        raise AwsError(
            "ResourceLimitExceeded",
            f"An AMI can be shared with at most {_SHARING_LIMIT} entities in a Region.",
        )
    call.dry_run()
    image.launch_permissions = result


@ec2
def modify_image_attribute(call: Call) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyImageAttribute.html"""
    image = need_owned(call)
    attribute, value = call.get("Attribute"), call.get("Value")
    description, imds = call.get("Description"), call.get("ImdsSupport")
    if isinstance(description, Mapping):
        description = description.get("Value")
    if isinstance(imds, Mapping):
        imds = imds.get("Value")
    if attribute == "description":
        description = value if description is None else description
    if attribute == "imdsSupport":
        imds = value if imds is None else imds
    if description is not None:
        if image.state != "available":
            raise unavailable(image.id)
        check_description(description)
        call.dry_run()
        image.description = description
        return
    if imds is not None:
        if imds != "v2.0":
            raise AwsError(
                "InvalidParameterValue", f"Value ({imds}) for parameter imdsSupport is invalid."
            )
        if image.state != "available":
            raise unavailable(image.id)
        call.dry_run()
        image.imds_support = imds
        return
    if attribute not in (None, "launchPermission"):
        raise AwsError(
            "InvalidParameterCombination", f"The attribute {attribute} cannot be modified"
        )
    _modify_permissions(call, image)


@ec2
def reset_image_attribute(call: Call) -> None:
    image = need_owned(call)
    if call.get("Attribute") != "launchPermission":
        raise AwsError(
            "InvalidParameterValue",
            f"Value ({call.get('Attribute')}) for parameter attribute is invalid.",
        )
    if image.state != "available":
        raise unavailable(image.id)
    call.dry_run()
    image.launch_permissions = []


@ec2
def describe_image_attribute(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeImageAttribute.html"""
    image = need_owned(call)
    attribute = call.need("Attribute")
    call.dry_run()
    launched = image.launch_reported
    single: dict[str, tuple[str, str | None]] = {
        "description": ("Description", image.description),
        "kernel": ("KernelId", image.kernel_id),
        "ramdisk": ("RamdiskId", image.ramdisk_id),
        "sriovNetSupport": ("SriovNetSupport", image.sriov),
        "bootMode": ("BootMode", image.boot_mode),
        "tpmSupport": ("TpmSupport", image.tpm_support),
        "imdsSupport": ("ImdsSupport", image.imds_support),
        "uefiData": ("UefiData", None),
        "deregistrationProtection": ("DeregistrationProtection", image.protection),
        "lastLaunchedTime": (
            "LastLaunchedTime",
            launched.strftime("%Y-%m-%dT%H:%M:%SZ") if launched else None,
        ),
    }
    out: dict[str, Any] = {"ImageId": image.id}
    if attribute == "launchPermission":
        out["LaunchPermissions"] = [dict(p) for p in image.launch_permissions]
    elif attribute == "productCodes":
        out["ProductCodes"] = [
            {"ProductCodeId": c, "ProductCodeType": "marketplace"} for c in image.product_codes
        ]
    elif attribute == "blockDeviceMapping":
        # AWS refuses this one even to the owner.
        raise AwsError("AuthFailure", "Unauthorized attempt to access restricted resource")
    elif attribute in single:
        name, value = single[attribute]
        out[name] = {} if value is None else {"Value": value}
    else:
        raise AwsError(
            "InvalidParameterValue", f"Value ({attribute}) for parameter attribute is invalid."
        )
    return out
