"""EBS snapshots: creation for AMIs, copies, permissions, visibility and deletion."""

from collections.abc import Mapping
from typing import Any

from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.elastic_block_store import Snapshot, Volume
from moto.ec2.utils import random_snapshot_id

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.filters import apply_filters, truth
from gilder.sandbox.aws.keys import default_ebs_key, usable_by_ebs, well_formed
from gilder.sandbox.aws.model import images_in, need_snapshot, readable
from gilder.sandbox.aws.pagination import answer, ec2_page
from gilder.sandbox.aws.recycle_bin import retain_snapshot
from gilder.sandbox.aws.registry import Call, ec2
from gilder.sandbox.aws.settings import CLOCK, SETTINGS
from gilder.sandbox.aws.tags import drop_tags, set_tags, tag_list, tags_for
from gilder.sandbox.aws.times import epoch, moment, whole

# Minutes of time-based copies.
_STEP, _LONGEST = 15, 2880
# moto declares abstract methods on it, and makes instances all the same.
_VOLUME: Any = Volume
# What a copied snapshot shows as its volume.
NO_VOLUME = "vol-ffffffff"
KEY_INACCESSIBLE = "Given key ID is not accessible"
# What EBS needs of the key it encrypts with, and of the key it reads with.
WRITE_OPERATIONS = ("CreateGrant", "DescribeKey", "GenerateDataKeyWithoutPlaintext", "ReEncryptTo")
READ_OPERATIONS = ("CreateGrant", "Decrypt", "DescribeKey", "ReEncryptFrom")


def new_snapshot(
    backend: Any,
    *,
    size: int,
    description: str,
    key: str | None = None,
    encrypted: bool = False,
    volume_id: str = NO_VOLUME,
    ready_at: float = 0.0,
    failure: str | None = None,
    transfer: str | None = None,
    minutes: int | None = None,
) -> Any:
    """Put a snapshot into a backend without the detour over a volume."""
    volume = _VOLUME(backend, volume_id, size, None, encrypted=encrypted, kms_key_id=key)
    snapshot: Any = Snapshot(
        backend,
        random_snapshot_id(),
        volume,
        description,
        encrypted=encrypted,
        kms_key_id=key,
    )
    snapshot.start_time = CLOCK.now()
    snapshot.ready_at = ready_at
    snapshot.failure = failure
    # Of copies: `standard` or `time-based`, and the duration that was asked for.
    snapshot.transfer, snapshot.minutes = transfer, minutes
    backend.snapshots[snapshot.id] = snapshot
    return snapshot


def state_of(snapshot: Any) -> str:
    if CLOCK.time() < getattr(snapshot, "ready_at", 0.0):
        return "pending"
    return "error" if getattr(snapshot, "failure", None) else "completed"


def progress(snapshot: Any) -> str:
    """A percentage by the clock; 0 if it failed."""
    state = state_of(snapshot)
    if state != "pending":
        return "100%" if state == "completed" else "0%"
    began = epoch(snapshot.start_time)
    passed = (CLOCK.time() - began) / max(snapshot.ready_at - began, 0.001)
    return f"{min(max(int(100 * passed), 0), 99)}%"


def completion_minutes(call: Call, parameter: str) -> int | None:
    """The duration of a time-based copy: 15 minutes to 48 hours, in steps of 15 minutes.

    https://docs.aws.amazon.com/ebs/latest/userguide/time-based-copies.html
    """
    minutes = call.get(parameter)
    if minutes is None:
        return None
    if minutes % _STEP or not _STEP <= minutes <= _LONGEST:
        raise AwsError(
            "InvalidParameterValue",
            f"Value ({minutes}) for parameter {parameter} is invalid. It must be a multiple of "
            f"{_STEP} between {_STEP} and {_LONGEST}.",
        )
    return int(minutes)


def need_owned_snapshot(call: Call) -> Any:
    snapshot = need_snapshot(call, call.need("SnapshotId"))
    if snapshot.owner_id != call.account:
        raise AwsError("AuthFailure", f"Not authorized for snapshot:{snapshot.id}")
    return snapshot


def encryption(call: Call, source_encrypted: bool) -> tuple[bool, str | None, str | None]:
    """Encrypted, key ARN and failure of a copy by its Encrypted and KmsKeyId parameters.

    A copy of something encrypted stays so, with the account's default key when none is named.
    EC2 looks at a named key only after it answered, so a bad one fails the copy later.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopyImage.html
    """
    written = call.get("KmsKeyId")
    if written is not None and not call.get("Encrypted"):
        raise AwsError(
            "InvalidParameterDependency",
            "The parameter KmsKeyId requires the parameter Encrypted to be set.",
        )
    if written is not None and not well_formed(written):
        raise AwsError(
            "InvalidParameterValue", f"Value ({written}) for parameter KmsKeyId is invalid."
        )
    by_default = bool(call.backend.ebs_encryption_by_default)
    if not (call.get("Encrypted") or source_encrypted or by_default):
        return False, None, None
    if written is None:
        return True, default_ebs_key(call.account, call.region).arn, None
    key = usable_by_ebs(written, call, WRITE_OPERATIONS)
    if key is None:
        return True, None, KEY_INACCESSIBLE
    return True, key.arn, None


def source_failure(call: Call, snapshot: Any, region: str) -> str | None:
    """Why the source's own key keeps a copy from being read, or None."""
    if not snapshot.encrypted or not snapshot.kms_key_id:
        return None
    usable = usable_by_ebs(snapshot.kms_key_id, call, READ_OPERATIONS, region)
    return None if usable is not None else KEY_INACCESSIBLE


def _shown(snapshot: Any, call: Call) -> dict[str, Any]:
    state = state_of(snapshot)
    entry: dict[str, Any] = {
        "SnapshotId": snapshot.id,
        "OwnerId": snapshot.owner_id,
        "VolumeId": snapshot.volume_id,
        "VolumeSize": snapshot.volume_size,
        "State": state,
        "Progress": progress(snapshot),
        "StartTime": snapshot.start_time,
        "Description": snapshot.description or "",
        "Encrypted": bool(snapshot.encrypted),
        "StorageTier": snapshot.storage_tier,
        "TransferType": getattr(snapshot, "transfer", None),
        "CompletionDurationMinutes": getattr(snapshot, "minutes", None),
        "Tags": tag_list(call.backend, snapshot.id) or None,
    }
    if state == "completed":
        at = max(getattr(snapshot, "ready_at", 0.0), epoch(snapshot.start_time))
        entry["CompletionTime"] = moment(at)
    if state == "error":
        entry["StateMessage"] = snapshot.failure
    if snapshot.encrypted:
        entry["KmsKeyId"] = snapshot.kms_key_id
    return {k: v for k, v in entry.items() if v is not None}


_FILTERS: dict[str, Any] = {
    "description": lambda s: [s.description or ""],
    "encrypted": lambda s: [truth(bool(s.encrypted))],
    "owner-alias": lambda _: [],
    "owner-id": lambda s: [s.owner_id],
    "progress": lambda s: [progress(s)],
    "snapshot-id": lambda s: [s.id],
    "start-time": lambda s: [whole(s.start_time)],
    "status": lambda s: [state_of(s)],
    "storage-tier": lambda s: [s.storage_tier],
    "volume-id": lambda s: [s.volume_id],
    "volume-size": lambda s: [str(s.volume_size)],
}


@ec2
def describe_snapshots(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSnapshots.html"""
    call.dry_run()
    ids, limit = list(call.get("SnapshotIds", [])), call.get("MaxResults")
    if ids and limit is not None:
        raise AwsError(
            "InvalidParameterCombination",
            "The parameter snapshotSet cannot be used with the parameter maxResults",
        )
    if ids:
        found = [need_snapshot(call, i) for i in ids]
    else:
        backends: list[Any] = [b.get(call.region) for b in list(ec2_backends.values())]
        found = [
            s
            for backend in backends
            if backend is not None
            for s in list(backend.snapshots.values())
            if readable(s, call.account)
        ]
    owners = {call.account if o == "self" else o for o in call.get("OwnerIds", [])}
    if owners:
        found = [s for s in found if s.owner_id in owners]
    users = {call.account if u == "self" else u for u in call.get("RestorableByUserIds", [])}
    if users:
        found = [
            s
            for s in found
            if users & s.create_volume_permission_userids
            or ("all" in users and "all" in s.create_volume_permission_groups)
            or s.owner_id in users
        ]
    present = call.backend.tags
    found = apply_filters(found, call.get("Filters", []), _FILTERS, lambda s: present.get(s.id, {}))
    chosen, token = ec2_page(found, lambda s: s.id, limit, call.get("NextToken"), minimum=5)
    return answer("Snapshots", [_shown(s, call) for s in chosen], token)


@ec2
def copy_snapshot(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopySnapshot.html"""
    region = call.need("SourceRegion")
    source = need_snapshot(call, call.need("SourceSnapshotId"), region)
    tags = tags_for(call, "snapshot")["snapshot"]
    encrypted, key, failure = encryption(call, bool(source.encrypted))
    failure = failure or source_failure(call, source, region)
    minutes = completion_minutes(call, "CompletionDurationMinutes")
    _check_limit(call)
    call.dry_run()
    snapshot = new_snapshot(
        call.backend,
        size=source.volume_size,
        description=call.get("Description", ""),
        key=key,
        encrypted=encrypted,
        ready_at=CLOCK.time() + SETTINGS.snapshot_delay,
        failure=failure,
        transfer=transfer_type(minutes),
        minutes=minutes,
    )
    snapshot.counted = True
    set_tags(call.backend, snapshot.id, tags)
    return {"SnapshotId": snapshot.id, "Tags": tag_list(call.backend, snapshot.id)}


def transfer_type(minutes: int | None) -> str:
    return "standard" if minutes is None else "time-based"


def _check_limit(call: Call) -> None:
    """Copies of snapshots have a limit of their own, beside that of copies of AMIs.

    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html
    """
    running = sum(
        getattr(s, "counted", False) and state_of(s) == "pending"
        for s in call.backend.snapshots.values()
    )
    if running >= SETTINGS.max_concurrent_snapshot_copies:
        raise AwsError(
            "ResourceLimitExceeded",
            "Too many snapshot copies in progress. The limit is "
            f"{SETTINGS.max_concurrent_snapshot_copies} in this destination region.",
        )


def users_of(snapshot: Any) -> list[str]:
    """AMIs of the owner that a snapshot backs."""
    return [
        image.id
        for image in images_in(snapshot.ec2_backend.region_name)
        if snapshot.id in image.snapshots and image.owner_id == snapshot.owner_id
    ]


@ec2
def delete_snapshot(call: Call) -> None:
    snapshot = need_owned_snapshot(call)
    users = users_of(snapshot)
    if users:
        raise AwsError(
            "InvalidSnapshot.InUse",
            f"The snapshot {snapshot.id} is currently in use by {users[0]}",
        )
    call.dry_run()
    forget_snapshot(snapshot)


def forget_snapshot(snapshot: Any) -> None:
    """Delete a snapshot: into Recycle Bin if a rule says so."""
    snapshot.ec2_backend.snapshots.pop(snapshot.id, None)
    if not retain_snapshot(snapshot):
        drop_tags(snapshot.ec2_backend, snapshot.id)


def install() -> None:
    backend: Any = EC2Backend
    create = backend.create_snapshot

    def create_snapshot(self: Any, volume_id: str, *args: Any, **kwargs: Any) -> Any:
        snapshot = create(self, volume_id, *args, **kwargs)
        # moto drops the key of the volume.
        snapshot.kms_key_id = snapshot.volume.kms_key_id
        return snapshot

    backend.create_snapshot = create_snapshot
