"""A small AWS to start from: keys, AMIs, an instance, a parameter and an organization."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gilder.sandbox.aws.server import SandboxAws
from gilder.sandbox.aws.settings import DEFAULT_ACCOUNT

HOME = "eu-west-1"
KEY_REGIONS = ("eu-west-1", "eu-central-1", "us-east-1")
KEY_ALIAS = "alias/golden"
BASE_NAME = "base-al2023-2026.11.01"
BASE_PARAMETER = "/golden/base"
PROFILES = ("golden-builder", "golden-test")  # instance profiles
MEMBERS = ("222222222222", "333333333333", "444444444444")
_ROOT_DEVICE = "/dev/xvda"


@dataclass(frozen=True)
class Seeded:
    """The ids and ARNs of what `seed` made."""

    account: str
    region: str
    key_alias: str
    keys: Mapping[str, str]  # Region -> ARN of its customer-managed key
    base_image: str
    base_name: str
    base_snapshot: str
    base_parameter: str
    instance: str  # running, of the base AMI, tagged Name=builder
    instance_store_image: str
    default_key_image: str  # encrypted with aws/ebs
    organization_id: str
    organization_arn: str
    root_id: str
    unit_id: str
    unit_arn: str
    members: tuple[str, ...]  # the first two are in the OU, the third is at the root


def seed(aws: SandboxAws) -> Seeded:
    """Fill an empty AWS. Call it once after the start or a reset."""
    ec2 = aws.client("ec2", HOME)
    keys = {region: make_key(aws, region) for region in KEY_REGIONS}
    snapshot = make_snapshot(aws)
    base = register(aws, BASE_NAME, snapshot, tags={"Name": "base-al2023"})
    aws.client("ssm", HOME).put_parameter(
        Name=BASE_PARAMETER, Value=base, Type="String", DataType="aws:ec2:image"
    )
    instance = ec2.run_instances(
        ImageId=base,
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "builder"}]}
        ],
    )["Instances"][0]["InstanceId"]
    instance_store = ec2.register_image(
        Name="legacy-instance-store",
        ImageLocation="golden-bucket/legacy.manifest.xml",
        Architecture="x86_64",
    )["ImageId"]
    default_key = register(aws, "default-key", make_snapshot(aws, encrypted=True))
    for profile in PROFILES:
        make_profile(aws, profile)
    return Seeded(
        account=DEFAULT_ACCOUNT,
        region=HOME,
        key_alias=KEY_ALIAS,
        keys=MappingProxyType(keys),
        base_image=base,
        base_name=BASE_NAME,
        base_snapshot=snapshot,
        base_parameter=BASE_PARAMETER,
        instance=instance,
        instance_store_image=instance_store,
        default_key_image=default_key,
        **_organization(aws),
    )


def make_key(
    aws: SandboxAws, region: str, alias: str | None = KEY_ALIAS, account: str = DEFAULT_ACCOUNT
) -> str:
    """A customer-managed key with an alias; its ARN."""
    kms = aws.client("kms", region, account)
    arn: str = kms.create_key(Description="Golden AMIs")["KeyMetadata"]["Arn"]
    if alias is not None:
        kms.create_alias(AliasName=alias, TargetKeyId=arn)
    return arn


def make_profile(aws: SandboxAws, name: str, account: str = DEFAULT_ACCOUNT) -> None:
    """An instance profile with a role of the same name."""
    iam = aws.client("iam", "us-east-1", account)
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "ec2.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


def make_role(
    aws: SandboxAws,
    account: str,
    name: str,
    *,
    trust: Sequence[str],
    external_id: str | None = None,
    tag_session: bool = False,
    max_seconds: int = 3600,
) -> str:
    """A role that account ids and ARNs may assume, with the external id if one is given; its ARN.

    `tag_session` lets them pass session tags too.
    """
    actions = ["sts:AssumeRole", "sts:TagSession"] if tag_session else ["sts:AssumeRole"]
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Principal": {"AWS": list(trust)},
        "Action": actions,
    }
    if external_id is not None:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    made = aws.client("iam", "us-east-1", account).create_role(
        RoleName=name,
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        MaxSessionDuration=max_seconds,
    )
    return str(made["Role"]["Arn"])


def make_snapshot(
    aws: SandboxAws,
    region: str = HOME,
    account: str = DEFAULT_ACCOUNT,
    *,
    size: int = 8,
    encrypted: bool = False,
    key: str | None = None,
) -> str:
    """A completed snapshot, encrypted with `key` or with aws/ebs when wanted."""
    ec2 = aws.client("ec2", region, account)
    more: dict[str, Any] = {"Encrypted": True} if encrypted or key else {}
    if key is not None:
        more["KmsKeyId"] = key
    volume = ec2.create_volume(Size=size, AvailabilityZone=f"{region}a", **more)["VolumeId"]
    snapshot: str = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    ec2.delete_volume(VolumeId=volume)
    return snapshot


def register(
    aws: SandboxAws,
    name: str,
    snapshot: str,
    region: str = HOME,
    account: str = DEFAULT_ACCOUNT,
    *,
    tags: Mapping[str, str] | None = None,
    **parameters: Any,
) -> str:
    """An AMI of one root snapshot; its id."""
    request: dict[str, Any] = {
        "Name": name,
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "EnaSupport": True,
        "RootDeviceName": _ROOT_DEVICE,
        "BlockDeviceMappings": [
            {"DeviceName": _ROOT_DEVICE, "Ebs": {"SnapshotId": snapshot, "VolumeType": "gp3"}}
        ],
        **parameters,
    }
    if tags:
        listed = [{"Key": k, "Value": v} for k, v in tags.items()]
        request["TagSpecifications"] = [{"ResourceType": "image", "Tags": listed}]
    image: str = aws.client("ec2", region, account).register_image(**request)["ImageId"]
    return image


def _organization(aws: SandboxAws) -> dict[str, Any]:
    client = aws.client("organizations", "us-east-1")
    organization = client.create_organization(FeatureSet="ALL")["Organization"]
    root = client.list_roots()["Roots"][0]["Id"]
    unit = client.create_organizational_unit(ParentId=root, Name="workloads")["OrganizationalUnit"]
    aws.choose_account_ids(*MEMBERS)
    members = tuple(
        client.create_account(AccountName=f"member-{n}", Email=f"member-{n}@example.com")[
            "CreateAccountStatus"
        ]["AccountId"]
        for n in range(1, len(MEMBERS) + 1)
    )
    for account in members[:2]:
        client.move_account(AccountId=account, SourceParentId=root, DestinationParentId=unit["Id"])
    return {
        "organization_id": organization["Id"],
        "organization_arn": organization["Arn"],
        "root_id": root,
        "unit_id": unit["Id"],
        "unit_arn": unit["Arn"],
        "members": members,
    }
