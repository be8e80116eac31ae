"""RunInstances: whose AMI, which key, which volumes."""

import json
from typing import Any

import pytest

from gilder.sandbox.aws.seed import Seeded, make_key, make_snapshot, register, seed
from gilder.sandbox.aws.server import SandboxAws

A, B, C = "123456789012", "222222222222", "333333333333"
OPERATIONS = [
    "CreateGrant",
    "Decrypt",
    "DescribeKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
]


def launch(client: Any, image_id: str, **more: Any) -> dict[str, Any]:
    request = {"ImageId": image_id, "MinCount": 1, "MaxCount": 1, **more}
    answer = client.run_instances(**request)["Instances"][0]
    assert answer["State"]["Name"] == "pending"
    found = client.describe_instances(InstanceIds=[answer["InstanceId"]])
    instance: dict[str, Any] = found["Reservations"][0]["Instances"][0]
    return instance


def share(client: Any, image_id: str, **permission: str) -> None:
    client.modify_image_attribute(ImageId=image_id, LaunchPermission={"Add": [permission]})


def statement(**condition: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [f"kms:{o}" for o in OPERATIONS],
        "Resource": "*",
        "Condition": condition,
    }


def add_statement(kms: Any, key: str, extra: dict[str, Any]) -> None:
    document = json.loads(kms.get_key_policy(KeyId=key)["Policy"])
    document["Statement"].append(extra)
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(document))


def test_volumes_follow_the_ami(ec2: Any, encrypted: str, key: str) -> None:
    instance = launch(ec2, encrypted)
    assert instance["State"]["Name"] == "running"
    assert instance["ImageId"] == encrypted
    assert instance["RootDeviceName"] == "/dev/xvda"
    assert instance["RootDeviceType"] == "ebs"
    volume_id = instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    volume = ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]
    assert (volume["Encrypted"], volume["KmsKeyId"], volume["Size"]) == (True, key, 8)
    assert volume["VolumeType"] == "gp3"


def test_the_request_may_change_the_mappings(ec2: Any, base: str) -> None:
    instance = launch(
        ec2,
        base,
        BlockDeviceMappings=[
            {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 50, "DeleteOnTermination": False}},
            {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 7}},
        ],
    )
    devices = {m["DeviceName"]: m["Ebs"] for m in instance["BlockDeviceMappings"]}
    volumes = ec2.describe_volumes(VolumeIds=[d["VolumeId"] for d in devices.values()])["Volumes"]
    assert sorted(v["Size"] for v in volumes) == [7, 50]
    assert devices["/dev/xvda"]["DeleteOnTermination"] is False


def test_amis_that_cannot_be_launched(aws: SandboxAws, ec2: Any, base: str, refused: Any) -> None:
    with refused("InvalidAMIID.NotFound"):
        launch(ec2, "ami-00000000000000001")
    with refused("InvalidAMIID.Malformed"):
        launch(ec2, "ami-x")
    with refused("InvalidAMIID.NotFound"):
        launch(aws.client("ec2", account=B), base)
    with refused("MissingParameter"):
        ec2.run_instances(MinCount=1, MaxCount=1)
    with refused("DryRunOperation"):
        launch(ec2, base, DryRun=True)
    aws.settings.update(image_delay=60.0)
    pending = ec2.copy_image(Name="slow", SourceImageId=base, SourceRegion="eu-west-1")["ImageId"]
    with refused("InvalidAMIID.Unavailable"):
        launch(ec2, pending)
    ec2.deregister_image(ImageId=base)
    with refused("InvalidAMIID.Unavailable"):
        launch(ec2, base)


def test_templates_and_parameters_name_the_ami(aws: SandboxAws, ec2: Any, base: str) -> None:
    aws.client("ssm").put_parameter(
        Name="/golden/base", Value=base, Type="String", DataType="aws:ec2:image"
    )
    assert launch(ec2, "resolve:ssm:/golden/base")["ImageId"] == base
    ec2.create_launch_template(
        LaunchTemplateName="web", LaunchTemplateData={"ImageId": base, "InstanceType": "t3.small"}
    )
    answer = ec2.run_instances(
        LaunchTemplate={"LaunchTemplateName": "web"}, MinCount=1, MaxCount=1
    )["Instances"][0]
    assert (answer["ImageId"], answer["InstanceType"]) == (base, "t3.small")


def test_a_shared_ami_launches_in_the_other_account(
    aws: SandboxAws, ec2: Any, base: str, refused: Any
) -> None:
    other = aws.client("ec2", account=B)
    share(ec2, base, UserId=B)
    with refused("DryRunOperation"):
        launch(other, base, DryRun=True)
    instance = launch(other, base)
    assert instance["State"]["Name"] == "running"
    volume_id = instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert other.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]["Size"] == 8
    ec2.modify_image_attribute(ImageId=base, LaunchPermission={"Remove": [{"UserId": B}]})
    with refused("InvalidAMIID.NotFound"):
        launch(other, base)


def test_units_let_their_members_launch(aws: SandboxAws, refused: Any) -> None:
    seeded = seed(aws)
    share(aws.client("ec2"), seeded.base_image, OrganizationalUnitArn=seeded.unit_arn)
    for account in (B, C):
        instance = launch(aws.client("ec2", account=account), seeded.base_image)
        assert instance["State"]["Name"] == "running"
    with refused("InvalidAMIID.NotFound"):
        launch(aws.client("ec2", account="444444444444"), seeded.base_image)


@pytest.mark.parametrize("principal", [f"arn:aws:iam::{B}:root", f"arn:aws:iam::{B}:role/app"])
def test_an_encrypted_ami_needs_a_grant(
    aws: SandboxAws, ec2: Any, kms: Any, encrypted: str, key: str, principal: str
) -> None:
    other = aws.client("ec2", account=B)
    share(ec2, encrypted, UserId=B)
    instance = launch(other, encrypted)
    assert instance["State"]["Name"] == "terminated"
    assert instance["StateReason"] == {
        "Code": "Client.InternalError",
        "Message": "Client.InternalError: Client error on launch",
    }
    grant = kms.create_grant(KeyId=key, GranteePrincipal=principal, Operations=OPERATIONS)
    assert launch(other, encrypted)["State"]["Name"] == "running"
    kms.revoke_grant(KeyId=key, GrantId=grant["GrantId"])
    assert launch(other, encrypted)["State"]["Name"] == "terminated"
    # Every operation is needed.
    kms.create_grant(KeyId=key, GranteePrincipal=principal, Operations=OPERATIONS[1:])
    assert launch(other, encrypted)["State"]["Name"] == "terminated"
    with aws.settings.changed(check_key_at_launch=False):
        assert launch(other, encrypted)["State"]["Name"] == "running"


def test_the_owner_needs_an_enabled_key(ec2: Any, kms: Any, encrypted: str, key: str) -> None:
    assert launch(ec2, encrypted)["State"]["Name"] == "running"
    kms.disable_key(KeyId=key)
    assert launch(ec2, encrypted)["State"]["Name"] == "terminated"


def shared_encrypted(aws: SandboxAws) -> tuple[Seeded, str, str]:
    seeded = seed(aws)
    key = seeded.keys["eu-west-1"]
    image = register(aws, "encrypted", make_snapshot(aws, key=key))
    share(aws.client("ec2"), image, OrganizationArn=seeded.organization_arn)
    return seeded, key, image


def test_a_key_policy_for_the_organization(aws: SandboxAws) -> None:
    seeded, key, image = shared_encrypted(aws)
    member = aws.client("ec2", account="444444444444")
    assert launch(member, image)["State"]["Name"] == "terminated"
    extra = statement(StringEquals={"aws:PrincipalOrgID": seeded.organization_id})
    add_statement(aws.client("kms"), key, extra)
    assert launch(member, image)["State"]["Name"] == "running"


def test_a_key_policy_for_one_unit(aws: SandboxAws) -> None:
    seeded, key, image = shared_encrypted(aws)
    path = f"{seeded.organization_id}/*/{seeded.unit_id}/*"
    extra = statement(**{"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": path}})
    add_statement(aws.client("kms"), key, extra)
    assert launch(aws.client("ec2", account=B), image)["State"]["Name"] == "running"
    outside = aws.client("ec2", account="444444444444")
    assert launch(outside, image)["State"]["Name"] == "terminated"


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"Principal": {"AWS": f"arn:aws:iam::{B}:root"}}, "running"),
        ({"Principal": {"AWS": B}}, "running"),
        ({"Principal": {"AWS": f"arn:aws:iam::{C}:root"}}, "terminated"),
        ({"Action": ["kms:CreateGrant", "kms:De*", "kms:GenerateDataKey*", "kms:ReEncrypt*"]},
         "running"),
        ({"Action": "kms:Decrypt"}, "terminated"),
        ({"Condition": {"StringEquals": {"kms:ViaService": "ec2.eu-west-1.amazonaws.com"}}},
         "running"),
        ({"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-zzzzzzzzzz"}}}, "terminated"),
        ({"Condition": {"StringNotEquals": {"aws:PrincipalAccount": B}}}, "terminated"),
        ({"Effect": "Deny"}, "terminated"),
    ],
)  # fmt: skip
def test_key_policies_are_evaluated(
    aws: SandboxAws, ec2: Any, kms: Any, encrypted: str, key: str,
    change: dict[str, Any], state: str,
) -> None:  # fmt: skip
    share(ec2, encrypted, UserId=B)
    add_statement(kms, key, statement() | change)
    assert launch(aws.client("ec2", account=B), encrypted)["State"]["Name"] == state


def test_a_copy_with_a_key_of_another_account(aws: SandboxAws, ec2: Any, base: str) -> None:
    foreign = make_key(aws, "eu-west-1", None, account=B)
    request = {"SourceImageId": base, "SourceRegion": "eu-west-1", "KmsKeyId": foreign}

    def state(name: str) -> str:
        image_id = ec2.copy_image(Name=name, Encrypted=True, **request)["ImageId"]
        found: str = ec2.describe_images(ImageIds=[image_id])["Images"][0]["State"]
        return found

    assert state("without") == "failed"
    aws.client("kms", account=B).create_grant(
        KeyId=foreign, GranteePrincipal=f"arn:aws:iam::{A}:root", Operations=OPERATIONS
    )
    assert state("with") == "available"
