"""Deregistration, protection, disabling, references, parameters and tags."""

from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws

B = "222222222222"


def snapshot_of(client: Any, image_id: str) -> str:
    image = client.describe_images(ImageIds=[image_id])["Images"][0]
    found: str = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    return found


def test_deregistering_keeps_or_deletes_the_snapshots(
    aws: SandboxAws, ec2: Any, base: str, refused: Any
) -> None:
    snapshot = snapshot_of(ec2, base)
    sibling = register(aws, "sibling", snapshot)
    answer = ec2.deregister_image(ImageId=base, DeleteAssociatedSnapshots=True)
    assert answer["Return"] is True
    # Still used by another AMI.
    assert answer["DeleteSnapshotResults"] == [{"SnapshotId": snapshot, "ReturnCode": "skipped"}]
    last = register(aws, "last-one", snapshot)
    assert "DeleteSnapshotResults" not in ec2.deregister_image(ImageId=sibling)
    answer = ec2.deregister_image(ImageId=last, DeleteAssociatedSnapshots=True)
    assert answer["DeleteSnapshotResults"] == [{"SnapshotId": snapshot, "ReturnCode": "success"}]
    with refused("InvalidSnapshot.NotFound"):
        ec2.describe_snapshots(SnapshotIds=[snapshot])


def test_a_second_deregistration_says_unavailable(ec2: Any, base: str, refused: Any) -> None:
    with refused("DryRunOperation"):
        ec2.deregister_image(ImageId=base, DryRun=True)
    ec2.deregister_image(ImageId=base)
    with refused("InvalidAMIID.Unavailable"):
        ec2.deregister_image(ImageId=base)
    with refused("InvalidAMIID.Unavailable"):
        ec2.describe_image_attribute(ImageId=base, Attribute="launchPermission")
    with refused("InvalidAMIID.NotFound"):
        ec2.deregister_image(ImageId="ami-00000000000000001")


def test_a_name_is_free_after_deregistration(aws: SandboxAws, ec2: Any, base: str) -> None:
    ec2.deregister_image(ImageId=base)
    register(aws, "base-image", make_snapshot(aws))


def test_deregistration_protection(aws: SandboxAws, ec2: Any, base: str, refused: Any) -> None:
    def shown() -> str:
        value: str = ec2.describe_images(ImageIds=[base])["Images"][0]["DeregistrationProtection"]
        return value

    ec2.enable_image_deregistration_protection(ImageId=base, WithCooldown=True)
    assert shown() == "enabled-with-cooldown"
    with refused("OperationNotPermitted", "protection"):
        ec2.deregister_image(ImageId=base)
    ec2.disable_image_deregistration_protection(ImageId=base)
    assert shown() == "disabled"
    with refused("OperationNotPermitted", "cooldown"):
        ec2.deregister_image(ImageId=base)
    aws.clock.advance(24 * 3600 + 1)
    ec2.enable_image_deregistration_protection(ImageId=base)
    assert shown() == "enabled-without-cooldown"
    ec2.disable_image_deregistration_protection(ImageId=base)
    ec2.deregister_image(ImageId=base)


def test_disabling_takes_the_permissions_for_good(ec2: Any, base: str, refused: Any) -> None:
    ec2.modify_image_attribute(
        ImageId=base, LaunchPermission={"Add": [{"UserId": B}, {"Group": "all"}]}
    )
    ec2.disable_image(ImageId=base)
    answer = ec2.describe_image_attribute(ImageId=base, Attribute="launchPermission")
    assert answer["LaunchPermissions"] == []
    with refused("InvalidAMIID.Unavailable"):
        ec2.run_instances(ImageId=base, MinCount=1, MaxCount=1)
    ec2.enable_image(ImageId=base)
    image = ec2.describe_images(ImageIds=[base])["Images"][0]
    assert (image["State"], image["Public"]) == ("available", False)
    answer = ec2.describe_image_attribute(ImageId=base, Attribute="launchPermission")
    assert answer["LaunchPermissions"] == []
    ec2.run_instances(ImageId=base, MinCount=1, MaxCount=1)


def test_references_by_instance_template_and_parameter(
    aws: SandboxAws, ec2: Any, base: str, refused: Any
) -> None:
    def references(**more: Any) -> set[tuple[str, str]]:
        request = more or {"IncludeAllResourceTypes": True}
        found = ec2.describe_image_references(ImageIds=[base], **request)["ImageReferences"]
        assert all(r["ImageId"] == base for r in found)
        return {(r["ResourceType"], r["Arn"]) for r in found}

    assert references() == set()
    instance = ec2.run_instances(ImageId=base, MinCount=1, MaxCount=1)["Instances"][0]
    template = ec2.create_launch_template(
        LaunchTemplateName="web", LaunchTemplateData={"ImageId": base}
    )["LaunchTemplate"]["LaunchTemplateId"]
    ec2.create_launch_template_version(
        LaunchTemplateId=template, LaunchTemplateData={"InstanceType": "t3.small"}
    )
    ssm = aws.client("ssm")
    ssm.put_parameter(Name="/golden/x", Value=base, Type="String", DataType="aws:ec2:image")
    ssm.put_parameter(Name="/golden/text", Value=base, Type="String")
    prefix = "arn:aws:ec2:eu-west-1:123456789012"
    expected = {
        ("ec2:Instance", f"{prefix}:instance/{instance['InstanceId']}"),
        ("ec2:LaunchTemplate", f"{prefix}:launch-template/{template}"),
        ("ssm:Parameter", "arn:aws:ssm:eu-west-1:123456789012:parameter/golden/x"),
    }
    assert references() == expected
    only = references(ResourceTypes=[{"ResourceType": "ssm:Parameter"}])
    assert {kind for kind, _ in only} == {"ssm:Parameter"}
    newest = [{"OptionName": "version-depth", "OptionValues": ["1"]}]
    assert not references(
        ResourceTypes=[{"ResourceType": "ec2:LaunchTemplate", "ResourceTypeOptions": newest}]
    )
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    assert {kind for kind, _ in references()} == {"ec2:LaunchTemplate", "ssm:Parameter"}
    with refused("MissingParameter"):
        ec2.describe_image_references(ImageIds=[base])
    with refused("InvalidAMIID.NotFound"):
        ec2.describe_image_references(
            ImageIds=["ami-00000000000000001"], IncludeAllResourceTypes=True
        )


def test_ancestry(aws: SandboxAws, base: str) -> None:
    us = aws.client("ec2", "us-east-1")
    copied = us.copy_image(Name="copied", SourceImageId=base, SourceRegion="eu-west-1")["ImageId"]
    entries = us.get_image_ancestry(ImageId=copied)["ImageAncestryEntries"]
    assert [(e["ImageId"], e.get("SourceImageId")) for e in entries] == [
        (copied, base),
        (base, None),
    ]


def test_an_image_parameter_must_name_an_ami(aws: SandboxAws, base: str, refused: Any) -> None:
    ssm = aws.client("ssm")
    for value in ("hello", "ami-00000000000000001"):
        with refused("ValidationException"):
            ssm.put_parameter(Name="/p/x", Value=value, Type="String", DataType="aws:ec2:image")
    ssm.put_parameter(Name="/p/x", Value=base, Type="String", DataType="aws:ec2:image")
    parameter = ssm.get_parameter(Name="/p/x")["Parameter"]
    assert (parameter["Value"], parameter["DataType"]) == (base, "aws:ec2:image")
    found = ssm.get_parameters(Names=["/p/x", "/p/missing"])
    assert [p["Value"] for p in found["Parameters"]] == [base]
    assert found["InvalidParameters"] == ["/p/missing"]
    with refused("ParameterNotFound"):
        ssm.get_parameter(Name="/p/missing")


def test_tags_of_amis_and_snapshots(ec2: Any, base: str, refused: Any) -> None:
    snapshot = snapshot_of(ec2, base)
    ec2.create_tags(Resources=[base, snapshot], Tags=[{"Key": "a", "Value": "1"}])
    ec2.create_tags(Resources=[base], Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}])

    def tags() -> dict[str, str]:
        image = ec2.describe_images(ImageIds=[base])["Images"][0]
        return {t["Key"]: t["Value"] for t in image.get("Tags", [])}

    assert tags() == {"Name": "base", "a": "2", "b": ""}
    found = ec2.describe_snapshots(Filters=[{"Name": "tag:a", "Values": ["1"]}])["Snapshots"]
    assert [s["SnapshotId"] for s in found] == [snapshot]
    # A value that does not match leaves the tag.
    ec2.delete_tags(Resources=[base], Tags=[{"Key": "a", "Value": "1"}])
    assert tags() == {"Name": "base", "a": "2", "b": ""}
    ec2.delete_tags(Resources=[base], Tags=[{"Key": "a"}, {"Key": "b", "Value": ""}])
    assert tags() == {"Name": "base"}
    ec2.delete_tags(Resources=[base])
    assert tags() == {}
    described = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [snapshot]}])["Tags"]
    assert [(t["Key"], t["Value"]) for t in described] == [("a", "1")]
    with refused("InvalidAMIID.NotFound"):
        ec2.create_tags(Resources=["ami-00000000000000001"], Tags=[{"Key": "a", "Value": "1"}])


def test_tag_limits(ec2: Any, base: str, refused: Any) -> None:
    many = [{"Key": f"k{n}", "Value": "v"} for n in range(49)]
    ec2.create_tags(Resources=[base], Tags=many)
    ec2.create_tags(Resources=[base], Tags=[{"Key": "k0", "Value": "again"}])
    with refused("TagLimitExceeded"):
        ec2.create_tags(Resources=[base], Tags=[{"Key": "one-more", "Value": "v"}])
    with refused("InvalidParameterValue", "reserved"):
        ec2.create_tags(Resources=[base], Tags=[{"Key": "aws:mine", "Value": "v"}])


def test_others_cannot_tag_an_ami_they_cannot_see(
    aws: SandboxAws, ec2: Any, base: str, refused: Any
) -> None:
    other = aws.client("ec2", account=B)
    with refused("InvalidAMIID.NotFound"):
        other.create_tags(Resources=[base], Tags=[{"Key": "x", "Value": "y"}])
    with refused("InvalidSnapshot.NotFound"):
        other.create_tags(Resources=[snapshot_of(ec2, base)], Tags=[{"Key": "x", "Value": "y"}])
    ec2.modify_image_attribute(ImageId=base, LaunchPermission={"Add": [{"UserId": B}]})
    other.create_tags(Resources=[base], Tags=[{"Key": "x", "Value": "y"}])
    assert other.describe_images(ImageIds=[base])["Images"][0]["Tags"] == [
        {"Key": "x", "Value": "y"}
    ]
    assert ec2.describe_images(ImageIds=[base])["Images"][0]["Tags"] == [
        {"Key": "Name", "Value": "base"}
    ]


def test_snapshots_are_described_by_owner_filter_and_page(aws: SandboxAws, ec2: Any) -> None:
    made = [make_snapshot(aws, size=n) for n in range(1, 8)]
    assert ec2.describe_snapshots(OwnerIds=["999999999999"])["Snapshots"] == []

    def listed(**request: Any) -> list[str]:
        found = ec2.describe_snapshots(OwnerIds=["self"], **request)["Snapshots"]
        return [s["SnapshotId"] for s in found]

    assert listed() == made
    assert listed(Filters=[{"Name": "volume-size", "Values": ["3"]}]) == [made[2]]
    assert listed(Filters=[{"Name": "status", "Values": ["completed"]}]) == made
    pages = ec2.get_paginator("describe_snapshots").paginate(
        OwnerIds=["self"], PaginationConfig={"PageSize": 5}
    )
    sizes = [len(p["Snapshots"]) for p in pages]
    assert sizes == [5, 2]


def test_snapshot_page_rules(aws: SandboxAws, ec2: Any, refused: Any) -> None:
    snapshot = make_snapshot(aws)
    with refused("InvalidParameterCombination"):
        ec2.describe_snapshots(SnapshotIds=[snapshot], MaxResults=5)
    with refused("InvalidParameterValue"):
        ec2.describe_snapshots(MaxResults=2)
    with refused("InvalidSnapshotID.Malformed"):
        ec2.describe_snapshots(SnapshotIds=["x"])


def test_a_snapshot_in_use_is_not_deleted(ec2: Any, base: str, refused: Any) -> None:
    snapshot = snapshot_of(ec2, base)
    with refused("InvalidSnapshot.InUse", base):
        ec2.delete_snapshot(SnapshotId=snapshot)
    ec2.deregister_image(ImageId=base)
    ec2.delete_snapshot(SnapshotId=snapshot)
    with refused("InvalidSnapshot.NotFound"):
        ec2.delete_snapshot(SnapshotId=snapshot)


def test_copied_snapshots(aws: SandboxAws, key: str) -> None:
    us = aws.client("ec2", "us-east-1")
    source = make_snapshot(aws, key=key)
    copied = us.copy_snapshot(
        SourceSnapshotId=source,
        SourceRegion="eu-west-1",
        Description="copy",
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": "a", "Value": "b"}]}],
    )
    assert copied["Tags"] == [{"Key": "a", "Value": "b"}]
    found = us.describe_snapshots(SnapshotIds=[copied["SnapshotId"]])["Snapshots"][0]
    default = aws.client("kms", "us-east-1").describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]
    assert found["KmsKeyId"] == default["Arn"]
    assert found["Description"] == "copy"


@pytest.mark.parametrize("form", ["flat", "struct"])
def test_create_volume_permission(aws: SandboxAws, ec2: Any, refused: Any, form: str) -> None:
    snapshot = make_snapshot(aws)
    other = aws.client("ec2", account=B)

    def change(operation: str, **who: str) -> None:
        if form == "struct":
            key = "Add" if operation == "add" else "Remove"
            ec2.modify_snapshot_attribute(
                SnapshotId=snapshot, CreateVolumePermission={key: [dict(who)]}
            )
            return
        names = {"UserId": "UserIds", "Group": "GroupNames"}
        lists = {names[k]: [v] for k, v in who.items()}
        ec2.modify_snapshot_attribute(SnapshotId=snapshot, OperationType=operation, **lists)

    def shown() -> list[dict[str, str]]:
        answer = ec2.describe_snapshot_attribute(
            SnapshotId=snapshot, Attribute="createVolumePermission"
        )
        found: list[dict[str, str]] = answer["CreateVolumePermissions"]
        return found

    with refused("InvalidSnapshot.NotFound"):
        other.describe_snapshots(SnapshotIds=[snapshot])
    change("add", UserId=B)
    assert shown() == [{"UserId": B}]
    assert len(other.describe_snapshots(RestorableByUserIds=["self"])["Snapshots"]) == 1
    with refused("AuthFailure"):
        other.delete_snapshot(SnapshotId=snapshot)
    change("add", Group="all")
    assert shown() == [{"Group": "all"}, {"UserId": B}]
    change("remove", UserId=B)
    change("remove", Group="all")
    assert shown() == []
    change("add", UserId=B)
    ec2.reset_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")
    assert shown() == []
    default = make_snapshot(aws, encrypted=True)
    with refused("OperationNotPermitted", "default key cannot be shared"):
        ec2.modify_snapshot_attribute(
            SnapshotId=default, CreateVolumePermission={"Add": [{"UserId": B}]}
        )


def test_snapshots_of_a_deregistered_ami_stay_as_they_are(
    aws: SandboxAws, ec2: Any, base: str
) -> None:
    snapshot = snapshot_of(ec2, base)
    ec2.create_tags(Resources=[snapshot], Tags=[{"Key": "of", "Value": base}])
    before = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    ec2.deregister_image(ImageId=base)
    found = ec2.describe_snapshots(Filters=[{"Name": "tag:of", "Values": [base]}])["Snapshots"]
    assert found == before
    for _ in range(5):
        more = make_snapshot(aws)
        ec2.create_tags(Resources=[more], Tags=[{"Key": "of", "Value": base}])
    pages = ec2.get_paginator("describe_snapshots").paginate(
        Filters=[{"Name": "tag:of", "Values": [base]}], PaginationConfig={"PageSize": 5}
    )
    assert [len(p["Snapshots"]) for p in pages] == [5, 1]
