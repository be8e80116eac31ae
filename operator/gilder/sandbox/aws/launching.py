"""RunInstances: launch permissions, key access, volumes as the AMI maps them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models.instances import Instance, StateReason
from moto.ec2.responses import EC2Response

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.idempotency import digest
from gilder.sandbox.aws.keys import usable_by_ebs
from gilder.sandbox.aws.model import (
    Device,
    Image,
    find_anywhere,
    find_snapshot,
    need_visible,
    unavailable,
)
from gilder.sandbox.aws.parameters import resolve
from gilder.sandbox.aws.registry import LOCK, Call, call_of
from gilder.sandbox.aws.settings import CLOCK, SETTINGS
from gilder.sandbox.aws.state import region_state

# https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html
LAUNCH_OPERATIONS = (
    "CreateGrant",
    "Decrypt",
    "DescribeKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
)
# The request's mappings for the launch in progress; `LOCK` is held while it is set.
_overrides: dict[str, Mapping[str, Any]] = {}


def _image_of(call: Call) -> Image:
    """The AMI of a launch, from the request or its launch template."""
    written = call.get("ImageId")
    if written is None and call.get("LaunchTemplate"):
        template = call.backend._get_template_from_args(call.get("LaunchTemplate"))
        written = template.image_id or None
    if written is None:
        raise AwsError("MissingParameter", "The request must contain the parameter ImageId")
    image = need_visible(call, resolve(written, call.account, call.region))
    if image.state != "available":
        raise unavailable(image.id)
    return image


def _key_refused(call: Call, image: Image) -> bool:
    """Whether EBS cannot use the key of a snapshot on behalf of the caller."""
    for snapshot_id in image.snapshots:
        snapshot = find_snapshot(snapshot_id, image.region)
        if snapshot is None or not snapshot.encrypted or not snapshot.kms_key_id:
            continue
        if usable_by_ebs(snapshot.kms_key_id, call, LAUNCH_OPERATIONS) is None:
            return True
    return False


def _fail(instance: Any) -> None:
    """The launch answers with success, and the instance terminates at once.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html
    """
    instance.terminate()
    instance._reason = ""
    instance.state_reason = StateReason(
        "Client.InternalError: Client error on launch", "Client.InternalError"
    )


def _merged(image: Image) -> list[Device]:
    devices: list[Device] = []
    for device in image.devices:
        override = _overrides.get(device.name)
        if override is None:
            devices.append(device)
        elif override.get("NoDevice") is None:
            ebs = override.get("Ebs") or {}
            devices.append(
                replace(
                    device,
                    size=ebs.get("VolumeSize") or device.size,
                    volume_type=ebs.get("VolumeType") or device.volume_type,
                    encrypted=bool(ebs.get("Encrypted")) or device.encrypted,
                    delete_on_termination=ebs.get(
                        "DeleteOnTermination", device.delete_on_termination
                    ),
                )
            )
    known = {d.name for d in image.devices}
    for name, override in _overrides.items():
        ebs = override.get("Ebs")
        if name not in known and ebs:
            devices.append(
                Device(
                    name,
                    ebs.get("SnapshotId"),
                    ebs.get("VolumeSize"),
                    ebs.get("VolumeType") or "gp2",
                    bool(ebs.get("Encrypted")),
                    ebs.get("DeleteOnTermination", True),
                )
            )
    return devices


def _attach(instance: Any, device: Device) -> None:
    """A volume of the launching account; its snapshot may be another account's."""
    backend = instance.ec2_backend
    source = find_snapshot(device.snapshot, backend.region_name) if device.snapshot else None
    written = (_overrides.get(device.name, {}).get("Ebs") or {}).get("KmsKeyId")
    encrypted = device.encrypted or bool(source is not None and source.encrypted)
    key = written or (source.kms_key_id if source is not None and source.encrypted else None)
    volume = backend.create_volume(
        size=device.size or (source.volume_size if source is not None else 8),
        zone_name=instance._placement.zone,
        encrypted=encrypted,
        kms_key_id=key if encrypted else None,
    )
    volume.volume_type, volume.snapshot_id = device.volume_type, device.snapshot
    backend.attach_volume(volume.id, instance.id, device.name, device.delete_on_termination)


def _remember(mappings: Iterable[Mapping[str, Any]]) -> None:
    _overrides.clear()
    for mapping in mappings:
        _overrides[mapping.get("DeviceName") or ""] = mapping


def _launched(call: Call, image: Image, instances: Iterable[Any]) -> None:
    """What follows a launch: times by the sandbox's clock, and the end of what has no key."""
    refused = SETTINGS.check_key_at_launch and _key_refused(call, image)
    for instance in instances:
        instance.launch_time = CLOCK.now()
        if refused:
            _fail(instance)


def launch(call: Call, image: Image, mappings: Iterable[Mapping[str, Any]], **options: Any) -> Any:
    """One instance that another service of AWS runs; `options` are those of moto's backend."""
    _remember(mappings)
    try:
        reservation = call.backend.run_instances(
            image.id, 1, options.pop("user_data", None), [], region_name=call.region, **options
        )
    finally:
        _overrides.clear()
    _launched(call, image, reservation.instances)
    return reservation.instances[0]


def _earlier(call: Call, written: str) -> Any | None:
    """The reservation that this client token already made.

    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
    """
    known = region_state(call.account, call.region).launches.get(call.get("ClientToken", ""))
    if known is None:
        return None
    if known[0] != written:
        raise AwsError(
            "IdempotentParameterMismatch",
            "Arguments on this idempotent request are inconsistent with arguments used in "
            "previous request(s).",
        )
    return call.backend.reservations.get(known[1])


def install() -> None:
    response: Any = EC2Response
    instance_class: Any = Instance
    run, defaults = response.run_instances, instance_class.setup_defaults
    end = instance_class.terminate

    def run_instances(self: Any) -> Any:
        with LOCK:
            call = call_of(self, self.params)
            written = digest(self.params)
            earlier = _earlier(call, written)
            if earlier is not None:
                call.dry_run()
                return ActionResult(earlier)
            image = _image_of(call)
            self.params["ImageId"] = image.id
            _remember(self.params.pop("BlockDeviceMappings", None) or [])
            try:
                result = run(self)
            finally:
                _overrides.clear()
            _launched(call, image, result.result.instances)
            token = call.get("ClientToken")
            if token is not None:
                known = region_state(call.account, call.region).launches
                known[token] = (written, result.result.id)
            return result

    def setup_defaults(self: Any) -> None:
        image = find_anywhere(self.image_id or "", self.ec2_backend.region_name)
        if image is None:
            defaults(self)
            return
        image.launches.append(CLOCK.now())
        self.root_device_name = image.root_device_name
        self.root_device_type = image.root_device_type
        for device in _merged(image):
            if device.virtual_name is None:
                _attach(self, device)

    def terminate(self: Any) -> Any:
        self.terminated_at = CLOCK.time()
        return end(self)

    instance_class.terminate = terminate
    response.run_instances = run_instances
    instance_class.setup_defaults = setup_defaults
