"""Deletion against AWS over HTTP, over days: what goes, what stays, and that it always ends."""

from collections.abc import Callable

import pytest
from lapse import DAY, DR, HOME, HOUR, KEY, MINUTE, OTHER_ACCOUNT, Lapse

from gilder.api.imageshare import DEFAULT_OPERATIONS

Make = Callable[..., Lapse]
REPLICAS = [{"region": DR, **KEY}]


def gone(base: Lapse) -> bool:
    return not (base.owned() or base.owned(DR) or base.snapshots() or base.snapshots(DR))


def test_delete_takes_all_regions_and_their_snapshots(make: Make) -> None:
    base = make(encryption=KEY, replicas=REPLICAS, deletionPolicy="Delete")
    base.roll(2)
    order: list[str] = []
    base.aws.faults.after("DeregisterImage", lambda key: order.append(key.region))
    base.delete()
    base.after(HOUR)
    assert base.released
    assert gone(base)
    assert order == [DR, DR, HOME, HOME], "copies go before what they were made from"


@pytest.mark.parametrize("policy", ["Retain", "Orphan"])
def test_what_is_kept(make: Make, policy: str) -> None:
    base = make(encryption=KEY, replicas=REPLICAS, deletionPolicy=policy)
    base.roll(2)
    amis = {i["ImageId"] for r in (HOME, DR) for i in base.owned(r)}
    base.delete()
    assert base.released
    there = set()
    for region in (HOME, DR):
        found = base.aws.client("ec2", region).describe_images(Owners=["self"])["Images"]
        there |= {i["ImageId"] for i in found}
    assert amis <= there
    assert len(base.owned()) == (2 if policy == "Retain" else 0)
    assert bool(base.snapshots(DR)) is (policy == "Retain")


def test_an_ami_in_use_holds_it_until_it_is_not(make: Make) -> None:
    base = make(encryption=KEY, deletionPolicy="Delete")
    base.roll(2)
    instance = base.run(base.ami(1))
    base.delete()
    base.after(HOUR)
    assert not base.released
    assert base.condition("Ready")[1] == "ImageInUse"
    assert instance in base.message("Ready")
    assert base.versions() == [1], "the other one went"
    base.aws.client("ec2").terminate_instances(InstanceIds=[instance])
    base.after(HOUR)
    assert base.released
    assert gone(base)


def test_another_account_holds_it_until_it_does_not(make: Make) -> None:
    base = make(encryption=KEY, deletionPolicy="Delete")
    base.roll(1)
    first = base.ami(1)
    ec2 = base.aws.client("ec2")
    ec2.modify_image_attribute(ImageId=first, LaunchPermission={"Add": [{"UserId": OTHER_ACCOUNT}]})
    base.aws.client("kms").create_grant(
        KeyId=base.seeded.keys[HOME],
        GranteePrincipal=f"arn:aws:iam::{OTHER_ACCOUNT}:root",
        Operations=list(DEFAULT_OPERATIONS),
        Name="by-hand",
    )
    instance = base.run(first, account=OTHER_ACCOUNT)
    base.delete()
    base.after(HOUR)
    assert not base.released
    assert OTHER_ACCOUNT in base.message("Ready")
    base.aws.client("ec2", HOME, OTHER_ACCOUNT).terminate_instances(InstanceIds=[instance])
    base.after(25 * HOUR)
    base.after(HOUR)
    assert base.released
    assert gone(base)


def test_a_report_that_may_not_be_asked_for_is_told_with_the_way_out(make: Make) -> None:
    base = make(encryption=KEY, deletionPolicy="Delete")
    base.roll(1)
    base.aws.faults.deny("DescribeImageUsageReports")
    base.delete()
    base.after(HOUR)
    assert not base.released
    assert base.condition("Ready")[1] == "UsageUnknown"
    assert "checkOtherAccounts" in base.message("Ready")
    base.edit(retention={"checkOtherAccounts": False})
    base.after(HOUR)
    assert base.released
    assert gone(base)


def test_amis_that_somebody_removed_are_done(make: Make) -> None:
    base = make(encryption=KEY, replicas=REPLICAS, deletionPolicy="Delete")
    base.roll(1)
    for region in (HOME, DR):
        ec2 = base.aws.client("ec2", region)
        ec2.deregister_image(ImageId=base.ami(1, region))
    base.delete()
    base.after(HOUR)
    assert base.released
    assert gone(base), "their snapshots are found by tag"


def test_keys_that_are_gone_do_not_hold_it(make: Make) -> None:
    base = make(encryption=KEY, replicas=REPLICAS, deletionPolicy="Delete")
    base.roll(1)
    for region in (HOME, DR):
        base.aws.client("kms", region).schedule_key_deletion(
            KeyId=base.seeded.keys[region], PendingWindowInDays=7
        )
    base.after(30 * DAY)
    base.delete()
    base.after(HOUR)
    assert base.released
    assert gone(base)


def test_a_region_that_is_down_is_named_and_the_rest_goes(make: Make) -> None:
    base = make(encryption=KEY, replicas=REPLICAS, deletionPolicy="Delete")
    base.roll(1)
    base.aws.faults.fail(".*", "InternalError", times=None, status=500, region=DR)
    base.delete()
    base.after(HOUR)
    assert not base.released
    assert DR in base.message("Ready")
    base.aws.faults.clear()
    base.after(HOUR)
    assert base.released
    assert gone(base)


def test_an_account_that_is_lost_can_be_let_go_of(make: Make) -> None:
    base = make(encryption=KEY, deletionPolicy="Delete")
    base.roll(1)
    base.aws.faults.deny(".*")
    base.delete()
    base.after(HOUR)
    assert not base.released
    assert base.condition("Ready")[1] == "AccessDenied"
    base.annotations["goldenimage.dev/abandon"] = "true"
    base.settle()
    assert base.released


def test_protection_is_taken_off_only_where_retention_has_it(make: Make) -> None:
    base = make(
        encryption=KEY, deletionPolicy="Delete", retention={"deregistrationProtection": "Enabled"}
    )
    base.roll(1)
    base.delete()
    base.after(HOUR)
    assert base.released
    assert gone(base)


def test_protection_of_somebody_else_holds_it(make: Make) -> None:
    base = make(encryption=KEY, deletionPolicy="Delete")
    base.roll(1)
    ec2 = base.aws.client("ec2")
    ec2.enable_image_deregistration_protection(ImageId=base.ami(1))
    base.delete()
    base.after(HOUR)
    assert base.condition("Ready")[1] == "DeregistrationProtected"
    ec2.disable_image_deregistration_protection(ImageId=base.ami(1))
    base.after(HOUR)
    assert base.released


def test_a_cooldown_is_waited_for(make: Make) -> None:
    base = make(
        encryption=KEY,
        deletionPolicy="Delete",
        retention={"deregistrationProtection": "EnabledWithCooldown"},
    )
    base.roll(1)
    base.delete()
    base.after(2 * HOUR)
    assert not base.released
    assert base.condition("Ready")[1] in ("DeregisterRefused", "Deleting")
    base.after(23 * HOUR)
    base.after(MINUTE)
    assert base.released
    assert gone(base)


def test_a_restart_in_the_middle_goes_on(make: Make) -> None:
    base = make(encryption=KEY, replicas=REPLICAS, deletionPolicy="Delete")
    base.roll(3)
    base.deleted = True
    for _ in range(8):
        base.look()
        base.restart()
    base.after(HOUR)
    assert base.released
    assert gone(base)


def test_what_a_person_must_mend_is_looked_at_less_and_less_often(make: Make) -> None:
    """Each look asks what uses the AMIs as of now."""
    base = make(encryption=KEY, deletionPolicy="Delete")
    base.roll(1)
    base.run(base.ami(1))
    base.delete()
    assert base.condition("Ready")[1] == "ImageInUse"
    assert base.again == -1.0
