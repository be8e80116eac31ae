"""createVolumePermission: what may be changed in one call, and what it lets others do."""

from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_key, make_snapshot
from gilder.sandbox.aws.server import SandboxAws

A, B, C = "123456789012", "222222222222", "333333333333"
ZONE = "eu-west-1a"
EBS = [
    "CreateGrant",
    "Decrypt",
    "DescribeKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
]


def permissions(ec2: Any, snapshot: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = ec2.describe_snapshot_attribute(
        SnapshotId=snapshot, Attribute="createVolumePermission"
    )["CreateVolumePermissions"]
    return found


def share(ec2: Any, snapshot: str, *accounts: str) -> None:
    added = [{"UserId": a} for a in accounts]
    ec2.modify_snapshot_attribute(SnapshotId=snapshot, CreateVolumePermission={"Add": added})


def test_both_forms_add_and_remove(aws: SandboxAws, ec2: Any) -> None:
    snapshot = make_snapshot(aws)
    share(ec2, snapshot, B, C)
    assert permissions(ec2, snapshot) == [{"UserId": B}, {"UserId": C}]
    ec2.modify_snapshot_attribute(SnapshotId=snapshot, OperationType="remove", UserIds=[C])
    assert permissions(ec2, snapshot) == [{"UserId": B}]
    ec2.modify_snapshot_attribute(SnapshotId=snapshot, OperationType="add", GroupNames=["all"])
    assert permissions(ec2, snapshot) == [{"Group": "all"}, {"UserId": B}]
    ec2.reset_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")
    assert permissions(ec2, snapshot) == []


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (
            {"CreateVolumePermission": {"Add": [{"UserId": B}], "Remove": [{"UserId": C}]}},
            "InvalidParameterCombination",
        ),
        ({"CreateVolumePermission": {}}, "MissingParameter"),
        ({"UserIds": [B]}, "MissingParameter"),
        ({"CreateVolumePermission": {"Add": [{"UserId": "1"}]}}, "InvalidParameterValue"),
        ({"CreateVolumePermission": {"Add": [{"Group": "none"}]}}, "InvalidParameterValue"),
        (
            {"CreateVolumePermission": {"Add": [{"UserId": B, "Group": "all"}]}},
            "InvalidParameterCombination",
        ),
        ({"Attribute": "productCodes", "OperationType": "add"}, "InvalidParameterValue"),
        ({"OperationType": "add", "UserIds": [B], "DryRun": True}, "DryRunOperation"),
    ],
)
def test_changes_that_are_refused(
    aws: SandboxAws, ec2: Any, refused: Any, request_: dict[str, Any], code: str
) -> None:
    snapshot = make_snapshot(aws)
    share(ec2, snapshot, C)
    with refused(code):
        ec2.modify_snapshot_attribute(SnapshotId=snapshot, **request_)
    assert permissions(ec2, snapshot) == [{"UserId": C}]


def test_at_most_500_changes_in_one_call(aws: SandboxAws, ec2: Any, refused: Any) -> None:
    snapshot = make_snapshot(aws)
    accounts = [f"7{n:011d}" for n in range(501)]
    with refused("InvalidParameterValue", "500"):
        share(ec2, snapshot, *accounts)
    share(ec2, snapshot, *accounts[:500])
    share(ec2, snapshot, accounts[500])
    assert len(permissions(ec2, snapshot)) == 501


def test_keys_that_keep_a_snapshot_private(
    aws: SandboxAws, ec2: Any, key: str, refused: Any
) -> None:
    default = make_snapshot(aws, encrypted=True)
    with refused("OperationNotPermitted", "default key"):
        share(ec2, default, B)
    keyed = make_snapshot(aws, key=key)
    with refused("OperationNotPermitted", "publicly"):
        ec2.modify_snapshot_attribute(SnapshotId=keyed, OperationType="add", GroupNames=["all"])
    share(ec2, keyed, B)
    assert permissions(ec2, default) == []
    assert permissions(ec2, keyed) == [{"UserId": B}]


def test_block_public_access_for_snapshots(aws: SandboxAws, ec2: Any, refused: Any) -> None:
    public, other = make_snapshot(aws), make_snapshot(aws)
    theirs = aws.client("ec2", account=B)
    assert ec2.get_snapshot_block_public_access_state()["State"] == "unblocked"

    def publish(snapshot: str) -> None:
        ec2.modify_snapshot_attribute(SnapshotId=snapshot, OperationType="add", GroupNames=["all"])

    publish(public)
    ec2.enable_snapshot_block_public_access(State="block-new-sharing")
    with refused("OperationNotPermitted", "block public access"):
        publish(other)
    share(ec2, other, C)
    assert theirs.describe_snapshots(SnapshotIds=[public])["Snapshots"]
    ec2.enable_snapshot_block_public_access(State="block-all-sharing")
    state = ec2.get_snapshot_block_public_access_state()
    assert (state["State"], state["ManagedBy"]) == ("block-all-sharing", "account")
    with refused("InvalidSnapshot.NotFound"):
        theirs.describe_snapshots(SnapshotIds=[public])
    assert permissions(ec2, public) == [{"Group": "all"}]
    ec2.disable_snapshot_block_public_access()
    assert theirs.describe_snapshots(SnapshotIds=[public])["Snapshots"]
    publish(other)
    with refused("InvalidParameterValue"):
        ec2.enable_snapshot_block_public_access(State="unblocked")


def test_a_shared_snapshot_becomes_a_volume(aws: SandboxAws, ec2: Any, refused: Any) -> None:
    snapshot = make_snapshot(aws, size=11)
    theirs = aws.client("ec2", account=B)

    def volume(**more: Any) -> Any:
        return theirs.create_volume(SnapshotId=snapshot, AvailabilityZone=ZONE, **more)

    with refused("InvalidSnapshot.NotFound"):
        volume()
    share(ec2, snapshot, B)
    made = volume(VolumeType="gp3")
    found = theirs.describe_volumes(VolumeIds=[made["VolumeId"]])["Volumes"][0]
    assert (found["SnapshotId"], found["Size"], found["State"]) == (snapshot, 11, "available")
    assert found["Encrypted"] is False
    assert volume(Size=20)["Size"] == 20
    with refused("InvalidParameterValue", "smaller"):
        volume(Size=10)
    with refused("DryRunOperation"):
        volume(DryRun=True)
    with refused("AuthFailure"):
        permissions(theirs, snapshot)


def test_permission_without_the_key_is_not_enough(
    aws: SandboxAws, ec2: Any, kms: Any, key: str
) -> None:
    snapshot = make_snapshot(aws, key=key)
    share(ec2, snapshot, B)
    theirs = aws.client("ec2", account=B)
    own = make_key(aws, "eu-west-1", account=B)

    def state_of_volume() -> tuple[str, str]:
        made = theirs.create_volume(SnapshotId=snapshot, AvailabilityZone=ZONE)["VolumeId"]
        found = theirs.describe_volumes(VolumeIds=[made])["Volumes"][0]
        assert found["Encrypted"] is True
        return found["State"], found["KmsKeyId"]

    def state_of_copy() -> tuple[str, str]:
        made = theirs.copy_snapshot(
            SourceRegion="eu-west-1", SourceSnapshotId=snapshot, Encrypted=True, KmsKeyId=own
        )["SnapshotId"]
        found = theirs.describe_snapshots(SnapshotIds=[made])["Snapshots"][0]
        return found["State"], found.get("StateMessage", "")

    assert state_of_volume() == ("error", key)
    assert state_of_copy() == ("error", "Given key ID is not accessible")
    kms.create_grant(KeyId=key, GranteePrincipal=f"arn:aws:iam::{B}:root", Operations=EBS)
    assert state_of_volume() == ("available", key)
    assert state_of_copy() == ("completed", "")
