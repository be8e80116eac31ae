"""Deleting resources: what stays in AWS, what goes, and in which order."""

import pytest
from systemworld import System, golden, share

A = "222222222222"
HOME, DR = "eu-west-1", "us-east-1"
REPLICATED = {
    "encryption": {"kmsKeyId": "alias/golden"},
    "replicas": [{"region": DR, "kmsKeyId": "alias/golden"}],
}


def gone(system: System, kind: str, name: str) -> None:
    system.wait(lambda: system.get(kind, name) == {}, f"{kind} {name} gone")


@pytest.mark.parametrize(
    ("policy", "tagged", "there"), [("Retain", 1, 1), ("Orphan", 0, 1), ("Delete", 0, 0)]
)
def test_deletion_policy(system: System, policy: str, tagged: int, there: int) -> None:
    system.start()
    system.apply(golden(deletionPolicy=policy, **REPLICATED))
    system.wait_ready("GoldenImage", "base")
    made = {r: system.image("base", r) for r in (HOME, DR)}
    snapshots = {
        r: system.owned(r)[0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] for r in (HOME, DR)
    }
    system.delete("GoldenImage", "base")
    gone(system, "GoldenImage", "base")
    for region, image in made.items():
        ec2 = system.aws.client("ec2", region)
        ids = [i["ImageId"] for i in ec2.describe_images(Owners=["self"])["Images"]]
        assert ids.count(image) == there
        assert len(system.owned(region)) == tagged
        wanted = [{"Name": "snapshot-id", "Values": [snapshots[region]]}]
        assert len(ec2.describe_snapshots(Filters=wanted)["Snapshots"]) == there


def test_an_ami_in_use_is_not_deregistered(system: System) -> None:
    system.start(RESYNC_SECONDS="1", POLL_SECONDS="0.5")
    system.apply(golden(deletionPolicy="Delete", encryption={"kmsKeyId": "alias/golden"}))
    system.wait_ready("GoldenImage", "base")
    image = system.image("base", HOME)
    ec2 = system.aws.client("ec2")
    instance = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    system.delete("GoldenImage", "base")
    ready = system.wait_reason("GoldenImage", "base", "ImageInUse")
    assert image in ready["message"]
    assert len(system.owned(HOME)) == 1
    ec2.terminate_instances(InstanceIds=[instance["Instances"][0]["InstanceId"]])
    gone(system, "GoldenImage", "base")
    assert system.owned(HOME) == []


def test_an_image_waits_for_the_shares_that_name_it(system: System) -> None:
    system.start(RESYNC_SECONDS="3600")
    system.apply(golden(deletionPolicy="Delete", **REPLICATED), share(accounts=[A]))
    system.wait_ready("ImageShare", "team")
    system.delete("GoldenImage", "base")
    ready = system.wait_reason("GoldenImage", "base", "InUseByShares")
    assert "images/team" in ready["message"]
    image = system.image("base", HOME)
    assert system.users(image) == {A}  # nothing is half done
    system.aws.requests.reset()
    system.delete("ImageShare", "team")
    gone(system, "ImageShare", "team")
    gone(system, "GoldenImage", "base")
    order = [k.action for k in system.aws.requests.history()]
    assert order.index("ModifyImageAttribute") < order.index("RevokeGrant")
    assert order.index("RevokeGrant") < order.index("DeregisterImage")
    assert system.grants(HOME) == system.grants(DR) == []


def test_a_selector_lets_go_of_an_image_that_is_deleted(system: System) -> None:
    system.start(RESYNC_SECONDS="3600")
    labelled = golden(encryption={"kmsKeyId": "alias/golden"})
    labelled["metadata"]["labels"] = {"tier": "gold"}
    ref = {"selector": {"matchLabels": {"tier": "gold"}}}
    system.apply(labelled, share(imageRef=ref, accounts=[A]))
    system.wait_ready("ImageShare", "team")
    image = system.image("base", HOME)
    system.delete("GoldenImage", "base")
    gone(system, "GoldenImage", "base")
    assert system.users(image) == set()  # retained, and closed


def test_a_stuck_deletion_can_be_abandoned(system: System) -> None:
    system.start(RESYNC_SECONDS="1")
    system.apply(golden(encryption={"kmsKeyId": "alias/golden"}), share(accounts=[A]))
    system.wait_ready("ImageShare", "team")
    system.aws.faults.deny("ModifyImageAttribute")
    system.delete("ImageShare", "team")
    system.wait_reason("ImageShare", "team", "AccessDenied")
    system.annotate("ImageShare", "team", **{"goldenimage.dev__abandon": "true"})
    gone(system, "ImageShare", "team")
    assert system.users(system.image("base", HOME)) == {A}
