"""Release against AWS over HTTP, over days: by hand, after a soak, all Regions together, back."""

from collections.abc import Callable

import pytest
from lapse import DAY, DR, HOME, HOUR, KEY, MINUTE, Lapse, Object

Make = Callable[..., Lapse]
REPLICAS = [{"region": DR, **KEY}]
PROMOTE = "goldenimage.dev/promote"


def release_tag(base: Lapse, version: int, region: str = HOME) -> str:
    ami = base.ami(version, region)
    found = base.aws.client("ec2", region).describe_tags(
        Filters=[
            {"Name": "resource-id", "Values": [ami]},
            {"Name": "key", "Values": ["goldenimage.dev/release"]},
        ]
    )["Tags"]
    return str(found[0]["Value"]) if found else ""


def test_manual_waits_for_the_annotation(make: Make) -> None:
    base = make(encryption=KEY, replicas=REPLICAS, promotion={"mode": "Manual"})
    base.settle()
    assert base.latest == 0, "not even the first one is released unasked"
    assert base.condition("Released") == ("False", "AwaitingPromotion")
    assert f"{PROMOTE} is 1" in base.message("Released")
    assert base.condition("Ready")[0] == "False", "there is nothing to launch yet"
    base.annotations[PROMOTE] = "1"
    base.settle()
    assert base.latest == 1
    assert base.condition("Released") == ("True", "Released")
    base.publish("os-2")
    base.after(30 * DAY)
    assert base.latest == 1
    assert base.status.candidate is not None
    assert base.status.candidate.version == 2
    assert base.condition("Ready") == ("True", "Available"), "the former one serves on"
    assert base.versions(DR) == [1, 2], "it is copied before, so that the release is at once"
    assert release_tag(base, 2) == release_tag(base, 2, DR) == "candidate"
    base.annotations[PROMOTE] = "2"
    base.settle()
    assert base.latest == 2
    assert release_tag(base, 2) == release_tag(base, 2, DR) == "released"
    assert "Released" in base.reasons()
    assert base.status.candidate is None


def test_an_annotation_of_another_version_releases_nothing(make: Make) -> None:
    base = make(encryption=KEY, promotion={"mode": "Manual"})
    base.annotations[PROMOTE] = "2"
    base.settle()
    assert base.latest == 0


def test_a_soak_runs_from_when_nothing_is_missing(make: Make) -> None:
    base = make(encryption=KEY, replicas=REPLICAS, promotion={"mode": "Soak", "soakTime": "2d"})
    base.settle()
    base.after(3 * DAY)
    assert base.latest == 1
    base.aws.settings.image_delay = 6 * HOUR
    base.publish("os-2")
    base.settle()
    base.after(6 * HOUR)
    assert base.condition("Released") == ("False", "AwaitingReplicas")
    base.after(6 * HOUR)
    assert base.condition("Released") == ("False", "Soaking")
    base.restart()
    base.after(47 * HOUR)
    assert base.latest == 1, "the time does not run from the build, nor anew after a restart"
    base.after(2 * HOUR)
    assert base.latest == 2
    assert base.aws.settings.image_delay


def test_a_soak_can_be_cut_short(make: Make) -> None:
    base = make(encryption=KEY, promotion={"mode": "Soak", "soakTime": "30d"})
    base.settle()
    assert base.latest == 0
    base.annotations[PROMOTE] = "1"
    base.settle()
    assert base.latest == 1


def test_all_regions_move_together(make: Make) -> None:
    base = make(encryption=KEY, replicas=REPLICAS, promotion={})
    base.roll(1)
    base.aws.client("kms", DR).disable_key(KeyId=base.seeded.keys[DR])
    base.publish("os-2")
    base.settle()
    base.after(DAY)
    assert base.latest == 1, "without its copy there it is not released at home either"
    assert base.condition("Released") == ("False", "AwaitingReplicas")
    assert DR in base.message("Released")
    assert base.condition("Ready")[0] == "False" or base.condition("ReplicasReady")[0] == "False"
    base.aws.client("kms", DR).enable_key(KeyId=base.seeded.keys[DR])
    base.after(2 * HOUR)
    base.after(2 * HOUR)
    assert base.latest == 2
    (there,) = base.status.replicas
    assert (there.version, there.state) == (2, "Current")


@pytest.mark.parametrize("promotion", [None, {"replicas": "Follow"}])
def test_each_region_for_itself_where_nothing_else_is_asked(
    make: Make, promotion: Object | None
) -> None:
    base = make(encryption=KEY, replicas=REPLICAS, promotion=promotion)
    base.roll(1)
    base.aws.client("kms", DR).disable_key(KeyId=base.seeded.keys[DR])
    base.publish("os-2")
    base.settle()
    assert base.latest == 2
    (there,) = base.status.replicas
    assert there.version == 1
    assert there.behind_since


def test_rollback_and_back_again(make: Make) -> None:
    base = make(encryption=KEY, replicas=REPLICAS)
    base.roll(3)
    base.edit(pinnedVersion=1)
    assert base.latest == 1
    assert base.condition("Released") == ("True", "Pinned")
    assert [r.version for r in base.status.replicas] == [1]
    assert base.events[-1].reason == "Released" or "Released" in base.reasons()
    assert any("rolled back to version 1" in e.message for e in base.events)
    base.publish("os-4")
    base.after(HOUR)
    base.after(30 * DAY)
    assert base.latest == 1, "a new version is made and waits"
    assert base.versions() == base.versions(DR) == [1, 2, 3, 4]
    base.edit(pinnedVersion=None)
    assert base.latest == 4


def test_a_pin_on_what_is_not_there(make: Make) -> None:
    base = make(encryption=KEY)
    base.roll(2)
    base.edit(pinnedVersion=7)
    assert base.latest == 2, "what is released stays"
    assert base.condition("Stalled") == ("True", "PinnedVersionNotFound")
    assert "Name one of 1, 2" in base.message("Stalled")
    base.edit(pinnedVersion=1)
    assert base.latest == 1
    assert base.condition("Stalled")[0] != "True"


def test_a_pinned_version_comes_back_from_the_recycle_bin(make: Make) -> None:
    base = make(encryption=KEY, retention={"keep": 1, "gracePeriod": "0m", "unusedFor": "0m"})
    base.recycle()
    base.roll(1)
    first = base.ami(1)
    base.roll(1)
    base.after(2 * HOUR)
    assert base.versions() == [2]
    assert base.status.recycle_bin == (), "it is looked into when something is missing"
    base.edit(pinnedVersion=1)
    base.after(MINUTE)
    base.after(MINUTE)
    assert base.ami(1) == first
    assert base.latest == 1
    assert base.condition("Ready") == ("True", "Available")


def test_the_released_version_comes_back_from_the_recycle_bin(make: Make) -> None:
    """While a newer one is held back, and somebody deregistered what is released."""
    base = make(encryption=KEY, promotion={"mode": "Manual"})
    base.recycle()
    base.annotations[PROMOTE] = "1"
    base.settle()
    base.publish("os-2")
    base.settle()
    first = base.ami(1)
    base.aws.client("ec2").deregister_image(ImageId=first)
    base.after(MINUTE)
    base.after(MINUTE)
    assert base.ami(1) == first
    assert base.latest == 1
    assert base.condition("Ready") == ("True", "Available")


def test_release_survives_a_lost_status(make: Make) -> None:
    base = make(encryption=KEY, replicas=REPLICAS, promotion={"mode": "Manual"})
    base.annotations[PROMOTE] = "1"
    base.settle()
    base.publish("os-2")
    base.settle()
    base.status = type(base.status)()
    base.restart()
    base.settle()
    base.after(HOUR)
    assert base.latest == 1, "tags tell that version 2 was never released"
    assert base.versions() == [1, 2]


def test_turning_promotion_off_releases_what_waits(make: Make) -> None:
    base = make(encryption=KEY, promotion={"mode": "Manual"})
    base.settle()
    assert base.latest == 0
    base.edit(promotion=None)
    assert base.latest == 1


def test_a_newer_candidate_takes_the_place_of_one_that_was_never_released(make: Make) -> None:
    base = make(encryption=KEY, promotion={"mode": "Manual"})
    base.annotations[PROMOTE] = "1"
    base.settle()
    base.publish("os-2")
    base.after(HOUR)
    base.publish("os-3")
    base.after(HOUR)
    assert base.latest == 1
    assert base.status.candidate is not None
    assert base.status.candidate.version == 3
    base.annotations[PROMOTE] = "3"
    base.settle()
    assert base.latest == 3
    assert release_tag(base, 2) == "candidate", "it was never released, and is not now"


def test_a_region_that_cannot_be_read_for_a_moment_ends_no_soak(make: Make) -> None:
    base = make(encryption=KEY, replicas=REPLICAS, promotion={"mode": "Soak", "soakTime": "2d"})
    base.settle()
    base.after(DAY)
    assert base.condition("Released") == ("False", "Soaking")
    base.aws.faults.fail(".*", "InternalError", times=None, status=500, region=DR)
    base.after(HOUR)
    assert base.condition("Released") == ("False", "AwaitingReplicas")
    base.aws.faults.clear()
    base.after(24 * HOUR)
    assert base.latest == 1
