"""What becomes a version, and what a source that breaks leaves in peace."""

from stage import DR, ENCRYPTED, HOME, REPLICATED, A, Stage
from systemworld import golden, share

from gilder.sandbox.aws.seed import make_key, make_snapshot, register


def test_an_ami_with_the_right_key_is_adopted_and_any_other_is_copied(stage: Stage) -> None:
    right = stage.seeded.keys[HOME]
    other = make_key(stage.aws, HOME, "alias/other")
    ids = {
        name: register(stage.aws, name, make_snapshot(stage.aws, key=key))
        for name, key in (("right", right), ("wrong", other))
    }
    stage.aws.requests.reset()
    stage.start()
    for name, image in ids.items():
        stage.apply(golden(name, source={"image": {"id": image}}, **ENCRYPTED))
    stage.wait_ready("GoldenImage", *ids)
    assert stage.image("right", HOME) == ids["right"]
    (copy,) = stage.owned(HOME, image="images/wrong")
    assert copy["SourceImageId"] == ids["wrong"]
    assert stage.changes() == {"CreateTags": 1, "CopyImage": 1}


def test_the_newest_by_tags_is_followed_and_strangers_are_not(stage: Stage) -> None:
    tags = {"channel": "stable"}
    first = register(stage.aws, "one", make_snapshot(stage.aws), tags=tags)
    stage.start()
    newest = {"owners": ["self"], "tags": tags}
    stage.apply(golden(source={"image": {"newest": newest}}))
    stage.wait_version(1)
    assert stage.image("base", HOME) == first
    stage.aws.clock.advance(60)
    vendor = "777777777777"  # public and newer, but not of the owners that are named
    snapshot = make_snapshot(stage.aws, account=vendor)
    trap = register(stage.aws, "two", snapshot, account=vendor, tags=tags)
    stage.aws.client("ec2", HOME, vendor).modify_image_attribute(
        ImageId=trap, LaunchPermission={"Add": [{"Group": "all"}]}
    )
    register(stage.aws, "beta", make_snapshot(stage.aws), tags={"channel": "beta"})
    stage.look("GoldenImage", "base", "trap")
    assert stage.image("base", HOME) == first
    second = register(stage.aws, "three", make_snapshot(stage.aws), tags=tags)
    stage.look("GoldenImage", "base", "newer")
    stage.wait_version(2)
    assert stage.image("base", HOME) == second


def test_a_source_that_is_lost_stops_new_versions_and_nothing_else(stage: Stage) -> None:
    """The parameter is gone: the version there is stays shared, and its DR copy is looked after."""
    stage.start(resync=1)
    stage.apply(golden(**REPLICATED), share(accounts=[A]))
    stage.wait_ready("ImageShare", "team")
    stage.wait_ready("GoldenImage", "base")
    image, copy = stage.image("base", HOME), stage.image("base", DR)
    stage.aws.client("ssm").delete_parameter(Name="/golden/base")
    stage.wait_reason("GoldenImage", "base", "SourceNotFound")
    stage.aws.client("ec2", DR).deregister_image(ImageId=copy)
    stage.wait(
        lambda: [i["ImageId"] for i in stage.owned(DR)] not in ([], [copy]), "the copy made again"
    )
    (again,) = stage.owned(DR)
    stage.wait(lambda: stage.users(again["ImageId"], DR) == {A}, "the copy shared")
    assert stage.users(image) == {A}
    assert stage.status("GoldenImage", "base")["latest"] == {"version": 1, "imageId": image}
    # A parameter that holds something else is told apart.
    stage.aws.client("ssm").put_parameter(Name="/golden/base", Value="latest", Type="String")
    stage.wait(
        lambda: "holds 'latest'" in stage.message("GoldenImage", "base"), "the wrong value told"
    )
    stage.publish("", stage.seeded.base_image)
    stage.wait_ready("GoldenImage", "base")
    assert len(stage.owned(HOME)) == 1


def test_another_key_is_another_version_and_the_old_grant_goes(stage: Stage) -> None:
    half_given = stage.guard()
    other = make_key(stage.aws, HOME, "alias/other")
    kms = stage.aws.client("kms")
    stage.start()
    stage.apply(golden(**ENCRYPTED), share(accounts=[A]))
    stage.wait_ready("ImageShare", "team")
    first = stage.image("base", HOME)
    stage.edit("GoldenImage", "base", encryption={"kmsKeyId": "alias/other"})
    stage.wait_version(2)
    second = stage.image("base", HOME)
    stage.wait(lambda: stage.users(second) == {A}, "the new one shared")
    stage.wait(lambda: stage.grantees() == [], "the grant on the old key revoked")
    assert stage.users(first) == set()
    there = kms.list_grants(KeyId=other)["Grants"]
    assert [g["GranteePrincipal"].split(":")[4] for g in there] == [A]
    assert [v for v in half_given if first in v] == []
    assert stage.status("ImageShare", "team")["shared"] == "1/1"
