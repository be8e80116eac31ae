"""RegisterImage and CreateImage."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.model import Device, Image, find_anywhere, need_snapshot, new_image_id
from gilder.sandbox.aws.registry import Call, ec2
from gilder.sandbox.aws.settings import CLOCK, SETTINGS
from gilder.sandbox.aws.snapshots import new_snapshot, state_of
from gilder.sandbox.aws.tags import set_tags, tags_for

_NAME = re.compile(r"[a-zA-Z0-9()\[\] ./\-'@_]{3,128}")
_DESCRIPTION_LENGTH = 255


def check_name(call: Call, name: str) -> None:
    """A name is unique among the AMIs of an account in a Region.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RegisterImage.html
    """
    if not _NAME.fullmatch(name):
        raise AwsError(
            "InvalidAMIName.Malformed",
            "AMI names must be between 3 and 128 characters long, and may contain letters, "
            "numbers, '(', ')', '[', ']', ' ', '.', '/', '-', ''', '@' and '_'",
        )
    taken = next((i for i in call.backend.amis.values() if i.name == name), None)
    if taken is not None:
        raise AwsError(
            "InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {taken.id}"
        )


def check_description(text: str) -> str:
    if len(text) > _DESCRIPTION_LENGTH:
        raise AwsError(
            "InvalidParameterValue",
            f"The description must not be longer than {_DESCRIPTION_LENGTH} characters",
        )
    return text


def add_image(call: Call, image: Image, tags: Mapping[str, str]) -> None:
    call.backend.amis[image.id] = image
    set_tags(call.backend, image.id, tags)


def _device(call: Call, mapping: Mapping[str, Any]) -> Device:
    name, ebs = mapping.get("DeviceName") or "", mapping.get("Ebs")
    if ebs is None:
        return Device(name, virtual_name=mapping.get("VirtualName") or "ephemeral0")
    snapshot_id = ebs.get("SnapshotId")
    if not snapshot_id:
        # A blank volume of the AMI: no snapshot, but a size.
        return Device(name, None, ebs.get("VolumeSize"), ebs.get("VolumeType") or "gp2")
    snapshot = need_snapshot(call, snapshot_id)
    if state_of(snapshot) != "completed":
        raise AwsError(
            "InvalidSnapshot.NotFound", f"Snapshot {snapshot_id} is not in the completed state"
        )
    if ebs.get("Encrypted") is not None or ebs.get("KmsKeyId"):
        raise AwsError(
            "InvalidBlockDeviceMapping",
            f"The encrypted flag cannot be specified since device {name} has a snapshot specified.",
        )
    size = ebs.get("VolumeSize") or snapshot.volume_size
    if size < snapshot.volume_size:
        raise AwsError(
            "InvalidBlockDeviceMapping",
            f"Volume of size {size}GB is smaller than snapshot '{snapshot_id}', expect size >= "
            f"{snapshot.volume_size}GB",
        )
    return Device(
        name,
        snapshot_id,
        size,
        ebs.get("VolumeType") or "gp2",
        bool(snapshot.encrypted),
        ebs.get("DeleteOnTermination", True),
        ebs.get("Iops"),
        ebs.get("Throughput"),
    )


@ec2
def register_image(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RegisterImage.html"""
    name = call.need("Name")
    check_name(call, name)
    description = check_description(call.get("Description", ""))
    tags = tags_for(call, "image")["image"]
    root, location = call.get("RootDeviceName"), call.get("ImageLocation")
    devices = [_device(call, m) for m in call.get("BlockDeviceMappings", [])]
    if root is None:
        root = "/dev/sda1" if location or not devices else devices[0].name
    backed = any(d.name == root and d.snapshot for d in devices)
    if not backed and not location:
        raise AwsError(
            "InvalidBlockDeviceMapping",
            f"No snapshot for the root device {root}; a root snapshot or an ImageLocation is "
            "required",
        )
    call.dry_run()
    image = Image(
        new_image_id(),
        call.account,
        call.region,
        name,
        description,
        architecture=call.get("Architecture", "i386"),
        root_device_name=root,
        root_device_type="ebs" if backed else "instance-store",
        virtualization_type=call.get("VirtualizationType", "paravirtual"),
        image_location=location or "",
        kernel_id=call.get("KernelId"),
        ramdisk_id=call.get("RamdiskId"),
        boot_mode=call.get("BootMode"),
        tpm_support=call.get("TpmSupport"),
        imds_support=call.get("ImdsSupport"),
        ena_support=bool(call.get("EnaSupport", False)),
        devices=devices,
        product_codes=list(call.get("BillingProducts", [])),
    )
    add_image(call, image, tags)
    return {"ImageId": image.id}


@ec2
def create_image(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html"""
    instance = call.backend.get_instance(call.need("InstanceId"))
    name = call.need("Name")
    check_name(call, name)
    description = check_description(call.get("Description", ""))
    tags = tags_for(call, "image", "snapshot")
    if instance.state in ("terminated", "shutting-down"):
        raise AwsError(
            "IncorrectInstanceState",
            f"The instance '{instance.id}' is not in a state from which an image can be created.",
        )
    if instance.root_device_type != "ebs":
        raise AwsError(
            "InvalidParameterValue",
            f"The instance {instance.id} does not have an EBS root volume",
        )
    overrides = {m.get("DeviceName"): m for m in call.get("BlockDeviceMappings", [])}
    volumes = _volumes(call, instance, overrides)
    if instance.root_device_name not in [d for d, _ in volumes]:
        raise AwsError(
            "InvalidParameterValue",
            f"Instance does not have a volume attached at root ({instance.root_device_name})",
        )
    call.dry_run()
    source = find_anywhere(instance.image_id, call.region)
    image = Image(
        new_image_id(),
        call.account,
        call.region,
        name,
        description,
        architecture=instance.architecture or "x86_64",
        root_device_name=instance.root_device_name,
        virtualization_type=source.virtualization_type if source else "hvm",
        platform=instance.platform,
        boot_mode=call.get("BootModeOverride") or (source.boot_mode if source else None),
        tpm_support=source.tpm_support if source else None,
        imds_support=source.imds_support if source else None,
        # An instance of an AMI with product codes hands them on to its own AMIs.
        product_codes=list(source.product_codes) if source else [],
        source_image=source.id if source else None,
        source_region=call.region if source else None,
        source_instance=instance.id,
        ready_at=CLOCK.time() + SETTINGS.image_delay,
        no_reboot=bool(call.get("NoReboot", False)),
    )
    for device, volume in volumes:
        override = (overrides.get(device) or {}).get("Ebs") or {}
        snapshot = new_snapshot(
            call.backend,
            size=override.get("VolumeSize") or volume.size,
            description=f"Created by CreateImage({instance.id}) for {image.id}",
            key=volume.kms_key_id,
            encrypted=bool(volume.encrypted),
            volume_id=volume.id,
            ready_at=image.ready_at,
        )
        set_tags(call.backend, snapshot.id, tags["snapshot"])
        block = instance.block_device_mapping[device]
        image.devices.append(
            Device(
                device,
                snapshot.id,
                override.get("VolumeSize") or volume.size,
                override.get("VolumeType") or volume.volume_type,
                bool(volume.encrypted),
                override.get("DeleteOnTermination", bool(block.delete_on_termination)),
            )
        )
    add_image(call, image, tags["image"])
    return {"ImageId": image.id}


def _volumes(
    call: Call, instance: Any, overrides: Mapping[str, Mapping[str, Any]]
) -> Sequence[tuple[str, Any]]:
    """The attached volumes to capture; NoDevice leaves one out."""
    return [
        (device, call.backend.volumes[block.volume_id])
        for device, block in instance.get_block_device_mapping
        if block.volume_id in call.backend.volumes
        and (overrides.get(device) or {}).get("NoDevice") is None
    ]
