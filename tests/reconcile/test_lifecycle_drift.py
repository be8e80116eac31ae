"""What the lifecycle itself changes is no drift; and a DR Region that is silent grows stale."""

from collections.abc import Callable

from lapse import DAY, DR, HOUR, KEY, Lapse

Make = Callable[..., Lapse]
REPLICA = {"region": DR, **KEY}


def test_copies_of_a_new_version_are_no_drift_and_one_that_somebody_removed_is(make: Make) -> None:
    base = make(encryption=KEY, replicas=[REPLICA])
    base.roll(3)
    assert base.versions(DR) == [1, 2, 3]
    assert base.status.drift_corrected == 0
    assert "DriftCorrected" not in base.reasons()
    base.aws.client("ec2", DR).deregister_image(ImageId=base.ami(3, DR))
    base.after(HOUR)
    assert base.ami(3, DR)
    assert base.status.drift_corrected == 1


def test_a_copy_that_a_schedule_asks_for_is_no_drift(make: Make) -> None:
    schedule = {"cron": "0 2 * * *"}
    base = make(encryption=KEY, replicas=[{**REPLICA, "schedule": schedule}])
    base.roll(2, apart=60.0)
    assert base.versions(DR) == [1]
    assert base.condition("Synced") == ("True", "InSync")
    base.after(DAY)
    assert base.versions(DR) == [1, 2]
    assert base.status.drift_corrected == 0
    base.aws.client("ec2", DR).deregister_image(ImageId=base.ami(2, DR))
    base.after(HOUR)
    assert base.versions(DR) == [1, 2]
    assert base.status.drift_corrected == 1


def test_protection_that_comes_and_goes_with_retention_is_no_drift(make: Make) -> None:
    retention = {
        "keep": 1,
        "unusedFor": "0m",
        "checkOtherAccounts": False,
        "deregistrationProtection": "Enabled",
    }
    base = make(encryption=KEY, retention=retention)
    base.roll(2)
    base.after(2 * DAY)
    assert base.versions() == [2]
    assert base.reasons().count("ProtectionChanged") == 3  # two made, one that goes
    assert base.status.drift_corrected == 0
    base.aws.client("ec2").disable_image_deregistration_protection(ImageId=base.ami(2))
    base.after(HOUR)
    assert base.status.drift_corrected == 1


def test_a_region_that_does_not_answer_is_stale_once_it_lags(make: Make) -> None:
    base = make(encryption=KEY, replicas=[REPLICA], promotion={"replicas": "Follow"})
    base.roll(1)
    down = base.aws.faults.region_down(DR)
    base.after(HOUR)
    assert base.condition("DRStale") == ("Unknown", "Unreachable")
    base.publish("os-2")
    base.after(HOUR)
    assert base.latest == 2
    assert base.condition("DRStale") == ("Unknown", "Unreachable")
    base.after(2 * DAY)
    assert base.condition("DRStale") == ("True", "Behind")
    assert f"{DR} has version 1" in base.message("DRStale")
    assert base.reasons().count("DRStale") == 1
    down.remove()
    base.after(HOUR)
    assert base.condition("DRStale") == ("False", "WithinLag")
    assert base.versions(DR) == [1, 2]


def test_who_disables_the_released_ami_rolls_nothing_back(make: Make) -> None:
    """It is enabled in the same look; the version before it is not published for that long."""
    publish = {"ssmParameter": {"name": "/golden/out"}}
    base = make(encryption=KEY, replicas=[REPLICA], publish=publish)
    base.roll(2)
    base.events.clear()
    base.aws.client("ec2").disable_image(ImageId=base.ami(2))
    base.after(HOUR)
    assert base.states()[2] == "available"
    assert base.latest == 2
    assert "Released" not in base.reasons()
    assert "ParameterPublished" not in base.reasons()
    assert base.reasons().count("DriftCorrected") == 1
