"""createVolumePermission of snapshots."""

from typing import Any

from gilder.aws.permissions import needs
from gilder.core.observed import Principals


@needs("ec2:DescribeSnapshotAttribute")
def permissions(ec2: Any, snapshot: str) -> Principals:
    found = ec2.describe_snapshot_attribute(
        SnapshotId=snapshot, Attribute="createVolumePermission"
    )["CreateVolumePermissions"]
    return Principals(
        frozenset(p["UserId"] for p in found if "UserId" in p),
        public=any(p.get("Group") == "all" for p in found),
    )


@needs("ec2:ModifySnapshotAttribute")
def modify(ec2: Any, snapshot: str, *, add: Principals, remove: Principals) -> None:
    for operation, who in (("Add", add), ("Remove", remove)):
        items = [{"UserId": a} for a in sorted(who.accounts)] + (
            [{"Group": "all"}] if who.public else []
        )
        for start in range(0, len(items), 500):
            ec2.modify_snapshot_attribute(
                SnapshotId=snapshot,
                Attribute="createVolumePermission",
                CreateVolumePermission={operation: items[start : start + 500]},
            )
