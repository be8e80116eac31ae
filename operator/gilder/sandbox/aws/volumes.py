"""Volumes from snapshots: createVolumePermission, keys, and what becomes of a key out of reach."""

from typing import Any

from moto.ec2.models import EC2Backend
from moto.ec2.models.elastic_block_store import Volume
from moto.ec2.responses import EC2Response

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.keys import usable_by_ebs
from gilder.sandbox.aws.model import need_snapshot
from gilder.sandbox.aws.registry import LOCK, Call, call_of
from gilder.sandbox.aws.snapshots import WRITE_OPERATIONS, encryption, source_failure, state_of


def _source(call: Call) -> Any | None:
    """The snapshot of a new volume, the caller's own or one that was shared with it.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVolume.html
    """
    written = call.get("SnapshotId")
    if written is None:
        return None
    snapshot = need_snapshot(call, written)
    if state_of(snapshot) != "completed":
        raise AwsError("IncorrectState", f"Snapshot is in invalid state - {state_of(snapshot)}")
    size = call.get("Size")
    if size is not None and size < snapshot.volume_size:
        raise AwsError(
            "InvalidParameterValue",
            f"Volume of {size}GiB is smaller than snapshot '{snapshot.id}', expect size>= "
            f"{snapshot.volume_size}GiB",
        )
    return snapshot


def _key(call: Call, snapshot: Any) -> tuple[str | None, str | None]:
    """The key of a volume of a snapshot, and why EBS cannot make it.

    An encrypted snapshot gives its key on, unless another one is named or it is another account's
    key that cannot be used.
    """
    if call.get("KmsKeyId") is None and snapshot.encrypted:
        used = usable_by_ebs(snapshot.kms_key_id or "", call, WRITE_OPERATIONS)
        return snapshot.kms_key_id, source_failure(call, snapshot, call.region) or (
            None if used is not None else "Given key ID is not accessible"
        )
    _, key, failure = encryption(call, bool(snapshot.encrypted))
    return key, source_failure(call, snapshot, call.region) or failure


def install() -> None:
    response: Any = EC2Response
    create = response.create_volume

    def create_volume(self: Any) -> Any:
        with LOCK:
            call = call_of(self, self.params)
            snapshot = _source(call)
            if snapshot is None:
                return create(self)
            key, failure = _key(call, snapshot)
            # moto finds only snapshots of its own account; the rest of it is done here.
            asked = {"SnapshotId": None, "Size": call.get("Size") or snapshot.volume_size}
            asked |= {"Encrypted": key is not None or failure is not None}
            asked |= {"KmsKeyId": key or (snapshot.kms_key_id if failure else None)}
            self.params.update(asked)
            result = create(self)
            volume = result.result
            volume.snapshot_id = snapshot.id
            # The answer is that of a volume which is made; the key is looked at after it.
            volume.failed = failure is not None
            return result

    response.create_volume = create_volume
    backend: Any = EC2Backend
    made = backend.create_volume

    def create_keyed_volume(self: Any, *args: Any, **kwargs: Any) -> Any:
        volume = made(self, *args, **kwargs)
        snapshot = self.snapshots.get(volume.snapshot_id)
        if snapshot is not None and volume.kms_key_id is None:
            volume.kms_key_id = snapshot.kms_key_id
        return volume

    backend.create_volume = create_keyed_volume
    volume_class: Any = Volume
    status = volume_class.status.fget
    volume_class.status = property(lambda self: "error" if _failed(self) else status(self))


def _failed(volume: Any) -> bool:
    return bool(getattr(volume, "failed", False))
