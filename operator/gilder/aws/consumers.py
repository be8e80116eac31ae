"""A shared AMI from the side of a consumer account, with the credentials of a role there."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from gilder.aws import errors, parameters, resources
from gilder.aws.permissions import needs

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client
    from mypy_boto3_kms.client import KMSClient
    from mypy_boto3_ssm.client import SSMClient

IDS = 200  # values of one filter, 200 at most
# A small type that Regions have, by architecture; a dry run launches nothing.
TYPES: Mapping[str, Any] = {
    "arm64": "t4g.nano",
    "arm64_mac": "mac2.metal",
    "i386": "t2.nano",
    "x86_64_mac": "mac1.metal",
}
OTHER: Any = "t3.nano"
# The account has no default VPC, without which a launch must name a subnet: nothing about the AMI.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
NO_NETWORK = frozenset({"VPCIdNotSpecified", "VPCResourceNotSpecified"})
# What AWS says in place of doing a thing that it would have done.
WOULD = frozenset({"DryRunOperation", "DryRunOperationException"})


@needs("ec2:DescribeImages")
def visible(ec2: "EC2Client", ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """AMI id to its tags as this account sees them; AMIs that it does not see are left out.

    The owner's tags are not among them.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
    """
    wanted = sorted(set(ids))
    found: dict[str, dict[str, str]] = {}
    for start in range(0, len(wanted), IDS):
        # A filter, not ImageIds: one unknown id would fail the whole call.
        pages = ec2.get_paginator("describe_images").paginate(
            Filters=[{"Name": "image-id", "Values": wanted[start : start + IDS]}],
            IncludeDeprecated=True,
        )
        for page in pages:
            for raw in page["Images"]:
                found[raw["ImageId"]] = {t["Key"]: t["Value"] for t in raw.get("Tags", [])}
    return found


@needs("ec2:RunInstances")
def dry_run(ec2: "EC2Client", image: str, architecture: str) -> str:
    """Empty when this account may launch an AMI, or cannot try for want of a default VPC; else
    what AWS says.

    It says nothing about the key of an encrypted AMI, which a launch uses only later.
    Raises what says nothing about the AMI: throttling, outages, credentials.
    """
    try:
        ec2.run_instances(
            ImageId=image,
            InstanceType=TYPES.get(architecture, OTHER),
            MinCount=1,
            MaxCount=1,
            DryRun=True,
        )
    except ClientError as error:
        return "" if errors.code(error) in NO_NETWORK else _said(error)
    return ""


@needs("kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext")
def key_usable(kms: "KMSClient", arn: str) -> str:
    """Empty when this account's role may use a key to launch, else what AWS says.

    The key is asked for a data key as EBS would, which is neither made nor shown. Of the other
    operations that a launch needs only DescribeKey is tried.
    Raises what says nothing about the key: throttling, outages, credentials.
    https://docs.aws.amazon.com/kms/latest/developerguide/testing-permissions.html
    """
    try:
        state = kms.describe_key(KeyId=arn)["KeyMetadata"].get("KeyState", "Enabled")
        if state != "Enabled":
            return f"the key is {state}"
        kms.generate_data_key_without_plaintext(KeyId=arn, KeySpec="AES_256", DryRun=True)
    except ClientError as error:
        return _said(error)
    return ""


@needs("ec2:CreateTags")
def tag(ec2: "EC2Client", ids: Sequence[str], tags: Mapping[str, str]) -> None:
    """Set tags that this account alone sees."""
    resources.tag(ec2, ids, tags)


@needs("ec2:DeleteTags")
def untag(ec2: "EC2Client", ids: Sequence[str], keys: Sequence[str]) -> None:
    """Take off tags that this account alone sees."""
    resources.untag(ec2, ids, keys)


@needs("ssm:GetParameters")
def parameter(ssm: "SSMClient", name: str) -> tuple[str, str]:
    """The value of a parameter of this account, and its types as parameters.other has them; both
    empty when there is none."""
    raw = resources.whole_parameters(ssm, [name]).get(name)
    return ("", "") if raw is None else (raw["Value"], parameters.other(raw))


@needs("ssm:ListTagsForResource")
def parameter_owner(ssm: "SSMClient", name: str, cluster: str) -> str:
    """The GoldenImage that a parameter's tags name; empty when it is not of this cluster."""
    return parameters.owner(ssm, name, cluster)


@needs(
    "ssm:PutParameter",
    "ssm:DeleteParameter",
    "ssm:AddTagsToResource",
    "ssm:RemoveTagsFromResource",
    "ssm:ListTagsForResource",
    "ec2:DescribeImages",
)
def change_parameter(ssm: "SSMClient", action: parameters.Change) -> None:
    """Write, delete or let go of a parameter of this account. Raises parameters.NotOursError."""
    parameters.change(ssm, action)


def _said(error: ClientError) -> str:
    code = errors.code(error)
    if code in WOULD:
        return ""
    if not errors.problem(error, "").permanent:
        raise error
    return f"{code}: {errors.message(error)}"
