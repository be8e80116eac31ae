"""Retention against AWS over HTTP, over days: what goes, what is announced first, what stays."""

from collections.abc import Callable

import pytest
from lapse import DAY, DR, HOME, HOUR, KEY, MINUTE, OTHER_ACCOUNT, Lapse

from gilder.sandbox.aws.seed import make_snapshot, register

KEEP_TWO = {"keep": 2, "gracePeriod": "24h", "unusedFor": "0m"}
COMPONENT = f"arn:aws:imagebuilder:{HOME}:aws:component/update-linux/x.x.x"
Make = Callable[..., Lapse]


def test_what_goes_is_announced_and_goes_after_the_grace_period(make: Make) -> None:
    base = make(encryption=KEY, retention=KEEP_TWO)
    base.roll(4)
    assert base.retiring() == {1: ("Deregister", ""), 2: ("Deregister", "")}
    announced = {r.version: r for r in base.status.retiring}
    assert announced[1].reason == "3 newer are kept" or "newer are kept" in announced[1].reason
    base.after(20 * HOUR)
    assert base.versions() == [1, 2, 3, 4], "not before it was announced for a day"
    before = base.snapshots()
    base.after(5 * HOUR)
    assert base.versions() == [3, 4]
    assert base.status.retiring == ()
    assert len(base.snapshots()) == 2 < len(before), "their snapshots went with them"
    assert base.condition("Ready") == ("True", "Available")


def test_no_retention_means_everything_stays(make: Make) -> None:
    base = make(encryption=KEY)
    base.roll(3)
    base.after(1000 * DAY)
    assert base.versions() == [1, 2, 3]
    assert base.status.retiring == ()


def test_snapshots_stay_and_are_reported_where_they_are_to_stay(make: Make) -> None:
    base = make(encryption=KEY, retention={**KEEP_TWO, "deleteSnapshots": False})
    base.roll(3)
    base.after(2 * DAY)
    assert base.versions() == [2, 3]
    assert len(base.snapshots()) == 3
    (left,) = base.status.leftovers
    assert (left.version, left.region) == (1, HOME)
    assert base.status.leftover_count == 1
    base.edit(retention=KEEP_TWO)
    assert base.retiring() == {1: ("DeleteSnapshot", "")}, "announced as well"
    base.after(2 * DAY)
    assert len(base.snapshots()) == 2
    assert base.status.leftovers == ()


def test_more_left_over_snapshots_than_status_holds_are_counted(make: Make) -> None:
    base = make(encryption=KEY)
    base.roll(1)
    ec2 = base.aws.client("ec2")
    tags = {"image": "images/base", "cluster": "default", "version": "7"}
    for _ in range(103):
        snapshot = make_snapshot(base.aws)
        ec2.create_tags(
            Resources=[snapshot],
            Tags=[{"Key": f"goldenimage.dev/{k}", "Value": v} for k, v in tags.items()],
        )
    base.settle()
    assert len(base.status.leftovers) == 100
    assert base.status.leftover_count == 103


def test_a_snapshot_left_by_hand_is_found_by_its_tag(make: Make) -> None:
    base = make(encryption=KEY, retention=KEEP_TWO)
    base.roll(2)
    base.aws.client("ec2").deregister_image(ImageId=base.ami(1))
    base.settle()
    (left,) = base.status.leftovers
    assert left.version == 1
    base.after(25 * HOUR)
    assert base.status.leftovers == ()
    assert len(base.snapshots()) == 1


def test_both_keep_and_max_age_must_say_so(make: Make) -> None:
    base = make(encryption=KEY, retention={**KEEP_TWO, "maxAge": "30d", "gracePeriod": "0m"})
    base.roll(4)
    base.after(2 * DAY)
    assert base.versions() == [1, 2, 3, 4], "old enough by count, too young by age"
    base.after(29 * DAY)
    assert base.versions() == [3, 4]


@pytest.mark.parametrize(
    ("use", "named"),
    [
        ("instance", "ec2:Instance"),
        ("template", "ec2:LaunchTemplate"),
        ("old template", "ec2:LaunchTemplate"),
        ("parameter", "ssm:Parameter"),
        ("recipe", "imagebuilder:ImageRecipe"),
        ("group", "Auto Scaling group web"),
        ("account", f"of account {OTHER_ACCOUNT}"),
    ],
)
def test_an_ami_in_use_stays_until_it_is_not(make: Make, use: str, named: str) -> None:
    base = make(encryption=KEY, retention={**KEEP_TWO, "gracePeriod": "1h"})
    base.roll(2)
    first = base.ami(1)
    stop = _use(base, use, first)
    base.publish("os-3")
    base.settle()
    assert base.latest == 3
    base.after(2 * HOUR)
    base.after(2 * MINUTE)
    assert 1 in base.versions()
    action, held = base.retiring()[1]
    assert action == "Deregister"
    assert named in held
    assert base.condition("Ready") == ("True", "Available"), "nothing is wrong with that"
    stop()
    for _ in range(5):
        base.after(6 * HOUR)
    assert 1 not in base.versions(), base.retiring()


def _use(base: Lapse, how: str, image: str) -> Callable[[], object]:
    ec2, scaling = base.aws.client("ec2"), base.aws.client("autoscaling")
    match how:
        case "instance":
            instance = base.run(image)
            ec2.stop_instances(InstanceIds=[instance])
            return lambda: ec2.terminate_instances(InstanceIds=[instance])
        case "template" | "old template":
            data = {"ImageId": image, "InstanceType": "t3.micro"}
            ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)
            if how == "old template":
                for _ in range(12):  # more than AWS looks at unless asked
                    ec2.create_launch_template_version(
                        LaunchTemplateName="web",
                        LaunchTemplateData={"ImageId": base.ami(2), "InstanceType": "t3.micro"},
                    )
            return lambda: ec2.delete_launch_template(LaunchTemplateName="web")
        case "parameter":
            ssm = base.aws.client("ssm")
            ssm.put_parameter(Name="/app/ami", Value=image, Type="String", DataType="aws:ec2:image")
            return lambda: ssm.delete_parameter(Name="/app/ami")
        case "recipe":
            builder = base.aws.client("imagebuilder")
            made = builder.create_image_recipe(
                name="app",
                semanticVersion="1.0.0",
                parentImage=image,
                components=[{"componentArn": COMPONENT}],
            )["imageRecipeArn"]
            return lambda: builder.delete_image_recipe(imageRecipeArn=made)
        case "group":
            scaling.create_launch_configuration(
                LaunchConfigurationName="web", ImageId=image, InstanceType="t3.micro"
            )
            scaling.create_auto_scaling_group(
                AutoScalingGroupName="web",
                LaunchConfigurationName="web",
                MinSize=0,
                MaxSize=0,
                DesiredCapacity=0,
                AvailabilityZones=[f"{HOME}a"],
            )

            def stop() -> None:
                scaling.delete_auto_scaling_group(AutoScalingGroupName="web", ForceDelete=True)
                scaling.delete_launch_configuration(LaunchConfigurationName="web")

            return stop
        case _:
            ec2.modify_image_attribute(
                ImageId=image, LaunchPermission={"Add": [{"UserId": OTHER_ACCOUNT}]}
            )
            base.aws.client("kms").create_grant(
                KeyId=base.seeded.keys[HOME],
                GranteePrincipal=f"arn:aws:iam::{OTHER_ACCOUNT}:root",
                Operations=["Decrypt", "DescribeKey", "CreateGrant", "ReEncryptFrom",
                            "ReEncryptTo", "GenerateDataKeyWithoutPlaintext"],
                Name="by-hand",
            )  # fmt: skip
            instance = base.run(image, account=OTHER_ACCOUNT)
            theirs = base.aws.client("ec2", HOME, OTHER_ACCOUNT)
            return lambda: theirs.terminate_instances(InstanceIds=[instance])


@pytest.mark.parametrize(
    "action",
    [
        "DescribeImageReferences",
        "DescribeAutoScalingGroups",
        "CreateImageUsageReport",
        "DescribeImageUsageReports",
        "DescribeImageUsageReportEntries",
    ],
)
def test_what_cannot_be_asked_counts_as_used(make: Make, action: str) -> None:
    base = make(encryption=KEY, retention={**KEEP_TWO, "gracePeriod": "0m"})
    base.aws.faults.deny(action)
    base.roll(3)
    for _ in range(5):
        base.after(2 * HOUR)
    assert base.versions() == [1, 2, 3]
    held = base.retiring()[1][1]
    assert "AccessDenied" in held or "not authorized" in held or "UnauthorizedOperation" in held
    base.aws.faults.clear()
    for _ in range(4):
        base.after(2 * HOUR)
    assert base.versions() == [2, 3]


def test_a_launch_within_the_time_counts_as_use(make: Make) -> None:
    retention = {"keep": 1, "gracePeriod": "0m", "unusedFor": "7d"}
    base = make(encryption=KEY, retention=retention)
    base.roll(1)
    instance = base.run(base.ami(1))
    base.aws.client("ec2").terminate_instances(InstanceIds=[instance])
    base.roll(1)
    base.after(2 * HOUR)
    assert "a launch at" in base.retiring()[1][1]
    base.after(8 * DAY)
    base.after(2 * HOUR)
    assert base.versions() == [2]


def test_a_failed_usage_report_is_made_again(make: Make) -> None:
    base = make(encryption=KEY, retention={**KEEP_TWO, "gracePeriod": "0m"})
    base.aws.usage_reports.fail("InternalError")
    base.roll(3)
    base.after(10 * MINUTE)
    assert "failed" in base.retiring()[1][1]
    assert 1 in base.versions()
    for _ in range(4):
        base.after(2 * HOUR)
    assert base.versions() == [2, 3]


def test_deprecated_disabled_deregistered_and_enabled_by_a_rollback(make: Make) -> None:
    steps = {"deprecateAfter": "10d", "disableAfter": "20d", "maxAge": "30d", "gracePeriod": "0m",
             "unusedFor": "0m"}  # fmt: skip
    base = make(encryption=KEY, retention=steps)
    base.roll(2)
    ec2 = base.aws.client("ec2")

    def deprecated(version: int) -> str:
        (found,) = ec2.describe_images(ImageIds=[base.ami(version)])["Images"]
        return str(found.get("DeprecationTime", ""))

    assert deprecated(1), "the time is set ahead"
    assert not deprecated(2), "the released version is never deprecated"
    base.after(21 * DAY)
    base.after(HOUR)
    assert base.states() == {1: "disabled", 2: "available"}
    base.edit(pinnedVersion=1)
    assert base.latest == 1
    assert base.states()[1] == "available"
    assert not deprecated(1)
    base.edit(pinnedVersion=None)
    assert base.latest == 2
    base.after(10 * DAY)
    base.after(HOUR)
    base.after(HOUR)
    assert base.versions() == [2]


def test_protection_is_kept_on_and_taken_off_a_day_before(make: Make) -> None:
    retention = {**KEEP_TWO, "gracePeriod": "1h", "deregistrationProtection": "EnabledWithCooldown"}
    base = make(encryption=KEY, retention=retention)
    base.roll(3, apart=MINUTE)
    ec2 = base.aws.client("ec2")

    def protection(version: int) -> str:
        (found,) = ec2.describe_images(ImageIds=[base.ami(version)])["Images"]
        return str(found["DeregistrationProtection"])

    assert protection(3) == protection(2) == "enabled-with-cooldown"
    ec2.disable_image_deregistration_protection(ImageId=base.ami(3))
    base.settle()
    assert protection(3) == "enabled-with-cooldown", "drift is corrected"
    base.after(2 * HOUR)
    base.after(10 * MINUTE)
    assert 1 in base.versions()
    (told,) = base.status.retiring
    assert told.unprotected
    base.after(20 * HOUR)
    assert 1 in base.versions(), "the cooldown runs"
    base.after(5 * HOUR)
    base.after(2 * HOUR)
    assert base.versions() == [2, 3]
    assert "DeregisterRefused" not in base.reasons()


def test_protection_of_somebody_else_is_respected(make: Make) -> None:
    base = make(encryption=KEY, retention={**KEEP_TWO, "gracePeriod": "0m"})
    base.roll(1)
    base.aws.client("ec2").enable_image_deregistration_protection(ImageId=base.ami(1))
    base.roll(2)
    for _ in range(3):
        base.after(2 * HOUR)
    assert 1 in base.versions()
    assert "protection" in base.retiring()[1][1]


def test_replicas_have_their_own_retention(make: Make) -> None:
    replica = {
        "region": DR,
        **KEY,
        "retention": {"keep": 1, "gracePeriod": "0m", "unusedFor": "0m"},
    }
    base = make(encryption=KEY, replicas=[replica], retention={**KEEP_TWO, "keep": 3})
    base.roll(4)
    for _ in range(3):
        base.after(2 * HOUR)
    assert base.versions(DR) == [4]
    assert base.versions() == [1, 2, 3, 4], "announced, not gone"
    assert base.snapshots(DR).isdisjoint(base.snapshots())
    assert len(base.snapshots(DR)) == 1


def test_the_last_good_copy_of_a_region_stays_when_new_ones_fail(make: Make) -> None:
    replica = {"region": DR, **KEY}
    follow = {"replicas": "Follow"}
    base = make(
        encryption=KEY,
        replicas=[replica],
        promotion=follow,
        retention={"keep": 1, "gracePeriod": "0m", "unusedFor": "0m", "maxAge": "0m"},
    )
    base.roll(1)
    base.aws.client("kms", DR).disable_key(KeyId=base.seeded.keys[DR])
    for n in (2, 3):
        base.publish(f"os-{n}")
        base.after(DAY)
    assert base.latest == 3
    for _ in range(3):
        base.after(DAY)
    assert base.versions() == [3]
    assert base.versions(DR) == [1], "it is the last good one there"
    assert base.condition("DRStale")[0] == "True"


def test_a_region_that_cannot_be_read_loses_nothing(make: Make) -> None:
    base = make(
        encryption=KEY,
        replicas=[{"region": DR, **KEY}],
        promotion={"replicas": "Follow"},
        retention={**KEEP_TWO, "keep": 1, "gracePeriod": "1h"},
    )
    base.roll(2)
    assert set(base.retiring()) == {1}
    base.aws.faults.fail("DescribeImages", region=DR, code="InternalError", status=500, times=None)
    base.after(3 * HOUR)
    base.after(3 * HOUR)
    assert base.versions() == [2]
    assert {r.region for r in base.status.retiring} == {DR}, "what was announced stays so"
    base.aws.faults.clear()
    base.after(2 * HOUR)
    base.after(2 * HOUR)
    assert base.versions(DR) == [2]


def test_an_ami_in_the_recycle_bin_is_had_back(make: Make) -> None:
    base = make(encryption=KEY)
    base.recycle()
    base.roll(1)
    first = base.ami(1)
    ec2 = base.aws.client("ec2")
    other = register(base.aws, "of-somebody-else", make_snapshot(base.aws))
    ec2.deregister_image(ImageId=other)
    ec2.deregister_image(ImageId=first)
    base.look()
    assert base.status.recycle_bin == (f"{first} images-base-v1 in {HOME}",)
    base.after(MINUTE)
    base.after(MINUTE)
    assert base.ami(1) == first, "restored, and not made anew"
    assert base.condition("Ready") == ("True", "Available")


def test_scraps_go_at_once(make: Make) -> None:
    """The unencrypted capture between an instance and its encrypted AMI is of no use."""
    base = make(encryption=KEY)
    base.spec["source"] = {"instance": {"id": base.seeded.instance}}
    base.settle()
    base.after(MINUTE)
    base.after(MINUTE)
    roles = {t["Value"] for i in base.owned() for t in i["Tags"] if t["Key"].endswith("/role")}
    assert roles == {"home"}
    assert len(base.snapshots()) == 1
    looked: list[object] = []
    base.aws.faults.after("ListImagesInRecycleBin", looked.append)
    base.after(HOUR)
    assert looked == [], "nothing is missed"
