"""Recycle Bin: AMIs and snapshots that a retention rule keeps after they were deleted.

https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-factors.html
"""

from collections.abc import Callable, Mapping
from typing import Any

from moto.ec2.models import ec2_backends

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.model import (
    Image,
    check_image_ids,
    check_snapshot_id,
    no_snapshot,
    not_found,
)
from gilder.sandbox.aws.pagination import answer, ec2_page
from gilder.sandbox.aws.registry import Call, ec2
from gilder.sandbox.aws.retention_rules import IMAGE, SNAPSHOT, days_for
from gilder.sandbox.aws.settings import CLOCK
from gilder.sandbox.aws.state import REGIONS, Binned, region_state
from gilder.sandbox.aws.times import moment

_DAY = 24 * 3600.0
# "When a resource is sent to the Recycle Bin, the following system-generate tag is assigned".
_TAG = "aws:recycle-bin:resource-in-bin"
_LISTED_IDS = 20


def retain_image(image: Image) -> bool:
    """Whether a rule puts an AMI that is deregistered into the bin; "Only Amazon EBS-backed"."""
    backend: Any = ec2_backends[image.owner_id][image.region]
    return image.root_device_type == "ebs" and _retain(IMAGE, backend, image)


def retain_snapshot(snapshot: Any) -> bool:
    """Whether a rule puts a snapshot that is deleted into the bin."""
    return _retain(SNAPSHOT, snapshot.ec2_backend, snapshot)


def _retain(kind: str, backend: Any, resource: Any) -> bool:
    account, region = backend.account_id, backend.region_name
    days = days_for(account, region, kind, backend.tags.get(resource.id, {}))
    if days is None:
        return False
    now = CLOCK.time()
    kept = Binned(resource, now, now + days * _DAY)
    region_state(account, region).bin[resource.id] = kept
    backend.tags[resource.id][_TAG] = "true"
    return True


def in_bin(account: str, region: str, resource: str) -> bool:
    """Whether an account has this in its bin, where its tags can still be changed."""
    return resource in region_state(account, region).bin


def settle() -> None:
    """Take out of the bins what has been there long enough."""
    now = CLOCK.time()
    for (account, region), state in list(REGIONS.items()):
        for resource, kept in list(state.bin.items()):
            if kept.leaves <= now:
                del state.bin[resource]
                backend: Any = ec2_backends[account][region]
                backend.tags.pop(resource, None)


def _restored(call: Call, resource: str) -> None:
    del region_state(call.account, call.region).bin[resource]
    call.backend.tags[resource].pop(_TAG, None)


def _listed(
    call: Call, name: str, key: str, ids: list[str], show: Callable[[Any], dict[str, Any]], *,
    prefix: str, minimum: int,
) -> dict[str, Any]:  # fmt: skip
    """A page of what is in the bin: `show` tells what is particular to its kind."""
    found = [
        {
            key: resource,
            **show(kept.resource),
            "RecycleBinEnterTime": moment(kept.entered),
            "RecycleBinExitTime": moment(kept.leaves),
        }
        for resource, kept in region_state(call.account, call.region).bin.items()
        if resource.startswith(prefix) and (not ids or resource in ids)
    ]
    chosen, token = ec2_page(
        found,
        lambda r: str(r[key]),
        call.get("MaxResults"),
        call.get("NextToken"),
        minimum=minimum,
    )
    return answer(name, chosen, token)


@ec2
def list_images_in_recycle_bin(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ListImagesInRecycleBin.html"""
    ids, bin_ = call.get("ImageIds", []), region_state(call.account, call.region).bin
    check_image_ids(ids)
    if len(ids) > _LISTED_IDS:
        raise AwsError("InvalidParameterValue", f"At most {_LISTED_IDS} image ids can be listed.")
    missing = [i for i in ids if i not in bin_]
    if missing:
        raise not_found(missing)
    call.dry_run()
    return _listed(
        call,
        "Images",
        "ImageId",
        ids,
        lambda i: {"Name": i.name, "Description": i.description},
        prefix="ami-",
        minimum=1,
    )


@ec2
def restore_image_from_recycle_bin(call: Call) -> Mapping[str, Any]:
    """An AMI is back as it was, with its launch permissions, if its snapshots are there.

    "If you restore the AMI, all of the previous sharing permissions are automatically restored."
    "Before you can restore an AMI from the Recycle Bin, you must first restore all of its
    associated snapshots."
    """
    image_id, state = call.need("ImageId"), region_state(call.account, call.region)
    check_image_ids([image_id])
    kept = state.bin.get(image_id)
    if kept is None:
        raise not_found([image_id])
    image: Image = kept.resource
    for snapshot in image.snapshots:
        if snapshot not in call.backend.snapshots:
            raise no_snapshot(snapshot)
    taken = next((i for i in call.backend.amis.values() if i.name == image.name), None)
    if taken is not None:
        raise AwsError(
            "InvalidAMIName.Duplicate", f"AMI name {image.name} is already in use by AMI {taken.id}"
        )
    call.dry_run()
    _restored(call, image_id)
    state.deregistered.discard(image_id)
    call.backend.amis[image_id] = image
    return {"Return": True}


@ec2
def list_snapshots_in_recycle_bin(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ListSnapshotsInRecycleBin.html"""
    ids, bin_ = call.get("SnapshotIds", []), region_state(call.account, call.region).bin
    for snapshot_id in ids:
        check_snapshot_id(snapshot_id)
        if snapshot_id not in bin_:
            raise no_snapshot(snapshot_id)
    call.dry_run()
    return _listed(
        call,
        "Snapshots",
        "SnapshotId",
        ids,
        lambda s: {"Description": s.description or "", "VolumeId": s.volume_id},
        prefix="snap-",
        minimum=5,
    )


@ec2
def restore_snapshot_from_recycle_bin(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RestoreSnapshotFromRecycleBin.html

    Its createVolumePermissions are back too.
    """
    snapshot_id = call.need("SnapshotId")
    check_snapshot_id(snapshot_id)
    kept = region_state(call.account, call.region).bin.get(snapshot_id)
    if kept is None:
        raise no_snapshot(snapshot_id)
    call.dry_run()
    snapshot = kept.resource
    _restored(call, snapshot_id)
    call.backend.snapshots[snapshot_id] = snapshot
    return {
        "SnapshotId": snapshot_id,
        "Description": snapshot.description or "",
        "Encrypted": bool(snapshot.encrypted),
        "OwnerId": snapshot.owner_id,
        "Progress": "100%",
        "StartTime": snapshot.start_time,
        "State": "completed",
        "VolumeId": snapshot.volume_id,
        "VolumeSize": snapshot.volume_size,
    }
