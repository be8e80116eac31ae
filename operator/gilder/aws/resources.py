"""What AMIs stand on besides themselves: snapshots, instances, tags, Regions and parameters."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from gilder.api.names import TAG_CLUSTER
from gilder.aws import errors
from gilder.aws.permissions import needs
from gilder.core import pool
from gilder.core.observed import Instance, Snapshot

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_ssm.client import SSMClient
    from mypy_boto3_ssm.type_defs import ParameterTypeDef

FILTER_VALUES = 200  # values of one filter, 200 at most
TAGGED = 1000  # resources per CreateTags, 1000 at most
PARAMETERS = 10  # names per GetParameters, 10 at most


@needs("ec2:DescribeSnapshots")
def snapshots(ec2: "EC2Client", ids: Iterable[str]) -> dict[str, tuple[Snapshot, str | None]]:
    """Snapshot id to the snapshot and its KMS key ARN; ids that cannot be seen are left out."""
    wanted = sorted(set(ids))
    found: dict[str, tuple[Snapshot, str | None]] = {}
    for start in range(0, len(wanted), FILTER_VALUES):
        # A filter, not SnapshotIds: one unknown id would fail the whole call.
        pages = ec2.get_paginator("describe_snapshots").paginate(
            OwnerIds=["self"],
            Filters=[{"Name": "snapshot-id", "Values": wanted[start : start + FILTER_VALUES]}],
        )
        for page in pages:
            found |= {raw["SnapshotId"]: _snapshot(raw) for raw in page["Snapshots"]}
    return found


@needs("ec2:DescribeSnapshots")
def owned_snapshots(ec2: "EC2Client", cluster: str) -> dict[str, tuple[Snapshot, str | None]]:
    """Snapshots of this account that carry our cluster's tag, of AMIs that are gone too."""
    pages = ec2.get_paginator("describe_snapshots").paginate(
        OwnerIds=["self"],
        Filters=[{"Name": f"tag:{TAG_CLUSTER}", "Values": [cluster]}],
        PaginationConfig={"PageSize": TAGGED},
    )
    return {raw["SnapshotId"]: _snapshot(raw) for page in pages for raw in page["Snapshots"]}


def _snapshot(raw: Any) -> tuple[Snapshot, str | None]:
    tags = pool.strings({t["Key"]: t["Value"] for t in raw.get("Tags", [])})
    progress = raw.get("Progress", "") if raw.get("State") == "pending" else ""
    return Snapshot(raw["SnapshotId"], tags, progress), raw.get("KmsKeyId") or None


@needs("ec2:DeleteSnapshot")
def delete_snapshot(ec2: "EC2Client", snapshot: str) -> None:
    """Delete a snapshot that no AMI uses; one that is gone already is no error."""
    try:
        ec2.delete_snapshot(SnapshotId=snapshot)
    except ClientError as error:
        if errors.code(error) != "InvalidSnapshot.NotFound":
            raise


@needs("ec2:DescribeInstances")
def instances(
    ec2: "EC2Client", *, id: str | None = None, tags: Mapping[str, str] | None = None
) -> list[Instance]:
    """Running and stopped instances by id or by tags."""
    filters: list[Any] = [
        {"Name": "instance-state-name", "Values": ["running", "stopping", "stopped"]}
    ]
    if id is not None:
        filters.append({"Name": "instance-id", "Values": [id]})
    filters += [{"Name": f"tag:{k}", "Values": [v]} for k, v in sorted((tags or {}).items())]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    return [
        Instance(
            raw["InstanceId"],
            raw["State"]["Name"],
            raw.get("RootDeviceType", "ebs"),
            {t["Key"]: t["Value"] for t in raw.get("Tags", [])},
        )
        for page in pages
        for reservation in page["Reservations"]
        for raw in reservation["Instances"]
    ]


@needs("ec2:CreateTags")
def tag(ec2: "EC2Client", ids: Sequence[str], tags: Mapping[str, str]) -> None:
    for start in range(0, len(ids), TAGGED):
        ec2.create_tags(
            Resources=list(ids[start : start + TAGGED]),
            Tags=[{"Key": k, "Value": v} for k, v in sorted(tags.items())],
        )


@needs("ec2:DeleteTags")
def untag(ec2: "EC2Client", ids: Sequence[str], keys: Sequence[str]) -> None:
    for start in range(0, len(ids), TAGGED):
        ec2.delete_tags(
            Resources=list(ids[start : start + TAGGED]), Tags=[{"Key": k} for k in keys]
        )


@needs("ec2:DescribeRegions")
def regions(ec2: "EC2Client") -> dict[str, bool]:
    """Every Region of the partition, and whether the account may use it."""
    found = ec2.describe_regions(AllRegions=True)["Regions"]
    return {r["RegionName"]: r.get("OptInStatus") != "not-opted-in" for r in found}


@needs("ssm:GetParameters")
def parameters(ssm: "SSMClient", names: Iterable[str]) -> dict[str, str]:
    """Parameter name to value; names that do not exist are left out."""
    return {name: raw["Value"] for name, raw in whole_parameters(ssm, names).items()}


@needs("ssm:GetParameters")
def whole_parameters(ssm: "SSMClient", names: Iterable[str]) -> dict[str, "ParameterTypeDef"]:
    """Parameters by name; names that do not exist are left out."""
    wanted = sorted(set(names))
    found: dict[str, ParameterTypeDef] = {}
    for start in range(0, len(wanted), PARAMETERS):
        answer = ssm.get_parameters(Names=wanted[start : start + PARAMETERS])
        found |= {raw["Name"]: raw for raw in answer["Parameters"]}
    return found
