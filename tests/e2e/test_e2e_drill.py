"""The restore drill of docs/howto.md, step by step: the home Region is gone, and comes back."""

from stage import DR, HOME, KEY, REPLICATED, A, B, Stage
from systemworld import golden, share

OTHER_ALIAS = "alias/golden-dr"


def launch(stage: Stage, account: str, image: str, region: str) -> str:
    ec2 = stage.aws.client("ec2", region, account=account)
    made = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    (instance,) = made["Instances"]
    found = ec2.describe_instances(InstanceIds=[instance["InstanceId"]])
    return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])


def replicas_by_tags(stage: Stage) -> list[str]:
    """Step 1 without a cluster: copies in the DR Region, newest first, without candidates."""
    ec2 = stage.aws.client("ec2", DR)
    found = ec2.describe_images(
        Owners=["self"],
        Filters=[
            {"Name": "tag:goldenimage.dev/image", "Values": ["images/base"]},
            {"Name": "tag:goldenimage.dev/role", "Values": ["replica"]},
            {"Name": "state", "Values": ["available"]},
        ],
    )["Images"]
    newest = sorted(found, key=lambda i: i["CreationDate"], reverse=True)
    tags = {i["ImageId"]: {t["Key"]: t["Value"] for t in i["Tags"]} for i in newest}
    return [i for i, t in tags.items() if t.get("goldenimage.dev/release") != "candidate"]


def test_the_home_region_is_gone_and_comes_back(stage: Stage) -> None:
    stage.start()
    stage.apply(golden(**REPLICATED), share(accounts=[A]))
    stage.wait_ready("GoldenImage", "base")
    stage.wait_ready("ImageShare", "team")
    (told,) = stage.status("GoldenImage", "base")["replicas"]
    assert (told["region"], told["version"], told["state"]) == (DR, 1, "Current")
    assert told["recoveryPoint"]
    replica, home = told["imageId"], stage.image("base", HOME)

    down = stage.aws.faults.region_down(HOME)
    stage.annotate("GoldenImage", "base", **{"goldenimage.dev__reconcile-now": "gone"})
    stage.wait(lambda: HOME in stage.message("GoldenImage", "base", "Reconciling"), "told", 60)
    assert stage.ready("GoldenImage", "base")
    assert stage.status("GoldenImage", "base")["replicas"][0]["imageId"] == replica
    assert replicas_by_tags(stage) == [replica]
    assert launch(stage, A, replica, DR) == "running"

    # Who is added meanwhile may launch there.
    stage.edit("ImageShare", "team", accounts=[A, B])
    stage.wait(lambda: B in stage.users(replica, DR), "the DR copy shared with B", 60)
    assert launch(stage, B, replica, DR) == "running"

    # A second image whose home is the DR Region: the replica belongs to the first.
    kms = stage.aws.client("kms", DR)
    arn = kms.create_key(Description="golden-dr")["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName=OTHER_ALIAS, TargetKeyId=arn)
    source = {"image": {"id": replica}}
    stage.apply(golden("same-key", region=DR, source=source, encryption=KEY))
    stage.wait_reason("GoldenImage", "same-key", "OwnedByAnother")
    stage.delete("GoldenImage", "same-key")
    second = {"encryption": {"kmsKeyId": OTHER_ALIAS}, "deletionPolicy": "Delete"}
    stage.apply(golden("base-dr", region=DR, source=source, **second))
    stage.wait_ready("GoldenImage", "base-dr")
    stage.apply(share("base-dr", "base-dr", accounts=[A]))
    stage.wait_ready("ImageShare", "base-dr")
    assert launch(stage, A, stage.image("base-dr", DR), DR) == "running"

    # Going back.
    down.remove()
    stage.look("GoldenImage", "base", "back")
    stage.wait_ready("GoldenImage", "base")
    stage.wait_ready("ImageShare", "team")
    assert stage.image("base", HOME) == home
    assert stage.image("base", DR) == replica
    assert stage.users(home) == {A, B}
    copy = stage.image("base-dr", DR)
    instances = stage.aws.client("ec2", DR, account=A)
    for one in instances.describe_instances()["Reservations"]:
        instances.terminate_instances(InstanceIds=[one["Instances"][0]["InstanceId"]])
    stage.delete("ImageShare", "base-dr")
    stage.delete("GoldenImage", "base-dr")
    stage.gone("GoldenImage", "base-dr", seconds=60)
    assert copy not in {i["ImageId"] for i in stage.owned(DR)}
    assert replica in {i["ImageId"] for i in stage.owned(DR)}
