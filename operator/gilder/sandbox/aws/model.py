"""An AMI as the sandbox keeps it in place of moto's, and how one is found and shown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from moto.ec2.models import ec2_backends
from moto.moto_api._internal import mock_random

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.organization import membership
from gilder.sandbox.aws.registry import Call
from gilder.sandbox.aws.settings import BLOCK_ALL_SHARING, CLOCK, SETTINGS
from gilder.sandbox.aws.state import region_state

_IMAGE_ID = re.compile(r"ami-(?:[0-9a-f]{8}|[0-9a-f]{17})")


@dataclass
class Device:
    """One block device mapping: of a snapshot, or of an instance store volume."""

    name: str
    snapshot: str | None = None
    size: int | None = None
    volume_type: str = "gp2"
    encrypted: bool = False
    delete_on_termination: bool = True
    iops: int | None = None
    throughput: int | None = None
    virtual_name: str | None = None

    def shown(self) -> dict[str, Any]:
        if self.snapshot is None:
            return {"DeviceName": self.name, "VirtualName": self.virtual_name or "ephemeral0"}
        # As on AWS there is no KmsKeyId here; DescribeSnapshots has it.
        ebs: dict[str, Any] = {
            "SnapshotId": self.snapshot,
            "VolumeSize": self.size,
            "VolumeType": self.volume_type,
            "DeleteOnTermination": self.delete_on_termination,
            "Encrypted": self.encrypted,
        }
        if self.iops is not None:
            ebs["Iops"] = self.iops
        if self.throughput is not None:
            ebs["Throughput"] = self.throughput
        return {"DeviceName": self.name, "Ebs": ebs}


@dataclass(eq=False)
class Image:
    """An AMI. The names that moto reads from its own class are kept."""

    id: str
    owner_id: str
    region: str
    name: str
    description: str = ""
    architecture: str = "x86_64"
    root_device_name: str = "/dev/xvda"
    root_device_type: str = "ebs"
    virtualization_type: str = "hvm"
    hypervisor: str = "xen"
    image_type: str = "machine"
    image_location: str = ""
    platform: str | None = None
    kernel_id: str | None = None
    ramdisk_id: str | None = None
    boot_mode: str | None = None
    tpm_support: str | None = None
    imds_support: str | None = None
    ena_support: bool = True
    sriov: str = "simple"
    devices: list[Device] = field(default_factory=list)
    product_codes: list[str] = field(default_factory=list)
    launch_permissions: list[dict[str, str]] = field(default_factory=list)
    source_image: str | None = None
    source_region: str | None = None
    source_instance: str | None = None
    owner_alias: str | None = None
    created: datetime = field(default_factory=CLOCK.now)
    created_at: float = field(default_factory=CLOCK.time)
    ready_at: float = 0.0
    failure: str | None = None
    disabled: bool = False
    deprecate_at: datetime | None = None
    protection: str = "disabled"
    protected_until: float = 0.0
    # The last launch that is reported, and those that are not yet.
    last_launched: datetime | None = None
    launches: list[datetime] = field(default_factory=list)
    no_reboot: bool | None = None
    copied: bool = False
    # SnapshotCopyCompletionDurationMinutes of the copy that made it.
    copy_minutes: int | None = None

    @property
    def state(self) -> str:
        """By the clock: `pending` until `ready_at`, then `available` or `failed`."""
        if CLOCK.time() < self.ready_at:
            return "pending"
        if self.failure is not None:
            return "failed"
        return "disabled" if self.disabled else "available"

    @property
    def launch_reported(self) -> datetime | None:
        """The time of the last launch that is old enough to be seen.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-last-launched-time.html
        """
        horizon = CLOCK.now() - timedelta(seconds=SETTINGS.last_launched_delay)
        seen = [t for t in self.launches if t <= horizon]
        if seen:
            self.last_launched = max(seen)
            self.launches = [t for t in self.launches if t > horizon]
        return self.last_launched

    @property
    def is_public(self) -> bool:
        return {"Group": "all"} in self.launch_permissions

    @property
    def deprecated(self) -> bool:
        return self.deprecate_at is not None and self.deprecate_at <= CLOCK.now()

    @property
    def snapshots(self) -> list[str]:
        return [d.snapshot for d in self.devices if d.snapshot is not None]

    @property
    def tags(self) -> dict[str, str]:
        backend: Any = ec2_backends[self.owner_id][self.region]
        return dict(backend.tags.get(self.id, {}))

    def get_filter_value(self, name: str, *_: Any) -> Any:
        """For moto's own lookups by image-id."""
        return self.id if name == "image-id" else None

    def lets_launch(self, account: str) -> bool:
        """Whether an account other than the owner may launch and see the AMI."""
        granted = self.launch_permissions
        if {"Group": "all"} in granted or {"UserId": account} in granted:
            return True
        arns = [a for p in granted for a in (arn_of(p),) if a is not None]
        member = membership(account) if arns else None
        return member is not None and any(member.within(arn) for arn in arns)


def arn_of(permission: dict[str, str]) -> str | None:
    """The organization or OU ARN of a launch permission."""
    return permission.get("OrganizationArn") or permission.get("OrganizationalUnitArn")


def new_image_id() -> str:
    return f"ami-{mock_random.get_random_hex(17)}"


def images_in(region: str) -> Iterator[Image]:
    """Every AMI of a Region, of all accounts."""
    for backends in list(ec2_backends.values()):
        backend: Any = backends.get(region)
        if backend is not None:
            yield from list(backend.amis.values())


def find_anywhere(image_id: str, region: str) -> Image | None:
    for backends in list(ec2_backends.values()):
        backend: Any = backends.get(region)
        if backend is not None and image_id in backend.amis:
            image: Image = backend.amis[image_id]
            return image
    return None


def visible(image: Image, account: str) -> bool:
    """Whether an account can see an AMI: as the owner, or through a launch permission."""
    return image.owner_id == account or image.lets_launch(account)


def check_image_ids(ids: list[str]) -> None:
    for image_id in ids:
        if not _IMAGE_ID.fullmatch(image_id):
            raise AwsError("InvalidAMIID.Malformed", f'Invalid id: "{image_id}"')


def not_found(ids: list[str]) -> AwsError:
    if len(ids) == 1:
        return AwsError("InvalidAMIID.NotFound", f"The image id '[{ids[0]}]' does not exist")
    return AwsError("InvalidAMIID.NotFound", f"The image ids '[{', '.join(ids)}]' do not exist")


def unavailable(image_id: str) -> AwsError:
    """For an AMI that was deregistered or whose state does not permit the call.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    """
    return AwsError("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is no longer available")


def need_visible(call: Call, image_id: str, region: str | None = None) -> Image:
    """An AMI that the caller owns or was given."""
    region = region or call.region
    check_image_ids([image_id])
    image = find_anywhere(image_id, region)
    if image is None or not visible(image, call.account):
        if image_id in region_state(call.account, region).deregistered:
            raise unavailable(image_id)
        raise not_found([image_id])
    return image


def need_owned(call: Call) -> Image:
    """The AMI of a call that only its owner may make."""
    image_id = call.need("ImageId")
    check_image_ids([image_id])
    image = find_anywhere(image_id, call.region)
    if image is None:
        if image_id in region_state(call.account, call.region).deregistered:
            raise unavailable(image_id)
        raise not_found([image_id])
    if image.owner_id != call.account:
        raise AwsError("AuthFailure", f"Not authorized for image:{image_id}")
    return image


def find_snapshot(snapshot_id: str, region: str) -> Any | None:
    for backends in list(ec2_backends.values()):
        backend: Any = backends.get(region)
        if backend is not None and snapshot_id in backend.snapshots:
            return backend.snapshots[snapshot_id]
    return None


def readable(snapshot: Any, account: str) -> bool:
    """Owner, or createVolumePermission. A public one may be blocked for the owner's account."""
    if snapshot.owner_id == account or account in snapshot.create_volume_permission_userids:
        return True
    there = region_state(snapshot.owner_id, snapshot.ec2_backend.region_name)
    public = "all" in snapshot.create_volume_permission_groups
    return public and there.snapshot_block != BLOCK_ALL_SHARING


def no_snapshot(snapshot_id: str) -> AwsError:
    return AwsError("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")


def check_snapshot_id(snapshot_id: str) -> None:
    if not snapshot_id.startswith("snap-"):
        raise AwsError(
            "InvalidSnapshotID.Malformed", f'Invalid id: "{snapshot_id}" (expecting "snap-...")'
        )


def need_snapshot(call: Call, snapshot_id: str, region: str | None = None) -> Any:
    check_snapshot_id(snapshot_id)
    snapshot = find_snapshot(snapshot_id, region or call.region)
    if snapshot is None or not readable(snapshot, call.account):
        raise no_snapshot(snapshot_id)
    return snapshot
