"""DR Regions against AWS over HTTP, over days: schedules, the queue, progress, lag, failure."""

from collections.abc import Callable

import pytest
from lapse import DAY, DR, HOME, HOUR, KEY, MINUTE, Lapse

Make = Callable[..., Lapse]
THIRD = "eu-central-1"
REPLICA = {"region": DR, **KEY}
DAILY = {"cron": "0 3 * * *"}


def test_a_schedule_copies_what_is_released_by_then(make: Make) -> None:
    base = make(encryption=KEY, replicas=[{**REPLICA, "schedule": DAILY, "maxLag": "3d"}])
    base.roll(1)
    assert base.versions(DR) == [1], "the first one at once"
    base.publish("os-2")
    base.after(MINUTE)
    base.publish("os-3")
    base.after(MINUTE)
    assert base.latest == 3, "its release does not wait for the schedule"
    (there,) = base.status.replicas
    assert (there.version, there.state) == (1, "Scheduled")
    assert there.next_copy == base.status.next_copy
    assert there.behind_since
    assert not there.stale
    assert base.condition("DRStale") == ("False", "WithinLag")
    base.after(DAY)
    base.after(MINUTE)
    (there,) = base.status.replicas
    assert (there.version, there.state) == (3, "Current")
    assert base.versions(DR) == [1, 3], "versions in between are skipped"


def test_stale_once_it_is_behind_for_too_long(make: Make) -> None:
    base = make(encryption=KEY, replicas=[{**REPLICA, "maxLag": "6h"}],
                promotion={"replicas": "Follow"})  # fmt: skip
    base.roll(1)
    base.aws.faults.fail("CopyImage", "InternalError", times=None, status=500, region=DR)
    base.publish("os-2")
    base.settle()
    assert base.condition("DRStale") == ("False", "WithinLag")
    assert base.again is not None
    base.after(7 * HOUR)
    assert base.condition("DRStale") == ("True", "Behind")
    assert DR in base.message("DRStale")
    assert [e for e in base.events if e.reason == "DRStale"]
    assert base.condition("Ready") == ("True", "Available"), "home serves"
    base.aws.faults.clear()
    base.after(2 * HOUR)
    base.after(2 * HOUR)
    assert base.condition("DRStale") == ("False", "WithinLag")


def test_a_region_that_is_down_is_told_and_holds_up_no_other(make: Make) -> None:
    base = make(encryption=KEY, replicas=[REPLICA, {"region": THIRD, **KEY}],
                promotion={"replicas": "Follow"})  # fmt: skip
    base.roll(1)
    base.aws.faults.fail(
        ".*", region=DR, code="InternalError", status=500, times=None, message="DestinationRegion"
    )
    base.publish("os-2")
    base.settle()
    by_region = {r.region: r for r in base.status.replicas}
    assert by_region[THIRD].version == 2
    assert by_region[DR].state == "Unreachable"
    assert "DestinationRegion" in by_region[DR].message
    assert base.condition("DRStale") == ("Unknown", "Unreachable")
    base.aws.faults.clear()
    base.after(HOUR)
    assert {r.region: r.version for r in base.status.replicas} == {DR: 2, THIRD: 2}


def test_a_failed_copy_says_why_and_is_made_again_after_clean_up(make: Make) -> None:
    base = make(encryption=KEY, replicas=[REPLICA])
    base.aws.settings.image_delay = 10 * MINUTE
    base.settle()
    base.after(11 * MINUTE)
    kms = base.aws.client("kms", DR)
    kms.disable_key(KeyId=base.seeded.keys[DR])
    base.after(11 * MINUTE)
    (there,) = base.status.replicas
    failed = [i["ImageId"] for i in base.owned(DR) if i["State"] == "failed"]
    if failed:
        assert there.state == "Failed"
        assert failed[0] in there.message
        assert "key" in there.message.lower() or "kms" in there.message.lower()
    kms.enable_key(KeyId=base.seeded.keys[DR])
    for _ in range(4):
        base.after(2 * HOUR)
    (there,) = base.status.replicas
    assert (there.version, there.state) == (1, "Current")
    assert [i["State"] for i in base.owned(DR)] == ["available"], "the failed one was cleared away"
    assert len(base.snapshots(DR)) == 1


def test_copies_show_their_progress_and_survive_a_restart(make: Make) -> None:
    base = make(encryption=KEY, replicas=[REPLICA])
    base.aws.settings.image_delay = 10 * MINUTE
    base.settle()
    base.after(11 * MINUTE)
    base.after(5 * MINUTE)
    (there,) = base.status.replicas
    assert there.state == "Copying"
    assert there.progress is not None
    assert 0 < int(there.progress.rstrip("%")) < 100
    base.restart()
    base.after(10 * HOUR)
    assert base.versions(DR) == [1], "one copy, however long it took"
    assert base.status.replicas[0].state == "Current"


def test_a_time_based_copy_asks_for_its_duration(make: Make) -> None:
    base = make(encryption=KEY, replicas=[{**REPLICA, "copyDurationMinutes": 30}])
    base.roll(1)
    ami = base.ami(1, DR)
    assert base.aws.image(ami, DR).copy_minutes == 30
    assert base.aws.image(base.ami(1), HOME).copy_minutes is None


def test_a_copy_waits_for_a_place_in_its_region(make: Make) -> None:
    base = make(encryption=KEY, replicas=[REPLICA])
    base.copies = 2
    base.restart()
    ec2 = base.aws.client("ec2", DR)
    base.roll(0)
    base.settle()
    assert base.versions(DR) == [1]
    base.aws.settings.image_delay = 10 * MINUTE
    others = [
        ec2.copy_image(Name=f"other-{n}", SourceImageId=base.seeded.base_image, SourceRegion=HOME)
        for n in range(2)
    ]
    for other in others:
        tags = {"image": "images/other", "cluster": "default", "version": "1", "role": "replica"}
        ec2.create_tags(
            Resources=[other["ImageId"]],
            Tags=[{"Key": f"goldenimage.dev/{k}", "Value": v} for k, v in tags.items()],
        )
    base.aws.settings.image_delay = 0.0
    base.publish("os-2")
    base.settle()
    (there,) = base.status.replicas
    assert there.state == "Queued"
    assert "GILDER_MAX_COPIES" in base.message("Reconciling")
    assert [i["ImageId"] for i in base.owned(DR) if "images/base" in str(i["Tags"])] == [
        base.ami(1, DR)
    ]
    base.after(11 * MINUTE)
    base.settle()
    assert base.latest == 2
    assert base.status.replicas[0].state == "Current"


def test_aws_takes_no_more_copies_and_then_does(make: Make) -> None:
    base = make(encryption=KEY, replicas=[REPLICA])
    base.roll(1)
    base.aws.settings.max_concurrent_copies = 1
    base.aws.settings.image_delay = 10 * MINUTE
    stranger = base.aws.client("ec2", DR)
    stranger.copy_image(Name="other", SourceImageId=base.seeded.base_image, SourceRegion=HOME)
    base.aws.settings.image_delay = 0.0
    base.publish("os-2")
    base.settle()
    (there,) = base.status.replicas
    assert there.state == "Queued"
    assert base.condition("Ready") == ("False", "Progressing")
    assert base.condition("Stalled")[0] != "True", "it is a matter of time"
    calls = base.aws.requests.total("CopyImage")
    base.settle()
    assert base.aws.requests.total("CopyImage") == calls, "and is not asked again at once"
    base.after(11 * MINUTE)
    base.after(2 * MINUTE)
    assert base.latest == 2
    assert base.status.replicas[0].state == "Current"


@pytest.mark.parametrize("removed", [True, False])
def test_a_replica_that_leaves_the_spec_leaves_its_amis(make: Make, removed: bool) -> None:
    retention = {"keep": 1, "gracePeriod": "0m", "unusedFor": "0m"} if removed else None
    base = make(encryption=KEY, replicas=[REPLICA], retention=retention)
    base.roll(2)
    base.edit(replicas=[])
    base.after(2 * HOUR)
    base.after(2 * HOUR)
    assert 2 in base.versions(DR), "the last good one stays"
    assert base.versions(DR) == ([2] if removed else [1, 2])
    assert base.status.replicas == ()


def test_a_region_that_is_behind_grows_stale_while_home_is_gone_too(make: Make) -> None:
    base = make(encryption=KEY, replicas=[REPLICA])
    base.roll(1)
    base.aws.faults.fail("CopyImage", "InternalError", times=None, status=500, region=DR)
    base.publish("os-2")
    base.settle()
    assert base.latest == 2
    base.aws.faults.fail(".*", "InternalError", times=None, status=500, region=HOME)
    base.after(HOUR)
    assert base.condition("DRStale") == ("False", "WithinLag")
    base.after(25 * HOUR)
    assert base.condition("DRStale") == ("True", "Behind")
    assert base.status.replicas[0].stale


def test_the_home_region_is_gone(make: Make) -> None:
    """The drill: what is in the DR Region can be launched with what status tells."""
    base = make(encryption=KEY, replicas=[REPLICA])
    base.roll(1)
    (there,) = base.status.replicas
    base.aws.faults.fail(".*", region=HOME, code="InternalError", status=500, times=None)
    base.after(HOUR)
    (told,) = base.status.replicas
    assert told.image_id == there.image_id
    ec2 = base.aws.client("ec2", DR)
    made = ec2.run_instances(
        ImageId=there.image_id, InstanceType="t3.micro", MinCount=1, MaxCount=1
    )
    (instance,) = made["Instances"]
    assert instance["ImageId"] == there.image_id
    assert base.versions(DR) == [1]
    base.aws.faults.clear()
    base.after(HOUR)
    assert base.condition("Ready") == ("True", "Available")


def test_a_dr_region_goes_stale_while_the_home_region_is_down(make: Make) -> None:
    """That is when it counts."""
    base = make(encryption=KEY, replicas=[{**REPLICA, "maxLag": "6h"}],
                promotion={"replicas": "Follow"})  # fmt: skip
    base.roll(1)
    base.aws.faults.fail("CopyImage", "InternalError", times=None, status=500, region=DR)
    base.publish("os-2")
    base.settle()
    assert base.condition("DRStale") == ("False", "WithinLag")
    base.aws.faults.fail(".*", "InternalError", times=None, status=500, region=HOME)
    base.after(7 * HOUR)
    assert base.condition("DRStale") == ("True", "Behind")
    assert [e for e in base.events if e.reason == "DRStale"]
    base.aws.faults.clear()
    base.after(2 * HOUR)
    base.after(2 * HOUR)
    assert base.condition("DRStale") == ("False", "WithinLag")


def test_lag_goes_on_while_the_home_ami_is_missing(make: Make) -> None:
    base = make(encryption=KEY, replicas=[{**REPLICA, "maxLag": "6h"}],
                promotion={"replicas": "Follow"})  # fmt: skip
    base.roll(1)
    base.aws.faults.fail("CopyImage", "InternalError", times=None, status=500, region=DR)
    base.publish("os-2")
    base.settle()
    since = base.status.replicas[0].behind_since
    assert since
    base.aws.client("ec2").disable_image(ImageId=base.ami(2))
    base.aws.faults.fail("EnableImage", "InternalError", times=None, status=500)
    base.after(7 * HOUR)
    assert base.status.replicas[0].behind_since == since
    assert base.condition("DRStale") == ("True", "Behind")
