"""AMIs: read in bulk, made, copied, enabled, deregistered, and who may launch them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from gilder.api.names import TAG_CLUSTER
from gilder.api.selection import NewestImage
from gilder.aws import errors
from gilder.aws.permissions import needs
from gilder.core import pool
from gilder.core.observed import Image, Principals
from gilder.core.times import rfc3339

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

PAGE = 1000  # MaxResults of DescribeImages, 1000 at most
IDS = 200  # values per filter and ids per call
CHANGES = 200  # principals per ModifyImageAttribute

Raw = Mapping[str, Any]


@needs("ec2:DescribeImages")
def owned(ec2: "EC2Client", cluster: str) -> Iterator[Raw]:
    """AMIs of this account that carry our cluster's ownership tag, disabled ones included.

    Page by page, since a raw AMI takes many times the memory of what is kept of it.
    """
    return _describe(
        ec2,
        Owners=["self"],
        Filters=[{"Name": f"tag:{TAG_CLUSTER}", "Values": [cluster]}],
        IncludeDeprecated=True,
        IncludeDisabled=True,
    )


@needs("ec2:DescribeImages")
def by_ids(ec2: "EC2Client", ids: Iterable[str]) -> list[Raw]:
    """AMIs by id, whoever owns them; ids that do not exist are left out."""
    left = sorted(set(ids))
    found: list[Raw] = []
    while left:
        batch = left[:IDS]
        try:
            found += ec2.describe_images(
                ImageIds=batch, IncludeDeprecated=True, IncludeDisabled=True
            )["Images"]
            left = left[IDS:]
        except ClientError as error:
            # One unknown id fails the whole call; AWS names it, and the others are asked again.
            if not errors.code(error).startswith("InvalidAMIID."):
                raise
            gone = errors.named_ids(error) & set(batch) or {batch[0]}
            left = [i for i in left if i not in gone]
    return found


@needs("ec2:DescribeImages")
def tagged(ec2: "EC2Client", key: str, values: Iterable[str]) -> list[Raw]:
    """AMIs of this account whose tag has one of these values, disabled ones included."""
    wanted = sorted(set(values))
    found: list[Raw] = []
    for start in range(0, len(wanted), IDS):
        batch = [_literal(v) for v in wanted[start : start + IDS]]
        found += _describe(
            ec2,
            Owners=["self"],
            Filters=[{"Name": f"tag:{key}", "Values": batch}],
            IncludeDeprecated=True,
            IncludeDisabled=True,
        )
    return found


@needs("ec2:DescribeImages")
def newest(ec2: "EC2Client", want: NewestImage) -> str | None:
    """Id of the newest available AMI that `want` matches, or None."""
    filters = [{"Name": "state", "Values": ["available"]}]
    if want.name:
        filters.append({"Name": "name", "Values": [want.name]})
    if want.architecture:
        filters.append({"Name": "architecture", "Values": [want.architecture]})
    filters += [{"Name": f"tag:{k}", "Values": [v]} for k, v in sorted(want.tags.items())]
    found = _describe(ec2, Owners=list(want.owners), Filters=filters)
    last = max(found, key=lambda i: (i.get("CreationDate", ""), i["ImageId"]), default=None)
    return str(last["ImageId"]) if last else None


def _describe(ec2: "EC2Client", **request: Any) -> Iterator[Raw]:
    pages = ec2.get_paginator("describe_images").paginate(
        **request, PaginationConfig={"PageSize": PAGE}
    )
    for page in pages:
        yield from page["Images"]


def snapshot_ids(raw: Raw) -> tuple[str, ...]:
    """Snapshots that an AMI's block devices come from, root first as AWS lists them."""
    mapped = (d.get("Ebs", {}).get("SnapshotId") for d in raw.get("BlockDeviceMappings", []))
    return tuple(s for s in mapped if s)


def parse(raw: Raw, region: str, keys: Mapping[str, str | None]) -> Image:
    """An Image of a DescribeImages entry; `keys` maps its snapshots to their KMS key ARNs."""
    snapshots = snapshot_ids(raw)
    devices = [d["Ebs"] for d in raw.get("BlockDeviceMappings", []) if "Ebs" in d]
    scan: Mapping[str, Any] = raw.get("ScanResults") or {}
    return Image(
        id=raw["ImageId"],
        region=region,
        owner=raw.get("OwnerId", ""),
        name=raw.get("Name", ""),
        state=raw.get("State", "pending"),
        state_reason=raw.get("StateReason", {}).get("Message", ""),
        created=raw.get("CreationDate", ""),
        root_device_type=raw.get("RootDeviceType", "ebs"),
        architecture=raw.get("Architecture", ""),
        product_codes=tuple(c["ProductCodeId"] for c in raw.get("ProductCodes", [])),
        encrypted=any(d.get("Encrypted") for d in devices),
        snapshots=snapshots,
        kms_keys=frozenset(k for k in (keys.get(s) for s in snapshots) if k),
        tags=pool.strings({t["Key"]: t["Value"] for t in raw.get("Tags", [])}),
        source_image=raw.get("SourceImageId"),
        platform=str(raw.get("Platform") or "linux").lower(),
        scanned_at=rfc3339(scan["FindingScanDate"]) if "FindingScanDate" in scan else "",
        worst=str(scan.get("HighestFindingSeverityLabel", "")).lower(),
        deprecated_at=raw.get("DeprecationTime", ""),
        protection=raw.get("DeregistrationProtection", ""),
        launched_at=_time(raw.get("LastLaunchedTime")),
    )


def _time(value: Any) -> str:
    """DescribeImages has it as text; a time counts too."""
    return rfc3339(value) if isinstance(value, datetime) else str(value or "")


def with_keys(image: Image, keys: Mapping[str, str | None]) -> Image:
    """An Image that was parsed before the keys of its snapshots were known."""
    return replace(image, kms_keys=pool.names(k for k in map(keys.get, image.snapshots) if k))


@needs("ec2:DescribeImageAttribute")
def permissions(ec2: "EC2Client", image: str) -> Principals | None:
    """Who may launch an AMI of this account; None when the AMI is gone."""
    try:
        found = ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")
    except ClientError as error:
        if errors.code(error).startswith("InvalidAMIID."):
            return None
        raise
    entries = found.get("LaunchPermissions", [])
    return Principals(
        accounts=frozenset(e["UserId"] for e in entries if e.get("UserId")),
        organizations=frozenset(e["OrganizationArn"] for e in entries if e.get("OrganizationArn")),
        units=frozenset(
            e["OrganizationalUnitArn"] for e in entries if e.get("OrganizationalUnitArn")
        ),
        public=any(e.get("Group") == "all" for e in entries),
    )


@needs("ec2:ModifyImageAttribute")
def modify_permissions(ec2: "EC2Client", image: str, add: Principals, remove: Principals) -> None:
    """Add and remove principals, in one call unless there are very many."""
    added, removed = _entries(add), _entries(remove)
    while added or removed:
        now_add, added = added[:CHANGES], added[CHANGES:]
        room = CHANGES - len(now_add)
        now_remove, removed = removed[:room], removed[room:]
        change: dict[str, Any] = {}
        if now_add:
            change["Add"] = now_add
        if now_remove:
            change["Remove"] = now_remove
        ec2.modify_image_attribute(ImageId=image, LaunchPermission=change)  # type: ignore[arg-type]


def _entries(who: Principals) -> list[dict[str, str]]:
    return [
        *({"UserId": a} for a in sorted(who.accounts)),
        *({"OrganizationArn": o} for o in sorted(who.organizations)),
        *({"OrganizationalUnitArn": u} for u in sorted(who.units)),
        *([{"Group": "all"}] if who.public else []),
    ]


@needs("ec2:CreateImage", "ec2:CreateTags")
def create(
    ec2: "EC2Client",
    *,
    instance: str,
    name: str,
    description: str,
    no_reboot: bool,
    tags: Mapping[str, str],
) -> str:
    """Capture an instance. CreateImage has no ClientToken: the AMI name is what makes it unique."""
    made = ec2.create_image(
        InstanceId=instance,
        Name=name,
        Description=description,
        NoReboot=no_reboot,
        TagSpecifications=_specifications(tags),  # type: ignore[arg-type]
    )
    return made["ImageId"]


@needs("ec2:DescribeImages")
def id_of_name(ec2: "EC2Client", name: str, tags: Mapping[str, str]) -> str | None:
    """Our AMI of this name, provided that it carries all of `tags`."""
    found = _describe(
        ec2,
        Owners=["self"],
        Filters=[{"Name": "name", "Values": [_literal(name)]}],
        IncludeDeprecated=True,
        IncludeDisabled=True,
    )
    for raw in found:
        there = {t["Key"]: t["Value"] for t in raw.get("Tags", [])}
        if raw.get("Name") == name and tags.items() <= there.items():
            return str(raw["ImageId"])
    return None


def _literal(name: str) -> str:
    """A filter value that matches only itself: * ? and \\ are wildcards in EC2 filters."""
    return "".join(f"\\{c}" if c in "*?\\" else c for c in name)


@needs("ec2:CopyImage", "ec2:CreateTags", "kms:CreateGrant", "kms:DescribeKey")
def copy(
    ec2: "EC2Client",
    *,
    source_region: str,
    source_image: str,
    name: str,
    description: str,
    key: str | None,
    tags: Mapping[str, str],
    token: str,
    minutes: int | None = None,
) -> str:
    """Copy an AMI into the client's Region; the same token gives the same AMI.

    `minutes`, a multiple of 15, has AWS complete it within that time:
    https://docs.aws.amazon.com/ebs/latest/userguide/time-based-copies.html
    """
    more: dict[str, Any] = {"Encrypted": True, "KmsKeyId": key} if key else {}
    if minutes is not None:
        more["SnapshotCopyCompletionDurationMinutes"] = minutes
    made = ec2.copy_image(
        SourceRegion=source_region,
        SourceImageId=source_image,
        Name=name,
        Description=description,
        ClientToken=token,
        TagSpecifications=_specifications(tags),  # type: ignore[arg-type]
        **more,
    )
    return made["ImageId"]


def _specifications(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    pairs = [{"Key": k, "Value": v} for k, v in sorted(tags.items())]
    return [{"ResourceType": kind, "Tags": pairs} for kind in ("image", "snapshot")]


@needs("ec2:EnableImage")
def enable(ec2: "EC2Client", image: str) -> None:
    ec2.enable_image(ImageId=image)


@needs("ec2:DisableImage")
def disable(ec2: "EC2Client", image: str) -> None:
    ec2.disable_image(ImageId=image)


@needs("ec2:EnableImageDeprecation", "ec2:DisableImageDeprecation")
def deprecate(ec2: "EC2Client", image: str, at: str) -> None:
    """Deprecate an AMI at a time to come (RFC 3339), or never where `at` is empty."""
    if at:
        ec2.enable_image_deprecation(ImageId=image, DeprecateAt=at)
    else:
        ec2.disable_image_deprecation(ImageId=image)


@needs("ec2:EnableImageDeregistrationProtection", "ec2:DisableImageDeregistrationProtection")
def protect(ec2: "EC2Client", image: str, mode: str) -> None:
    """`mode` as DescribeImages says it: enabled-with-cooldown, enabled-without-cooldown, disabled.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deregistration-protection.html
    """
    if mode == "disabled":
        ec2.disable_image_deregistration_protection(ImageId=image)
    else:
        cooldown = mode == "enabled-with-cooldown"
        ec2.enable_image_deregistration_protection(ImageId=image, WithCooldown=cooldown)


@needs("ec2:ListImagesInRecycleBin")
def in_recycle_bin(ec2: "EC2Client") -> dict[str, str]:
    """AMI id to name of what can be had back."""
    pages = ec2.get_paginator("list_images_in_recycle_bin").paginate()
    return {i["ImageId"]: i.get("Name", "") for page in pages for i in page["Images"]}


@needs(
    "ec2:RestoreImageFromRecycleBin",
    "ec2:ListSnapshotsInRecycleBin",
    "ec2:RestoreSnapshotFromRecycleBin",
)
def restore(ec2: "EC2Client", image: str) -> None:
    """Have an AMI back from the Recycle Bin, and before it the snapshots that lie there too.

    AWS wants it in that order, and tells which AMI a snapshot is of in its description only:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/recover-ami-recycle-bin.html
    """
    try:
        ec2.restore_image_from_recycle_bin(ImageId=image)
    except ClientError as error:
        if not errors.code(error).startswith("InvalidSnapshot"):
            raise
        if not _restore_parts(ec2, image):
            raise
        ec2.restore_image_from_recycle_bin(ImageId=image)


def _restore_parts(ec2: "EC2Client", image: str) -> int:
    """Restore the snapshots in the Recycle Bin that were made for an AMI; how many."""
    pages = ec2.get_paginator("list_snapshots_in_recycle_bin").paginate()
    # "Copied for DestinationAmi ami-1 from SourceAmi ami-2 ...", "Created by CreateImage(i-1) for
    # ami-1": the other AMI that is named is not the one it belongs to.
    of = re.compile(rf"\b(?:DestinationAmi|\) for) {re.escape(image)}\b")
    parts = [
        s["SnapshotId"]
        for page in pages
        for s in page["Snapshots"]
        if of.search(s.get("Description", ""))
    ]
    for part in parts:
        ec2.restore_snapshot_from_recycle_bin(SnapshotId=part)
    return len(parts)


@needs("ec2:DeregisterImage", "ec2:DeleteSnapshot")
def deregister(ec2: "EC2Client", image: str, *, snapshots: bool = True) -> None:
    """Deregister an AMI, with its snapshots if asked; one that is gone already is no error."""
    try:
        ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=snapshots)
    except ClientError as error:
        if not errors.code(error).startswith("InvalidAMIID."):
            raise


@needs("ec2:GetImageBlockPublicAccessState")
def public_blocked(ec2: "EC2Client") -> bool:
    """Whether block public access for AMIs refuses new public sharing in this Region."""
    state = ec2.get_image_block_public_access_state().get("ImageBlockPublicAccessState")
    return state == "block-new-sharing"
