"""Recycle Bin: its rules, what they keep, and what comes back."""

from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws

B = "222222222222"
DAY = 24 * 3600


@pytest.fixture
def rbin(aws: SandboxAws) -> Any:
    return aws.client("rbin")


def rule(rbin: Any, kind: str = "EC2_IMAGE", days: int = 7, **more: Any) -> dict[str, Any]:
    period = {"RetentionPeriodValue": days, "RetentionPeriodUnit": "DAYS"}
    made: dict[str, Any] = rbin.create_rule(ResourceType=kind, RetentionPeriod=period, **more)
    return made


def binned(ec2: Any) -> set[str]:
    images = ec2.list_images_in_recycle_bin()["Images"]
    snapshots = ec2.list_snapshots_in_recycle_bin()["Snapshots"]
    return {i["ImageId"] for i in images} | {s["SnapshotId"] for s in snapshots}


def snapshot_of(client: Any, image_id: str) -> str:
    image = client.describe_images(ImageIds=[image_id])["Images"][0]
    return str(image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"])


def test_rules_are_kept_and_read_back(aws: SandboxAws, rbin: Any, refused: Any) -> None:
    pair = {"ResourceTagKey": "keep", "ResourceTagValue": "yes"}
    made = rule(
        rbin, days=9, Description="mine", ResourceTags=[pair], Tags=[{"Key": "a", "Value": "b"}]
    )
    assert made["Tags"] == [{"Key": "a", "Value": "b"}]
    found = rbin.get_rule(Identifier=made["Identifier"])
    assert found["RetentionPeriod"]["RetentionPeriodValue"] == 9
    assert (found["Description"], found["ResourceType"]) == ("mine", "EC2_IMAGE")
    assert (found["ResourceTags"], found["Status"]) == ([pair], "available")
    assert found["RuleArn"].endswith(f"eu-west-1:123456789012:rule/{made['Identifier']}")
    changed = rbin.update_rule(
        Identifier=made["Identifier"],
        Description="yours",
        RetentionPeriod={"RetentionPeriodValue": 3, "RetentionPeriodUnit": "DAYS"},
    )
    assert (changed["Description"], changed["ResourceTags"]) == ("yours", [pair])
    (listed,) = rbin.list_rules(ResourceType="EC2_IMAGE")["Rules"]
    assert listed["RetentionPeriod"]["RetentionPeriodValue"] == 3
    assert rbin.list_rules(ResourceType="EBS_SNAPSHOT")["Rules"] == []
    for elsewhere in (aws.client("rbin", "us-east-1"), aws.client("rbin", account=B)):
        assert elsewhere.list_rules(ResourceType="EC2_IMAGE")["Rules"] == []
        with refused("ResourceNotFoundException"):
            elsewhere.get_rule(Identifier=made["Identifier"])
    rbin.delete_rule(Identifier=made["Identifier"])
    assert rbin.list_rules(ResourceType="EC2_IMAGE")["Rules"] == []
    assert aws.requests.by_action()["rbin:DeleteRule"] == 1


def test_rules_are_listed_in_pages_by_their_tags(rbin: Any) -> None:
    for n in range(3):
        rule(rbin, ResourceTags=[{"ResourceTagKey": f"k{n}", "ResourceTagValue": "v"}])
    pages = rbin.get_paginator("list_rules").paginate(
        ResourceType="EC2_IMAGE", PaginationConfig={"PageSize": 2}
    )
    assert [len(p["Rules"]) for p in pages] == [2, 1]
    found = rbin.list_rules(
        ResourceType="EC2_IMAGE",
        ResourceTags=[{"ResourceTagKey": "k1", "ResourceTagValue": "v"}],
    )
    assert len(found["Rules"]) == 1


def test_rules_that_are_refused(rbin: Any, refused: Any) -> None:
    pair = {"ResourceTagKey": "a", "ResourceTagValue": "b"}
    with refused("ValidationException", "365"):
        rule(rbin, days=366)
    with refused("ValidationException", "exclusion"):
        rule(rbin, ResourceTags=[pair], ExcludeResourceTags=[pair])
    with refused("ValidationException", "not supported"):
        rule(rbin, "EBS_VOLUME")
    made = rule(rbin, ExcludeResourceTags=[pair])
    with refused("ValidationException", "exclusion"):
        rbin.update_rule(Identifier=made["Identifier"], ResourceTags=[pair])
    with refused("ResourceNotFoundException"):
        rbin.delete_rule(Identifier="abcdefghijk")
    with refused("UnsupportedOperation"):
        rbin.unlock_rule(Identifier=made["Identifier"])


def test_an_ami_comes_back_as_it_was(
    aws: SandboxAws, ec2: Any, rbin: Any, base: str, refused: Any
) -> None:
    rule(rbin, days=2)
    ec2.modify_image_attribute(ImageId=base, LaunchPermission={"Add": [{"UserId": B}]})
    ec2.enable_image_deprecation(ImageId=base, DeprecateAt="2099-01-01T00:00:00Z")
    before = ec2.describe_images(ImageIds=[base])["Images"]
    ec2.deregister_image(ImageId=base)
    (shown,) = ec2.list_images_in_recycle_bin(ImageIds=[base])["Images"]
    assert shown["Name"] == "base-image"
    stay = shown["RecycleBinExitTime"] - shown["RecycleBinEnterTime"]
    assert stay.total_seconds() == 2 * DAY
    for client in (ec2, aws.client("ec2", account=B)):
        with refused("InvalidAMIID.NotFound"):
            client.describe_images(ImageIds=[base])
    # Its tags can be changed, and there is one more.
    ec2.create_tags(Resources=[base], Tags=[{"Key": "in", "Value": "bin"}])
    described = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [base]}])["Tags"]
    assert {t["Key"] for t in described} == {"Name", "in", "aws:recycle-bin:resource-in-bin"}
    ec2.delete_tags(Resources=[base], Tags=[{"Key": "in"}])
    with refused("DryRunOperation"):
        ec2.restore_image_from_recycle_bin(ImageId=base, DryRun=True)
    assert ec2.restore_image_from_recycle_bin(ImageId=base)["Return"] is True
    assert ec2.describe_images(ImageIds=[base])["Images"] == before
    assert aws.client("ec2", account=B).describe_images(ImageIds=[base])["Images"]
    with refused("InvalidAMIID.NotFound"):
        ec2.restore_image_from_recycle_bin(ImageId=base)
    assert binned(ec2) == set()


def test_the_bin_is_emptied_by_the_clock(
    aws: SandboxAws, ec2: Any, rbin: Any, base: str, refused: Any
) -> None:
    made = rule(rbin, days=2)
    ec2.deregister_image(ImageId=base)
    # Neither a change nor the end of the rule counts for what is in the bin.
    period = {"RetentionPeriodValue": 1, "RetentionPeriodUnit": "DAYS"}
    rbin.update_rule(Identifier=made["Identifier"], RetentionPeriod=period)
    rbin.delete_rule(Identifier=made["Identifier"])
    aws.clock.advance(2 * DAY - 10)
    assert binned(ec2) == {base}
    aws.clock.advance(11)
    assert binned(ec2) == set()
    with refused("InvalidAMIID.NotFound"):
        ec2.restore_image_from_recycle_bin(ImageId=base)
    with refused("InvalidAMIID.Unavailable"):
        ec2.create_tags(Resources=[base], Tags=[{"Key": "a", "Value": "b"}])


def test_an_ami_needs_its_snapshots_back_first(
    aws: SandboxAws, ec2: Any, rbin: Any, base: str, refused: Any
) -> None:
    rule(rbin)
    rule(rbin, "EBS_SNAPSHOT", 8)
    snapshot = snapshot_of(ec2, base)
    ec2.create_tags(Resources=[snapshot], Tags=[{"Key": "of", "Value": "base"}])
    permission = {"Add": [{"UserId": B}]}
    ec2.modify_snapshot_attribute(SnapshotId=snapshot, CreateVolumePermission=permission)
    answer = ec2.deregister_image(ImageId=base, DeleteAssociatedSnapshots=True)
    assert answer["DeleteSnapshotResults"] == [{"SnapshotId": snapshot, "ReturnCode": "success"}]
    assert binned(ec2) == {base, snapshot}
    with refused("InvalidSnapshot.NotFound"):
        aws.client("ec2", account=B).describe_snapshots(SnapshotIds=[snapshot])
    with refused("InvalidSnapshot.NotFound"):
        ec2.restore_image_from_recycle_bin(ImageId=base)
    (shown,) = ec2.list_snapshots_in_recycle_bin(SnapshotIds=[snapshot])["Snapshots"]
    stay = shown["RecycleBinExitTime"] - shown["RecycleBinEnterTime"]
    assert stay.total_seconds() == 8 * DAY
    back = ec2.restore_snapshot_from_recycle_bin(SnapshotId=snapshot)
    assert (back["SnapshotId"], back["VolumeSize"], back["State"]) == (snapshot, 8, "completed")
    ec2.restore_image_from_recycle_bin(ImageId=base)
    assert snapshot_of(ec2, base) == snapshot
    (described,) = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    assert described["Tags"] == [{"Key": "of", "Value": "base"}]
    assert aws.client("ec2", account=B).describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]


def test_an_ami_without_its_snapshots_is_lost(ec2: Any, rbin: Any, base: str, refused: Any) -> None:
    rule(rbin)
    snapshot = snapshot_of(ec2, base)
    ec2.deregister_image(ImageId=base)
    ec2.delete_snapshot(SnapshotId=snapshot)
    assert binned(ec2) == {base}
    with refused("InvalidSnapshot.NotFound"):
        ec2.restore_image_from_recycle_bin(ImageId=base)


def test_tags_choose_what_is_kept(aws: SandboxAws, ec2: Any, rbin: Any) -> None:
    rule(rbin, ResourceTags=[{"ResourceTagKey": "keep", "ResourceTagValue": "yes"}])
    images = {
        value: register(aws, f"image-{value}", make_snapshot(aws), tags={"keep": value})
        for value in ("yes", "no")
    }
    for image in images.values():
        ec2.deregister_image(ImageId=image)
    assert binned(ec2) == {images["yes"]}
    # A Region-level rule for snapshots, with an exclusion.
    rule(rbin, "EBS_SNAPSHOT", ExcludeResourceTags=[{"ResourceTagKey": "junk"}])
    kept, junk = make_snapshot(aws), make_snapshot(aws)
    ec2.create_tags(Resources=[junk], Tags=[{"Key": "junk", "Value": "x"}])
    for snapshot in (kept, junk):
        ec2.delete_snapshot(SnapshotId=snapshot)
    assert binned(ec2) == {images["yes"], kept}


def test_the_longest_rule_counts_once_it_works(aws: SandboxAws, ec2: Any, rbin: Any) -> None:
    with aws.settings.changed(retention_rule_delay=1800.0):
        made = rule(rbin, days=2)
        rule(rbin, days=5, ResourceTags=[{"ResourceTagKey": "long", "ResourceTagValue": "1"}])
        assert made["Status"] == "pending"
        early = register(aws, "early", make_snapshot(aws))
        ec2.deregister_image(ImageId=early)
        assert binned(ec2) == set()
        aws.clock.advance(1801)
        late = register(aws, "late", make_snapshot(aws), tags={"long": "1"})
        ec2.deregister_image(ImageId=late)
    (shown,) = ec2.list_images_in_recycle_bin()["Images"]
    stay = shown["RecycleBinExitTime"] - shown["RecycleBinEnterTime"]
    assert (shown["ImageId"], stay.days) == (late, 5)


def test_the_bin_is_listed_in_pages_and_a_name_may_be_taken(
    aws: SandboxAws, ec2: Any, rbin: Any, base: str, refused: Any
) -> None:
    rule(rbin)
    others = [register(aws, f"image-{n}", make_snapshot(aws)) for n in range(2)]
    for image in (base, *others):
        ec2.deregister_image(ImageId=image)
    pages = ec2.get_paginator("list_images_in_recycle_bin").paginate(
        PaginationConfig={"PageSize": 2}
    )
    assert [len(p["Images"]) for p in pages] == [2, 1]
    register(aws, "base-image", make_snapshot(aws))
    with refused("InvalidAMIName.Duplicate"):
        ec2.restore_image_from_recycle_bin(ImageId=base)
