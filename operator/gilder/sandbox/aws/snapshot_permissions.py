"""createVolumePermission of snapshots, and block public access for snapshots."""

from collections.abc import Mapping
from typing import Any

from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.keys import aws_managed
from gilder.sandbox.aws.registry import Call, ec2
from gilder.sandbox.aws.settings import BLOCK_ALL_SHARING, BLOCK_NEW_SHARING, UNBLOCKED
from gilder.sandbox.aws.snapshots import need_owned_snapshot
from gilder.sandbox.aws.state import region_state

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySnapshotAttribute.html
LARGEST = 500
_EVERYBODY = {"Group": "all"}


def _changes(call: Call) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """What to add and remove, from both forms of the request."""
    both = call.get("CreateVolumePermission") or {}
    added = [dict(p) for p in both.get("Add", [])]
    removed = [dict(p) for p in both.get("Remove", [])]
    flat = [{"UserId": u} for u in call.get("UserIds", [])]
    flat += [{"Group": g} for g in call.get("GroupNames", [])]
    operation = call.get("OperationType")
    if flat and operation not in ("add", "remove"):
        raise AwsError("MissingParameter", "The request must contain the parameter operationType")
    (removed if operation == "remove" else added).extend(flat)
    if added and removed:
        # "You may add or remove specified account IDs, but you cannot do both in a single
        # operation."
        raise AwsError(
            "InvalidParameterCombination",
            "Create volume permissions cannot be added and removed in one request",
        )
    if not added and not removed:
        raise AwsError(
            "MissingParameter", "The request must contain the parameter CreateVolumePermission"
        )
    if len(added) + len(removed) > LARGEST:
        raise AwsError(
            "InvalidParameterValue",
            f"At most {LARGEST} modifications can be made to a snapshot in one request",
        )
    for item in added + removed:
        _check_item(item)
    return added, removed


def _check_item(item: Mapping[str, str]) -> None:
    if len(item) != 1:
        raise AwsError("InvalidParameterCombination", "A permission names one of UserId and Group")
    user, group = item.get("UserId"), item.get("Group")
    if user is not None and not (user.isdigit() and len(user) == 12):
        raise AwsError("InvalidParameterValue", f'Invalid attribute item value "{user}" for userId')
    if group not in (None, "all"):
        raise AwsError("InvalidParameterValue", f'Invalid group "{group}"; it must be all')


def _check_shareable(call: Call, snapshot: Any, added: list[dict[str, str]]) -> None:
    """https://docs.aws.amazon.com/ebs/latest/userguide/ebs-modifying-snapshot-permissions.html"""
    public = _EVERYBODY in added
    if snapshot.encrypted:
        if aws_managed(snapshot.kms_key_id):
            raise AwsError(
                "OperationNotPermitted",
                "Encrypted snapshots with EBS default key cannot be shared",
            )
        if public:
            raise AwsError("OperationNotPermitted", "Encrypted snapshots cannot be shared publicly")
    if public and region_state(call.account, call.region).snapshot_block != UNBLOCKED:
        # https://docs.aws.amazon.com/ebs/latest/userguide/block-public-access-snapshots.html
        raise AwsError(
            "OperationNotPermitted",
            "You can't publicly share this snapshot because block public access for snapshots is "
            "enabled for this account.",
        )


@ec2
def modify_snapshot_attribute(call: Call) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySnapshotAttribute.html"""
    snapshot = need_owned_snapshot(call)
    if call.get("Attribute", "createVolumePermission") != "createVolumePermission":
        raise AwsError(
            "InvalidParameterValue", "Only createVolumePermission of a snapshot can be modified"
        )
    added, removed = _changes(call)
    if added:
        _check_shareable(call, snapshot, added)
    call.dry_run()
    groups, users = (
        snapshot.create_volume_permission_groups,
        snapshot.create_volume_permission_userids,
    )
    for item in added:
        (groups.add("all") if "Group" in item else users.add(item["UserId"]))
    for item in removed:
        (groups.discard("all") if "Group" in item else users.discard(item["UserId"]))


@ec2
def describe_snapshot_attribute(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSnapshotAttribute.html"""
    snapshot = need_owned_snapshot(call)
    attribute = call.need("Attribute")
    call.dry_run()
    if attribute == "productCodes":
        return {"SnapshotId": snapshot.id, "ProductCodes": []}
    if attribute != "createVolumePermission":
        raise AwsError(
            "InvalidParameterValue", f"Value ({attribute}) for parameter attribute is invalid."
        )
    permissions = [{"Group": g} for g in sorted(snapshot.create_volume_permission_groups)]
    permissions += [{"UserId": u} for u in sorted(snapshot.create_volume_permission_userids)]
    return {"SnapshotId": snapshot.id, "CreateVolumePermissions": permissions}


@ec2
def reset_snapshot_attribute(call: Call) -> None:
    snapshot = need_owned_snapshot(call)
    if call.need("Attribute") != "createVolumePermission":
        raise AwsError(
            "InvalidParameterValue", "Only createVolumePermission of a snapshot can be reset"
        )
    call.dry_run()
    snapshot.create_volume_permission_groups.clear()
    snapshot.create_volume_permission_userids.clear()


@ec2
def get_snapshot_block_public_access_state(call: Call) -> Mapping[str, Any]:
    call.dry_run()
    return {
        "State": region_state(call.account, call.region).snapshot_block,
        "ManagedBy": "account",
    }


@ec2
def enable_snapshot_block_public_access(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EnableSnapshotBlockPublicAccess.html"""
    wanted = call.need("State")
    if wanted not in (BLOCK_ALL_SHARING, BLOCK_NEW_SHARING):
        raise AwsError("InvalidParameterValue", f"Value ({wanted}) for parameter state is invalid.")
    call.dry_run()
    region_state(call.account, call.region).snapshot_block = wanted
    return {"State": wanted}


@ec2
def disable_snapshot_block_public_access(call: Call) -> Mapping[str, Any]:
    call.dry_run()
    region_state(call.account, call.region).snapshot_block = UNBLOCKED
    return {"State": UNBLOCKED}
