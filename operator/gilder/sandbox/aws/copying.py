"""CopyImage: encryption, keys, tags, client tokens, limits, and failure after the answer."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from moto.ec2.models import ec2_backends

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.idempotency import idempotent
from gilder.sandbox.aws.model import (
    Image,
    find_snapshot,
    need_visible,
    new_image_id,
    readable,
    unavailable,
)
from gilder.sandbox.aws.registering import add_image, check_description, check_name
from gilder.sandbox.aws.registry import Call, ec2
from gilder.sandbox.aws.settings import CLOCK, SETTINGS
from gilder.sandbox.aws.snapshots import (
    completion_minutes,
    encryption,
    new_snapshot,
    source_failure,
    transfer_type,
)
from gilder.sandbox.aws.tags import LIMIT, set_tags, tags_for


@ec2
@idempotent
def copy_image(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopyImage.html"""
    name, region = call.need("Name"), call.need("SourceRegion")
    source = need_visible(call, call.need("SourceImageId"), region)
    _check_source(call, source)
    check_name(call, name)
    description = check_description(call.get("Description", source.description))
    tags = tags_for(call, "image", "snapshot")
    image_tags = tags["image"]
    if call.get("CopyImageTags"):
        # User-defined tags that this account gave the source; tags of others are not copied.
        image_tags = _tags_of_source(call, source) | image_tags
        if len(image_tags) > LIMIT:
            raise AwsError(
                "TagLimitExceeded", "The maximum number of Tags for a resource has been reached."
            )
    encrypted, _, failure = encryption(call, source_encrypted=False)
    if encrypted and source.root_device_type != "ebs":
        raise AwsError(
            "InvalidRequest",
            f"The image {source.id} is instance-store backed; only EBS-backed images can be "
            "encrypted by a copy",
        )
    minutes = completion_minutes(call, "SnapshotCopyCompletionDurationMinutes")
    _check_limit(call)
    call.dry_run()
    image = replace(
        source,
        id=new_image_id(),
        owner_id=call.account,
        region=call.region,
        name=name,
        description=description,
        # "We don't copy launch permissions, user-defined tags, or S3 bucket permissions."
        launch_permissions=[],
        devices=[],
        source_image=source.id,
        source_region=region,
        source_instance=source.source_instance if source.owner_id == call.account else None,
        owner_alias=None,
        created=CLOCK.now(),
        created_at=CLOCK.time(),
        ready_at=CLOCK.time() + SETTINGS.image_delay,
        failure=failure,
        disabled=False,
        deprecate_at=None,
        protection="disabled",
        protected_until=0.0,
        last_launched=None,
        launches=[],
        no_reboot=None,
        copied=True,
        copy_minutes=minutes,
        product_codes=list(source.product_codes),
        image_location="" if source.root_device_type == "ebs" else source.image_location,
    )
    _copy_devices(call, source, image, tags["snapshot"])
    add_image(call, image, image_tags)
    return {"ImageId": image.id}


def _check_source(call: Call, source: Image) -> None:
    if source.state != "available":
        raise unavailable(source.id)
    if source.product_codes:
        # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/CopyingAMIs.html
        raise AwsError(
            "InvalidRequest",
            "Images with EC2 BillingProduct codes cannot be copied to another AWS account",
        )
    if source.owner_id == call.account or not SETTINGS.check_snapshot_permission:
        return
    for snapshot_id in source.snapshots:
        snapshot = find_snapshot(snapshot_id, source.region)
        if snapshot is None or not readable(snapshot, call.account):
            raise AwsError(
                "InvalidRequest", "You do not have permission to access the storage of this ami"
            )


def _tags_of_source(call: Call, source: Image) -> dict[str, str]:
    backend: Any = ec2_backends[call.account][source.region]
    tags = backend.tags.get(source.id, {})
    return {k: v for k, v in tags.items() if not k.startswith("aws:")}


def _check_limit(call: Call) -> None:
    running = sum(1 for i in call.backend.amis.values() if i.copied and i.state == "pending")
    if running >= SETTINGS.max_concurrent_copies:
        raise AwsError(
            "ResourceLimitExceeded",
            "Too many image copies in progress. The limit is "
            f"{SETTINGS.max_concurrent_copies} in this Region.",
        )


def _copy_devices(call: Call, source: Image, image: Image, tags: Mapping[str, str]) -> None:
    """A snapshot of the copy for each one of the source; a bad key fails AMI and snapshots."""
    for device in source.devices:
        if device.snapshot is None:
            image.devices.append(replace(device))
            continue
        original = find_snapshot(device.snapshot, source.region)
        if original is None:
            image.failure = f"The snapshot '{device.snapshot}' does not exist."
            continue
        encrypted, key, failure = encryption(call, bool(original.encrypted))
        failure = failure or source_failure(call, original, source.region)
        image.failure = image.failure or failure
        snapshot = new_snapshot(
            call.backend,
            size=original.volume_size,
            description=(
                f"Copied for DestinationAmi {image.id} from SourceAmi {source.id} for "
                f"SourceSnapshot {original.id}. Task created on {int(time.time() * 1000):,}."
            ),
            key=key,
            encrypted=encrypted,
            ready_at=image.ready_at,
            failure=failure,
            transfer=transfer_type(image.copy_minutes),
            minutes=image.copy_minutes,
        )
        set_tags(call.backend, snapshot.id, tags)
        image.devices.append(replace(device, snapshot=snapshot.id, encrypted=encrypted))
