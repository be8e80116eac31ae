"""Who may create volumes of an EBS snapshot."""

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from gilder.aws import errors
from gilder.aws.permissions import needs
from gilder.core.observed import Principals

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ec2.type_defs import CreateVolumePermissionTypeDef

CHANGES = 500  # principals per ModifySnapshotAttribute, 500 at most


@needs("ec2:DescribeSnapshotAttribute")
def permissions(ec2: "EC2Client", snapshot: str) -> Principals | None:
    """The accounts that may create volumes of a snapshot of this account, or everybody.

    None when the snapshot is gone.
    """
    try:
        found = ec2.describe_snapshot_attribute(
            SnapshotId=snapshot, Attribute="createVolumePermission"
        )
    except ClientError as error:
        if errors.code(error) == "InvalidSnapshot.NotFound":
            return None
        raise
    entries = found.get("CreateVolumePermissions", [])
    return Principals(
        accounts=frozenset(e["UserId"] for e in entries if e.get("UserId")),
        public=any(e.get("Group") == "all" for e in entries),
    )


@needs("ec2:ModifySnapshotAttribute")
def modify(ec2: "EC2Client", snapshot: str, *, add: Principals, remove: Principals) -> None:
    """Add principals, then remove others: never both in one call, and 500 at most in each.

    Raises ValueError for organizations and OUs, which snapshots cannot be shared with.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySnapshotAttribute.html
    """
    if any(who.organizations or who.units for who in (add, remove)):
        raise ValueError("snapshots are shared with accounts only")
    for batch in _batches(add):
        ec2.modify_snapshot_attribute(SnapshotId=snapshot, CreateVolumePermission={"Add": batch})
    for batch in _batches(remove):
        ec2.modify_snapshot_attribute(SnapshotId=snapshot, CreateVolumePermission={"Remove": batch})


def _batches(who: Principals) -> list[list["CreateVolumePermissionTypeDef"]]:
    entries: list[CreateVolumePermissionTypeDef] = [{"UserId": a} for a in sorted(who.accounts)]
    if who.public:
        entries.append({"Group": "all"})
    return [entries[start : start + CHANGES] for start in range(0, len(entries), CHANGES)]
