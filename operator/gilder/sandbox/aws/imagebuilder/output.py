"""What a build makes in EC2: build and test instances, and the AMI."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gilder.sandbox.aws import launching, registering
from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.imagebuilder.store import Build
from gilder.sandbox.aws.keys import usable_by_ebs
from gilder.sandbox.aws.model import Image, find_anywhere, find_snapshot
from gilder.sandbox.aws.registry import Call
from gilder.sandbox.aws.snapshots import WRITE_OPERATIONS
from gilder.sandbox.aws.tags import set_tags

_DEFAULT_TYPE = "m5.large"
_ROLES = {"BUILDING": "Build instance for", "TESTING": "Test instance for"}


def call_of(build: Build, action: str, params: Mapping[str, Any] | None = None) -> Call:
    """A call that Image Builder makes in the name of the account."""
    return Call(action, build.account, build.region, "", params or {})


def _marks(build: Build) -> dict[str, str]:
    return {"CreatedBy": "EC2 Image Builder", "Ec2ImageBuilderArn": build.arn}


def home(build: Build) -> Mapping[str, Any]:
    """How the AMI is distributed in the build's own Region."""
    for entry in (build.distribution or {}).get("distributions", []):
        if entry["region"] == build.region:
            found: Mapping[str, Any] = entry.get("amiDistributionConfiguration") or {}
            return found
    return {}


def _mappings(build: Build, image: Image) -> list[dict[str, Any]]:
    """The recipe's mappings as EC2's; a key of the distribution encrypts every volume."""
    key = home(build).get("kmsKeyId")
    written = {m.get("deviceName", ""): m for m in build.recipe.get("blockDeviceMappings", [])}
    if key is not None:
        for device in image.devices:
            written.setdefault(device.name, {"deviceName": device.name, "ebs": {}})
    out: list[dict[str, Any]] = []
    for name, mapping in written.items():
        if mapping.get("noDevice") is not None:
            out.append({"DeviceName": name, "NoDevice": ""})
            continue
        ebs = {k[0].upper() + k[1:]: v for k, v in (mapping.get("ebs") or {}).items()}
        if key is not None:
            ebs |= {"Encrypted": True, "KmsKeyId": key}
        if ebs.get("KmsKeyId"):
            ebs["KmsKeyId"] = _usable(build, ebs["KmsKeyId"])
        out.append({"DeviceName": name, "Ebs": ebs})
    return out


def _usable(build: Build, written: str) -> str:
    found = usable_by_ebs(written, call_of(build, "RunInstances"), WRITE_OPERATIONS)
    if found is None:
        raise AwsError("InvalidKey", f"The KMS key '{written}' is not accessible")
    return str(found.arn)


def start_instance(build: Build, state: str, image: Image) -> str:
    """Launch the build or the test instance; its id."""
    infrastructure = build.infrastructure
    call = call_of(build, "RunInstances")
    tags = {
        "Name": f"{_ROLES[state]} {build.name}",
        **infrastructure.get("resourceTags", {}),
        **_marks(build),
    }
    written = infrastructure.get("instanceMetadataOptions") or {}
    metadata = {k[0].upper() + k[1:]: v for k, v in written.items()}
    instance = launching.launch(
        call,
        image,
        _mappings(build, image) if state == "BUILDING" else [],
        instance_type=(infrastructure.get("instanceTypes") or [_DEFAULT_TYPE])[0],
        is_instance_type_default=False,
        security_group_ids=list(infrastructure.get("securityGroupIds", [])),
        subnet_id=infrastructure.get("subnetId"),
        key_name=infrastructure.get("keyPair"),
        placement=(infrastructure.get("placement") or {}).get("availabilityZone"),
        metadata_options=metadata,
        tags={"instance": tags, "volume": tags},
    )
    build.instances.append(instance.id)
    profile = infrastructure["instanceProfileName"]
    if instance.state != "running":
        raise AwsError(
            "InstanceFailed", f"{instance.id} terminated: {instance.state_reason.message}"
        )
    try:
        call.backend.associate_iam_instance_profile(instance.id, iam_instance_profile_name=profile)
    except Exception:  # noqa: BLE001 - moto's error for a profile that does not exist
        instance.iam_instance_profile = None
    return str(instance.id)


def stop_instances(build: Build) -> None:
    """Terminate the instances that still run."""
    backend = call_of(build, "TerminateInstances").backend
    for instance in list(backend.all_instances()):
        if instance.id in build.instances and instance.state != "terminated":
            instance.terminate()
            instance._reason = ""


def _ami_name(build: Build, at: float) -> str:
    date = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
    written = home(build).get("name")
    if written is None:
        return f"{build.name} {date}"
    values = {"buildDate": date, "buildVersion": str(build.number)}
    return re.sub(r"{{\s*imagebuilder:(\w+)\s*}}", lambda m: values.get(m[1], m[0]), str(written))


def create_ami(build: Build, instance_id: str, at: float) -> Image:
    """The AMI of the build instance, as EC2's CreateImage makes it."""
    tags = {**build.recipe.get("amiTags", {}), **_marks(build)}
    listed = [{"Key": k, "Value": v} for k, v in tags.items()]
    description = home(build).get("description") or build.recipe.get("description") or ""
    params: dict[str, Any] = {
        "InstanceId": instance_id,
        "Name": _ami_name(build, at),
        "Description": description,
        "TagSpecifications": [
            {"ResourceType": "image", "Tags": listed},
            {"ResourceType": "snapshot", "Tags": listed},
        ],
    }
    call = call_of(build, "CreateImage", params)
    image_id = registering.create_image(call)["ImageId"]  # type: ignore[index]
    image: Image = call.backend.amis[image_id]
    # The build waited for it.
    image.ready_at, image.created_at = 0.0, at
    image.created = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
    written = {m.get("deviceName"): m.get("ebs") or {} for m in _written(build)}
    for device in image.devices:
        device.iops = written.get(device.name, {}).get("iops")
        device.throughput = written.get(device.name, {}).get("throughput")
    for snapshot_id in image.snapshots:
        snapshot = find_snapshot(snapshot_id, build.region)
        if snapshot is not None:
            snapshot.ready_at = 0.0
    build.image_id = image.id
    return image


def _written(build: Build) -> list[Mapping[str, Any]]:
    return list(build.recipe.get("blockDeviceMappings", []))


def distribute(build: Build) -> None:
    """Tags and launch permissions of the distribution configuration, in the build's Region."""
    image = find_anywhere(build.image_id or "", build.region)
    if image is None:
        raise AwsError("InvalidAMIID.NotFound", f"The image id '[{build.image_id}]' does not exist")
    settings = home(build)
    set_tags(call_of(build, "CreateTags").backend, image.id, settings.get("amiTags", {}))
    permission = settings.get("launchPermission") or {}
    for key, name in (
        ("userIds", "UserId"),
        ("userGroups", "Group"),
        ("organizationArns", "OrganizationArn"),
        ("organizationalUnitArns", "OrganizationalUnitArn"),
    ):
        image.launch_permissions += [{name: v} for v in permission.get(key, [])]
    build.amis.append(
        {
            "region": build.region,
            "image": image.id,
            "name": image.name,
            "description": image.description,
            "accountId": build.account,
        }
    )
