"""The end of an AMI's life: deprecation, disabling, protection and deregistration."""

from collections.abc import Mapping
from typing import Any

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.model import Image, find_snapshot, need_owned, unavailable
from gilder.sandbox.aws.recycle_bin import retain_image
from gilder.sandbox.aws.registry import Call, ec2
from gilder.sandbox.aws.settings import CLOCK
from gilder.sandbox.aws.snapshots import forget_snapshot, users_of
from gilder.sandbox.aws.state import region_state
from gilder.sandbox.aws.tags import drop_tags

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deregistration-protection.html
_COOLDOWN = 24 * 3600.0
_DONE = {"Return": True}


@ec2
def deregister_image(call: Call) -> Mapping[str, Any]:
    """An AMI that matches a retention rule goes into Recycle Bin, and so does each snapshot.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeregisterImage.html
    """
    image = need_owned(call)
    if image.protection != "disabled" or CLOCK.time() < image.protected_until:
        raise AwsError(
            "OperationNotPermitted",
            f"The image {image.id} cannot be deregistered because deregistration protection is "
            "enabled or in its cooldown period.",
        )
    call.dry_run()
    del call.backend.amis[image.id]
    if not retain_image(image):
        drop_tags(call.backend, image.id)
    region_state(call.account, call.region).deregistered.add(image.id)
    out: dict[str, Any] = {"Return": True}
    if call.get("DeleteAssociatedSnapshots"):
        out["DeleteSnapshotResults"] = [
            {"SnapshotId": s, "ReturnCode": _delete(call, s)} for s in image.snapshots
        ]
    return out


def _delete(call: Call, snapshot_id: str) -> str:
    """The ReturnCode: a snapshot that backs another AMI is skipped."""
    snapshot = find_snapshot(snapshot_id, call.region)
    if snapshot is None:
        return "client-error"
    if snapshot.owner_id != call.account:
        return "missing-permissions"
    if users_of(snapshot):
        return "skipped"
    forget_snapshot(snapshot)
    return "success"


@ec2
def disable_image(call: Call) -> Mapping[str, Any]:
    """Sets the state to disabled and removes every launch permission.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/disable-an-ami.html
    """
    image = need_owned(call)
    if image.state not in ("available", "disabled"):
        raise unavailable(image.id)
    call.dry_run()
    image.disabled = True
    image.launch_permissions = []
    return _DONE


@ec2
def enable_image(call: Call) -> Mapping[str, Any]:
    """Makes a disabled AMI available again; its former launch permissions stay gone."""
    image = need_owned(call)
    if image.state not in ("available", "disabled"):
        raise unavailable(image.id)
    call.dry_run()
    image.disabled = False
    return _DONE


@ec2
def enable_image_deprecation(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EnableImageDeprecation.html"""
    image = need_owned(call)
    at = call.need("DeprecateAt")
    if at < CLOCK.now():
        raise AwsError("InvalidParameterValue", "The DeprecateAt date must be in the future.")
    call.dry_run()
    # "If you specify a value for seconds, Amazon EC2 rounds the seconds to the nearest minute."
    image.deprecate_at = at.replace(second=0, microsecond=0)
    return _DONE


@ec2
def disable_image_deprecation(call: Call) -> Mapping[str, Any]:
    image = need_owned(call)
    call.dry_run()
    image.deprecate_at = None
    return _DONE


@ec2
def enable_image_deregistration_protection(call: Call) -> Mapping[str, Any]:
    image = need_owned(call)
    _alive(image)
    call.dry_run()
    cooldown = bool(call.get("WithCooldown"))
    image.protection = "enabled-with-cooldown" if cooldown else "enabled-without-cooldown"
    return {"Return": image.protection}


@ec2
def disable_image_deregistration_protection(call: Call) -> Mapping[str, Any]:
    image = need_owned(call)
    call.dry_run()
    if image.protection == "enabled-with-cooldown":
        image.protected_until = CLOCK.time() + _COOLDOWN
    image.protection = "disabled"
    return {"Return": "disabled"}


def _alive(image: Image) -> None:
    if image.state == "failed":
        raise unavailable(image.id)
