"""What an account sees of an AMI that was shared with it: tags of its own, listings, dry runs."""

from typing import Any

import pytest

from gilder.sandbox.aws.seed import make_role, make_snapshot
from gilder.sandbox.aws.server import SandboxAws

A, B, C = "123456789012", "222222222222", "333333333333"
OURS, THEIRS = [{"Key": "stage", "Value": "prod"}], [{"Key": "stage", "Value": "seen"}]


@pytest.fixture
def theirs(aws: SandboxAws) -> Any:
    return aws.client("ec2", account=B)


def share(ec2: Any, image: str, *accounts: str, verb: str = "Add") -> None:
    permission = {verb: [{"UserId": a} for a in accounts]}
    ec2.modify_image_attribute(ImageId=image, LaunchPermission=permission)


def tags_of(client: Any, image: str) -> Any:
    return client.describe_images(ImageIds=[image])["Images"][0].get("Tags")


def told(client: Any, resource: str) -> list[tuple[str, str]]:
    found = client.describe_tags(Filters=[{"Name": "resource-id", "Values": [resource]}])["Tags"]
    return [(t["Key"], t["Value"]) for t in found]


def test_tags_of_an_ami_are_per_account(
    aws: SandboxAws, ec2: Any, theirs: Any, base: str, refused: Any
) -> None:
    ec2.create_tags(Resources=[base], Tags=OURS)
    ours = tags_of(ec2, base)
    with refused("InvalidAMIID.NotFound"):
        theirs.create_tags(Resources=[base], Tags=THEIRS)
    share(ec2, base, B, C)
    assert tags_of(theirs, base) is None
    theirs.create_tags(Resources=[base], Tags=THEIRS)
    assert tags_of(theirs, base) == THEIRS
    assert tags_of(ec2, base) == ours
    assert tags_of(aws.client("ec2", account=C), base) is None
    by_tag = [{"Name": "tag:stage", "Values": ["seen"]}]
    assert len(theirs.describe_images(Filters=by_tag)["Images"]) == 1
    assert ec2.describe_images(Filters=by_tag)["Images"] == []
    assert told(theirs, base) == [("stage", "seen")]
    share(ec2, base, B, verb="Remove")
    assert told(theirs, base) == []
    for call in (theirs.create_tags, theirs.delete_tags):
        with refused("InvalidAMIID.NotFound"):
            call(Resources=[base], Tags=THEIRS)
    assert tags_of(ec2, base) == ours


def test_tags_of_a_snapshot_are_per_account(
    aws: SandboxAws, ec2: Any, theirs: Any, refused: Any
) -> None:
    snapshot = make_snapshot(aws)
    ec2.create_tags(Resources=[snapshot], Tags=OURS)
    with refused("InvalidSnapshot.NotFound"):
        theirs.create_tags(Resources=[snapshot], Tags=THEIRS)
    ec2.modify_snapshot_attribute(SnapshotId=snapshot, OperationType="add", UserIds=[B])

    def shown(client: Any) -> Any:
        return client.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0].get("Tags")

    assert shown(theirs) is None
    theirs.create_tags(Resources=[snapshot], Tags=THEIRS)
    assert (shown(theirs), shown(ec2)) == (THEIRS, OURS)
    theirs.delete_tags(Resources=[snapshot], Tags=[{"Key": "stage"}])
    assert (shown(theirs), shown(ec2)) == (None, OURS)
    theirs.create_tags(Resources=[snapshot], Tags=THEIRS)
    ec2.delete_snapshot(SnapshotId=snapshot)
    assert told(theirs, snapshot) == []


def test_listings_of_a_consumer(ec2: Any, theirs: Any, base: str, refused: Any) -> None:
    by_id = [{"Name": "image-id", "Values": [base]}]
    with refused("InvalidAMIID.NotFound"):
        theirs.describe_images(ImageIds=[base])
    # A filter finds nothing where an id is refused.
    assert theirs.describe_images(Filters=by_id)["Images"] == []
    share(ec2, base, B)
    for request in (
        {"ImageIds": [base]},
        {"Filters": by_id},
        {"Filters": by_id, "ExecutableUsers": ["self"]},
        {"Filters": by_id, "Owners": [A]},
    ):
        assert [i["OwnerId"] for i in theirs.describe_images(**request)["Images"]] == [A]
    assert theirs.describe_images(Owners=["self"])["Images"] == []
    share(ec2, base, B, verb="Remove")
    assert theirs.describe_images(Filters=by_id)["Images"] == []


def test_a_dry_run_of_a_launch_sees_the_ami_and_not_its_key(
    ec2: Any, theirs: Any, base: str, encrypted: str, refused: Any
) -> None:
    def launch(image: str, **more: Any) -> Any:
        return theirs.run_instances(ImageId=image, MinCount=1, MaxCount=1, **more)

    for image in (base, encrypted):
        with refused("InvalidAMIID.NotFound"):
            launch(image, DryRun=True)
        share(ec2, image, B)
        with refused("DryRunOperation"):
            launch(image, DryRun=True)
    assert theirs.describe_instances()["Reservations"] == []
    made = launch(encrypted)["Instances"][0]["InstanceId"]
    state = theirs.describe_instances(InstanceIds=[made])["Reservations"][0]["Instances"][0]
    assert state["State"]["Name"] == "terminated"
    assert state["StateReason"]["Code"] == "Client.InternalError"
    ec2.disable_image(ImageId=base)
    with refused("InvalidAMIID.NotFound"):  # disabling takes the permissions
        launch(base, DryRun=True)


def test_a_consumer_by_a_role(aws: SandboxAws, ec2: Any, base: str) -> None:
    share(ec2, base, B)
    session = aws.assume(make_role(aws, B, "reader", trust=[A]))
    reader = aws.client_as(session, "ec2")
    reader.create_tags(Resources=[base], Tags=THEIRS)
    assert tags_of(aws.client("ec2", account=B), base) == THEIRS
