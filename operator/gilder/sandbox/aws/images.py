"""DescribeImages: owners, users, filters, disabled and deprecated AMIs, pages."""

from collections.abc import Mapping
from typing import Any

from moto.ec2.models import EC2Backend, ec2_backends

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.faults import Faults
from gilder.sandbox.aws.filters import apply_filters, truth
from gilder.sandbox.aws.findings import scan_results
from gilder.sandbox.aws.model import (
    Image,
    check_image_ids,
    find_anywhere,
    images_in,
    not_found,
    visible,
)
from gilder.sandbox.aws.pagination import answer, ec2_page
from gilder.sandbox.aws.registry import Call, ec2
from gilder.sandbox.aws.settings import CLOCK
from gilder.sandbox.aws.tags import tag_list
from gilder.sandbox.aws.times import whole

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html
FAILED_CODE = "Client.InternalError"

_ALIASES = frozenset({"amazon", "aws-marketplace", "aws-backup-vault"})
_faults = Faults()


def bind(faults: Faults) -> None:
    """The faults whose `lag` DescribeImages obeys."""
    global _faults
    _faults = faults


def _some(*values: str | None) -> list[str]:
    return [v for v in values if v is not None]


_FILTERS: dict[str, Any] = {
    "architecture": lambda i: [i.architecture],
    "block-device-mapping.delete-on-termination": lambda i: [
        truth(d.delete_on_termination) for d in i.devices if d.snapshot
    ],
    "block-device-mapping.device-name": lambda i: [d.name for d in i.devices],
    "block-device-mapping.encrypted": lambda i: [
        truth(d.encrypted) for d in i.devices if d.snapshot
    ],
    "block-device-mapping.snapshot-id": lambda i: i.snapshots,
    "block-device-mapping.volume-size": lambda i: [str(d.size) for d in i.devices if d.snapshot],
    "block-device-mapping.volume-type": lambda i: [d.volume_type for d in i.devices if d.snapshot],
    "creation-date": lambda i: [_iso(i)],
    "description": lambda i: [i.description],
    "ena-support": lambda i: [truth(i.ena_support)],
    "hypervisor": lambda i: [i.hypervisor],
    "image-id": lambda i: [i.id],
    "image-type": lambda i: [i.image_type],
    "is-public": lambda i: [truth(i.is_public)],
    "kernel-id": lambda i: _some(i.kernel_id),
    "manifest-location": lambda i: [_location(i)],
    "name": lambda i: [i.name],
    "owner-alias": lambda i: _some(i.owner_alias),
    "owner-id": lambda i: [i.owner_id],
    "platform": lambda i: _some(i.platform),
    "product-code": lambda i: i.product_codes,
    "product-code.type": lambda i: ["marketplace" for _ in i.product_codes],
    "ramdisk-id": lambda i: _some(i.ramdisk_id),
    "root-device-name": lambda i: [i.root_device_name],
    "root-device-type": lambda i: [i.root_device_type],
    "source-image-id": lambda i: _some(i.source_image),
    "source-image-region": lambda i: _some(i.source_region),
    "source-instance-id": lambda i: _some(i.source_instance),
    "sriov-net-support": lambda i: [i.sriov],
    "state": lambda i: [i.state],
    "state-reason-code": lambda i: [FAILED_CODE] if i.state == "failed" else [],
    "state-reason-message": lambda i: _some(i.failure) if i.state == "failed" else [],
    "virtualization-type": lambda i: [i.virtualization_type],
}


def _iso(image: Image) -> str:
    return whole(image.created)


def _location(image: Image) -> str:
    return image.image_location or f"{image.owner_id}/{image.name}"


def shown(image: Image, call: Call) -> dict[str, Any]:
    """An AMI as DescribeImages returns it; tags are those of the caller's account."""
    entry: dict[str, Any] = {
        "ImageId": image.id,
        "OwnerId": image.owner_id,
        "Name": image.name,
        "Description": image.description or None,
        "State": image.state,
        "CreationDate": _iso(image),
        "Public": image.is_public,
        "Architecture": image.architecture,
        "ImageType": image.image_type,
        "ImageLocation": _location(image),
        "ImageOwnerAlias": image.owner_alias,
        "KernelId": image.kernel_id,
        "RamdiskId": image.ramdisk_id,
        "Platform": image.platform,
        "PlatformDetails": "Windows" if image.platform else "Linux/UNIX",
        "UsageOperation": "RunInstances:0002" if image.platform else "RunInstances",
        "RootDeviceName": image.root_device_name,
        "RootDeviceType": image.root_device_type,
        "VirtualizationType": image.virtualization_type,
        "Hypervisor": image.hypervisor,
        "EnaSupport": image.ena_support,
        "SriovNetSupport": image.sriov,
        "BootMode": image.boot_mode,
        "TpmSupport": image.tpm_support,
        "ImdsSupport": image.imds_support,
        "BlockDeviceMappings": [d.shown() for d in image.devices],
        "SourceImageId": image.source_image,
        "SourceImageRegion": image.source_region,
        "SourceInstanceId": image.source_instance,
        "DeprecationTime": _time(image.deprecate_at),
        "LastLaunchedTime": _time(image.launch_reported),
        "Tags": tag_list(call.backend, image.id) or None,
        "ScanResults": scan_results(image),
        "ProductCodes": [
            {"ProductCodeId": code, "ProductCodeType": "marketplace"}
            for code in image.product_codes
        ]
        or None,
    }
    if image.owner_id == call.account:
        entry["DeregistrationProtection"] = image.protection
    if image.state == "failed":
        entry["StateReason"] = {"Code": FAILED_CODE, "Message": image.failure}
    return {k: v for k, v in entry.items() if v is not None}


def _time(value: Any) -> str | None:
    return None if value is None else whole(value)


@ec2
def describe_images(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeImages.html"""
    call.dry_run()
    ids = list(call.get("ImageIds", []))
    images = _candidates(call, ids)
    images = _of_owners(images, call.get("Owners", []), call.account)
    images = _of_users(images, call.get("ExecutableUsers", []), call.account)
    if not call.get("IncludeDisabled"):
        images = [i for i in images if i.state != "disabled"]
    if not call.get("IncludeDeprecated") and not ids:
        # "If you are the AMI owner, all deprecated AMIs appear regardless."
        images = [i for i in images if not i.deprecated or i.owner_id == call.account]
    present = call.backend.tags
    images = apply_filters(
        images, call.get("Filters", []), _FILTERS, lambda i: present.get(i.id, {})
    )
    chosen, token = ec2_page(images, lambda i: i.id, call.get("MaxResults"), call.get("NextToken"))
    return answer("Images", [shown(i, call) for i in chosen], token)


def _candidates(call: Call, ids: list[str]) -> list[Image]:
    horizon = CLOCK.time() - _faults.lag if _faults.lag else None

    def seen(image: Image | None) -> bool:
        return (
            image is not None
            and visible(image, call.account)
            and (horizon is None or image.created_at <= horizon)
        )

    if not ids:
        return [i for i in images_in(call.region) if seen(i)]
    check_image_ids(ids)
    found = {i: find_anywhere(i, call.region) for i in ids}
    missing = [i for i, image in found.items() if not seen(image)]
    if missing:
        raise not_found(missing)
    return [image for image in found.values() if image is not None]


def _of_owners(images: list[Image], owners: list[str], account: str) -> list[Image]:
    if not owners:
        return images
    for owner in owners:
        if not (owner == "self" or owner in _ALIASES or (owner.isdigit() and len(owner) == 12)):
            raise AwsError("InvalidUserID.Malformed", f"Invalid user id: {owner}")
    wanted = {account if o == "self" else o for o in owners}
    return [i for i in images if i.owner_id in wanted or i.owner_alias in wanted]


def _of_users(images: list[Image], users: list[str], account: str) -> list[Image]:
    """AMIs that name these users. `self` includes organization and OU, other ids do not."""
    if not users:
        return images

    def explicit(image: Image) -> bool:
        for user in users:
            if user == "all":
                if image.is_public:
                    return True
            elif user in ("self", account):
                if image.lets_launch(account) and not image.is_public:
                    return True
                if {"UserId": account} in image.launch_permissions:
                    return True
            elif {"UserId": user} in image.launch_permissions:
                return True
        return False

    return [i for i in images if explicit(i)]


def install() -> None:
    def describe(
        self: Any,
        ami_ids: list[str] | None = None,
        filters: Mapping[str, Any] | None = None,
        exec_users: list[str] | None = None,  # noqa: ARG001 - moto's signature
        owners: list[str] | None = None,  # noqa: ARG001 - moto's signature
    ) -> list[Image]:
        """For moto's own lookups: by id, among the AMIs that the account can see."""
        wanted = list(ami_ids or (filters or {}).get("image-id") or [])
        if isinstance((filters or {}).get("image-id"), str):
            wanted = [(filters or {})["image-id"]]
        found = [find_anywhere(i, self.region_name) for i in wanted if i]
        images = [i for i in found if i is not None and visible(i, self.account_id)]
        if ami_ids and not images:
            raise not_found(list(ami_ids))
        return images

    backend: Any = EC2Backend
    backend.describe_images = describe


def own_image(account: str, region: str, image_id: str) -> Image:
    """For tests and the sandbox itself."""
    backend: Any = ec2_backends[account][region]
    image: Image = backend.amis[image_id]
    return image
