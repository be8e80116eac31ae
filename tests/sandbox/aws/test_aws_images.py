"""RegisterImage and DescribeImages."""

from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws


def ids(answer: dict[str, Any]) -> list[str]:
    return [i["ImageId"] for i in answer["Images"]]


def test_register_keeps_what_it_was_given(aws: SandboxAws, ec2: Any) -> None:
    snapshot = make_snapshot(aws, size=12)
    data = make_snapshot(aws, size=30, encrypted=True)
    image_id = ec2.register_image(
        Name="full",
        Description="all of it",
        Architecture="arm64",
        BootMode="uefi",
        ImdsSupport="v2.0",
        TpmSupport="v2.0",
        EnaSupport=True,
        VirtualizationType="hvm",
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {
                    "SnapshotId": snapshot,
                    "VolumeSize": 20,
                    "VolumeType": "gp3",
                    "DeleteOnTermination": False,
                },
            },
            {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": data}},
            {"DeviceName": "/dev/sdg", "VirtualName": "ephemeral0"},
        ],
        TagSpecifications=[{"ResourceType": "image", "Tags": [{"Key": "k", "Value": "v"}]}],
    )["ImageId"]
    image = ec2.describe_images(ImageIds=[image_id])["Images"][0]
    assert image["State"] == "available"
    assert image["Name"] == "full"
    assert image["Description"] == "all of it"
    assert image["Architecture"] == "arm64"
    assert image["BootMode"] == "uefi"
    assert image["ImdsSupport"] == "v2.0"
    assert image["TpmSupport"] == "v2.0"
    assert image["EnaSupport"] is True
    assert image["VirtualizationType"] == "hvm"
    assert image["RootDeviceName"] == "/dev/xvda"
    assert image["RootDeviceType"] == "ebs"
    assert image["Tags"] == [{"Key": "k", "Value": "v"}]
    assert image["OwnerId"] == "123456789012"
    assert image["CreationDate"].endswith(".000Z")
    root, second, third = image["BlockDeviceMappings"]
    assert root["Ebs"] == {
        "SnapshotId": snapshot,
        "VolumeSize": 20,
        "VolumeType": "gp3",
        "DeleteOnTermination": False,
        "Encrypted": False,
    }
    assert second["Ebs"]["Encrypted"] is True
    assert "KmsKeyId" not in second["Ebs"]
    assert third == {"DeviceName": "/dev/sdg", "VirtualName": "ephemeral0"}


def test_register_refuses(aws: SandboxAws, ec2: Any, base: str, refused: Any) -> None:
    snapshot = make_snapshot(aws, size=12)
    with refused("InvalidAMIName.Duplicate", f"base-image is already in use by AMI {base}"):
        register(aws, "base-image", snapshot)
    with refused("InvalidAMIName.Malformed"):
        register(aws, "sla$h", snapshot)
    with refused("InvalidSnapshot.NotFound"):
        register(aws, "no-snapshot", "snap-00000000000000000")
    with refused("InvalidBlockDeviceMapping", "smaller than snapshot"):
        register(
            aws,
            "too-small",
            snapshot,
            BlockDeviceMappings=[
                {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot, "VolumeSize": 5}}
            ],
        )
    with refused("DryRunOperation"):
        register(aws, "dry", snapshot, DryRun=True)
    assert ids(ec2.describe_images(Owners=["self"])) == [base]


@pytest.mark.usefixtures("base")
def test_the_same_name_is_free_in_another_region_and_account(aws: SandboxAws) -> None:
    for region, account in (("us-east-1", "123456789012"), ("eu-west-1", "222222222222")):
        register(aws, "base-image", make_snapshot(aws, region, account), region, account)


def test_an_image_location_alone_makes_an_instance_store_ami(ec2: Any) -> None:
    image_id = ec2.register_image(Name="store", ImageLocation="bucket/manifest.xml")["ImageId"]
    image = ec2.describe_images(ImageIds=[image_id])["Images"][0]
    assert image["RootDeviceType"] == "instance-store"
    assert image["BlockDeviceMappings"] == []
    assert image["ImageLocation"] == "bucket/manifest.xml"


def test_describe_by_id_errors(ec2: Any, base: str, refused: Any) -> None:
    gone = ["ami-00000000000000001", "ami-00000000000000002"]
    with refused("InvalidAMIID.Malformed", 'Invalid id: "ami-x"'):
        ec2.describe_images(ImageIds=["ami-x"])
    with refused("InvalidAMIID.NotFound", rf"The image id '\[{gone[0]}\]' does not exist"):
        ec2.describe_images(ImageIds=[base, gone[0]])
    with refused("InvalidAMIID.NotFound", rf"ids '\[{gone[0]}, {gone[1]}\]' do not exist"):
        ec2.describe_images(ImageIds=gone)
    ec2.deregister_image(ImageId=base)
    with refused("InvalidAMIID.NotFound"):
        ec2.describe_images(ImageIds=[base])


def test_owners(aws: SandboxAws, ec2: Any, base: str, refused: Any) -> None:
    foreign = register(
        aws, "foreign", make_snapshot(aws, account="222222222222"), account="222222222222"
    )
    aws.client("ec2", account="222222222222").modify_image_attribute(
        ImageId=foreign, LaunchPermission={"Add": [{"UserId": "123456789012"}]}
    )
    assert ids(ec2.describe_images(Owners=["self"])) == [base]
    assert ids(ec2.describe_images(Owners=["222222222222"])) == [foreign]
    assert ids(ec2.describe_images(Owners=["amazon"])) == []
    assert sorted(ids(ec2.describe_images())) == sorted([base, foreign])
    with refused("InvalidUserID.Malformed"):
        ec2.describe_images(Owners=["somebody"])


@pytest.mark.parametrize(
    ("name", "match", "miss"),
    [
        ("name", "base-*", "base"),
        ("name", "base-imag?", "base-imag"),
        ("tag:Name", "base", "other"),
        ("tag:Name", "b*", "c*"),
        ("tag-key", "Name", "name"),
        ("state", "available", "pending"),
        ("architecture", "x86_64", "arm64"),
        ("root-device-type", "ebs", "instance-store"),
        ("owner-id", "123456789012", "222222222222"),
        ("is-public", "false", "true"),
        ("virtualization-type", "hvm", "paravirtual"),
        ("block-device-mapping.volume-size", "8", "9"),
    ],
)
def test_filters(ec2: Any, base: str, name: str, match: str, miss: str) -> None:
    def found(value: str) -> list[str]:
        return ids(ec2.describe_images(Filters=[{"Name": name, "Values": [value]}]))

    assert found(match) == [base]
    assert found(miss) == []


def test_filters_on_ids(ec2: Any, base: str, refused: Any) -> None:
    image = ec2.describe_images(ImageIds=[base])["Images"][0]
    snapshot = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    copy = ec2.copy_image(Name="copied", SourceImageId=base, SourceRegion="eu-west-1")["ImageId"]
    for name, value, expected in (
        ("image-id", base, base),
        ("block-device-mapping.snapshot-id", snapshot, base),
        ("source-image-id", base, copy),
        ("source-image-region", "eu-west-1", copy),
    ):
        assert ids(ec2.describe_images(Filters=[{"Name": name, "Values": [value]}])) == [expected]
    # Filters are joined by "and", the values of one by "or".
    both = [{"Name": "image-id", "Values": [base, copy]}, {"Name": "name", "Values": ["cop*"]}]
    assert ids(ec2.describe_images(Filters=both)) == [copy]
    with refused("InvalidParameterValue", "The filter 'colour' is invalid"):
        ec2.describe_images(Filters=[{"Name": "colour", "Values": ["red"]}])


def test_pages_cover_everything_once(aws: SandboxAws, ec2: Any) -> None:
    snapshot = make_snapshot(aws)
    made = [register(aws, f"image-{n}", snapshot) for n in range(12)]
    first = ec2.describe_images(Owners=["self"], MaxResults=5)
    assert ids(first) == made[:5]
    # The AMI that the token ends on may be gone before the next call.
    ec2.deregister_image(ImageId=made[4])
    second = ec2.describe_images(Owners=["self"], MaxResults=5, NextToken=first["NextToken"])
    assert ids(second) == made[5:10]
    third = ec2.describe_images(Owners=["self"], MaxResults=5, NextToken=second["NextToken"])
    assert ids(third) == made[10:]
    assert "NextToken" not in third
    pages = ec2.get_paginator("describe_images").paginate(
        Owners=["self"], PaginationConfig={"PageSize": 5}
    )
    assert [i["ImageId"] for p in pages for i in p["Images"]] == made[:4] + made[5:]


def test_a_bad_page_token_is_refused(ec2: Any, refused: Any) -> None:
    with refused("InvalidParameterValue", "token"):
        ec2.describe_images(NextToken="nonsense", MaxResults=5)


def test_disabled_amis_are_hidden_unless_asked_for(ec2: Any, base: str) -> None:
    ec2.disable_image(ImageId=base)
    assert ids(ec2.describe_images(Owners=["self"])) == []
    assert ids(ec2.describe_images(ImageIds=[base])) == []
    image = ec2.describe_images(ImageIds=[base], IncludeDisabled=True)["Images"][0]
    assert image["State"] == "disabled"


def test_deprecated_amis_are_hidden_from_others_only(aws: SandboxAws, ec2: Any, base: str) -> None:
    ec2.modify_image_attribute(ImageId=base, LaunchPermission={"Add": [{"Group": "all"}]})
    ec2.enable_image_deprecation(ImageId=base, DeprecateAt="2031-05-04T10:20:30Z")
    image = ec2.describe_images(ImageIds=[base])["Images"][0]
    assert image["DeprecationTime"] == "2031-05-04T10:20:00.000Z"
    other = aws.client("ec2", account="222222222222")
    assert ids(other.describe_images(Owners=["123456789012"])) == [base]
    aws.clock.advance(6 * 365 * 86400)
    assert ids(other.describe_images(Owners=["123456789012"])) == []
    assert ids(other.describe_images(Owners=["123456789012"], IncludeDeprecated=True)) == [base]
    assert ids(ec2.describe_images(Owners=["self"])) == [base]
    ec2.disable_image_deprecation(ImageId=base)
    assert ids(other.describe_images(Owners=["123456789012"])) == [base]


def test_edited_fields_show(aws: SandboxAws, ec2: Any, base: str) -> None:
    aws.edit_image(base, product_codes=["abcdef"], failure="it broke")
    image = ec2.describe_images(ImageIds=[base])["Images"][0]
    assert image["ProductCodes"] == [{"ProductCodeId": "abcdef", "ProductCodeType": "marketplace"}]
    assert image["State"] == "failed"
    assert image["StateReason"] == {"Code": "Client.InternalError", "Message": "it broke"}
    with pytest.raises(TypeError, match="no field colour"):
        aws.edit_image(base, colour="red")
