"""The practice questions told to the end: sharing under change, and DR copies with their shares."""

from stage import DR, ENCRYPTED, HOME, REPLICATED, A, B, Stage
from systemworld import golden, share

from gilder.sandbox.breakage import can_launch


def test_at_no_moment_may_an_account_launch_without_the_key(stage: Stage) -> None:
    """Given, changed, moved on to a new version, and taken: in both Regions, at every step."""
    half_given = stage.guard()
    stage.start()
    stage.apply(golden(**REPLICATED), share(accounts=[A]))
    stage.wait_ready("ImageShare", "team")
    stage.edit("ImageShare", "team", accounts=[A, B])
    for region in (HOME, DR):
        image = stage.image("base", region)
        stage.wait(lambda i=image, r=region: stage.users(i, r) == {A, B}, f"B in {region}")
        assert can_launch(stage.aws, image, region, B)
    stage.edit("ImageShare", "team", accounts=[B])
    stage.wait(lambda: stage.grantees() == stage.grantees(DR) == [B], "A's grants revoked")

    first = {r: stage.image("base", r) for r in (HOME, DR)}
    stage.publish("base-2")
    stage.look("GoldenImage", "base", "v2")
    stage.wait_version(2)
    for region in (HOME, DR):
        image = stage.image("base", region)
        stage.wait(lambda i=image, r=region: stage.users(i, r) == {B}, f"version 2 in {region}")
        stage.wait(lambda r=region: stage.users(first[r], r) == set(), "version 1 closed")
        assert can_launch(stage.aws, image, region, B)

    stage.delete("ImageShare", "team")
    stage.gone("ImageShare", "team")
    for region in (HOME, DR):
        assert stage.users(stage.image("base", region), region) == set()
        assert stage.grantees(region) == []
    assert half_given == []


def test_a_permission_that_cannot_be_taken_keeps_its_grant(stage: Stage) -> None:
    stage.start(resync=1)
    stage.apply(golden(**ENCRYPTED), share(accounts=[A, B]))
    stage.wait_ready("ImageShare", "team")
    image = stage.image("base", HOME)
    denied = stage.aws.faults.deny("ModifyImageAttribute")
    stage.aws.requests.reset()
    stage.edit("ImageShare", "team", accounts=[A])
    ready = stage.wait_reason("ImageShare", "team", "AccessDenied")
    assert "ModifyImageAttribute" in ready["message"]
    assert "RevokeGrant" not in stage.changes()
    assert can_launch(stage.aws, image, HOME, B)  # whole, not half taken
    denied.remove()
    stage.wait(lambda: stage.grantees() == [A], "the grant revoked at last")
    assert stage.users(image) == {A}
    stage.wait_ready("ImageShare", "team")


def test_a_dr_copy_is_made_again_with_its_key_tags_and_shares(stage: Stage) -> None:
    dr = stage.aws.client("ec2", DR)
    stage.start(resync=1)
    stage.apply(golden(tags={"team": "a"}, **REPLICATED), share(accounts=[A]))
    stage.wait_ready("GoldenImage", "base")
    stage.wait_ready("ImageShare", "team")
    lost = stage.image("base", DR)
    (snapshot,) = stage.snapshots(DR)

    # Tags altered by hand, on the AMI and on its snapshot, are put right.
    for resource in (lost, snapshot):
        dr.create_tags(Resources=[resource], Tags=[{"Key": "team", "Value": "b"}])
    dr.delete_tags(Resources=[lost], Tags=[{"Key": "goldenimage.dev/role"}])
    for resource in (lost, snapshot):
        stage.wait(lambda r=resource: stage.tags(r, DR).get("team") == "a", f"tags of {resource}")
    stage.wait(
        lambda: stage.tags(lost, DR).get("goldenimage.dev/role") == "replica", "the ownership tag"
    )

    dr.deregister_image(ImageId=lost)
    stage.wait(
        lambda: [i["ImageId"] for i in stage.owned(DR)] not in ([], [lost]), "another copy made"
    )
    (copy,) = stage.owned(DR)
    stage.wait(lambda: stage.users(copy["ImageId"], DR) == {A}, "the new copy shared")
    assert can_launch(stage.aws, copy["ImageId"], DR, A)
    made = copy["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    (found,) = dr.describe_snapshots(SnapshotIds=[made])["Snapshots"]
    assert found["KmsKeyId"] == stage.seeded.keys[DR]
    assert stage.tags(copy["ImageId"], DR)["team"] == "a"
    assert stage.grantees(DR) == [A]
    stage.wait_ready("ImageShare", "team")


def test_every_version_is_copied_with_the_key_of_its_region(stage: Stage) -> None:
    stage.start()
    stage.apply(golden(**REPLICATED))
    stage.wait_version(1)
    for version in (2, 3):
        stage.publish(f"base-{version}")
        stage.look("GoldenImage", "base", f"v{version}")
        stage.wait_version(version)
    for region in (HOME, DR):
        images = stage.owned(region)
        assert sorted(i["Name"] for i in images) == [f"images-base-v{n}" for n in (1, 2, 3)]
        ids = [i["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] for i in images]
        found = stage.aws.client("ec2", region).describe_snapshots(SnapshotIds=ids)["Snapshots"]
        assert {s["KmsKeyId"] for s in found} == {stage.seeded.keys[region]}
    assert stage.changes()["CopyImage"] == 6
    # Going back to an older source is no new version.
    stage.publish("", stage.seeded.base_image)
    stage.look("GoldenImage", "base", "back")
    stage.wait_version(1)
    assert stage.changes()["CopyImage"] == 6
