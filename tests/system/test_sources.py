"""Where versions come from."""

from systemworld import System, golden

from gilder.sandbox.aws.seed import make_snapshot, register


def test_our_own_ami_is_adopted_in_place(system: System) -> None:
    system.start()
    system.apply(golden(source={"image": {"id": system.seeded.base_image}}))
    system.wait_ready("GoldenImage", "base")
    assert [i["ImageId"] for i in system.owned("eu-west-1")] == [system.seeded.base_image]
    assert set(system.changes()) == {"CreateTags"}
    status = system.get("GoldenImage", "base")["status"]
    assert status["latest"] == {"version": 1, "imageId": system.seeded.base_image}
    assert system.wait_event("base", "Adopted")


def test_the_newest_ami_by_filter_is_followed(system: System) -> None:
    system.start(RESYNC_SECONDS="1")
    newest = {"owners": ["self"], "name": "base-al2023-*"}
    system.apply(golden(source={"image": {"newest": newest}}))
    system.wait_ready("GoldenImage", "base")
    system.aws.clock.advance(60)
    newer = register(system.aws, "base-al2023-2026.12.01", make_snapshot(system.aws))
    system.wait(
        lambda: (
            system.get("GoldenImage", "base")["status"]["latest"]
            == {"version": 2, "imageId": newer}
        ),
        "version 2",
    )


def test_an_ami_shared_by_another_account_is_copied(system: System) -> None:
    other = "777777777777"
    snapshot = make_snapshot(system.aws, account=other)
    foreign = register(system.aws, "vendor-ami", snapshot, account=other)
    ec2 = system.aws.client("ec2", "eu-west-1", other)
    me = system.seeded.account
    ec2.modify_image_attribute(ImageId=foreign, LaunchPermission={"Add": [{"UserId": me}]})
    ec2.modify_snapshot_attribute(
        SnapshotId=snapshot,
        Attribute="createVolumePermission",
        OperationType="add",
        UserIds=[me],
    )
    system.start()
    system.apply(golden(source={"image": {"id": foreign}}, encryption={"kmsKeyId": "alias/golden"}))
    system.wait_ready("GoldenImage", "base")
    (made,) = system.owned("eu-west-1")
    assert made["SourceImageId"] == foreign
    assert made["OwnerId"] == me


def test_an_instance_is_captured_and_encrypted(system: System) -> None:
    source = {"instance": {"tags": {"Name": "builder"}, "noReboot": True}}
    system.start()
    system.apply(golden(source=source, encryption={"kmsKeyId": "alias/golden"}))
    system.wait_ready("GoldenImage", "base")
    system.wait(lambda: len(system.owned("eu-west-1")) == 1, "the unencrypted one gone")
    (home,) = system.owned("eu-west-1")
    assert home["BlockDeviceMappings"][0]["Ebs"]["Encrypted"]
    assert home["Name"] == "images-base-v1"
    changes = system.changes()
    assert (changes["CreateImage"], changes["CopyImage"]) == (1, 1)
    assert changes["DeregisterImage"] == 1


def test_two_golden_images_do_not_fight_over_one_ami(system: System) -> None:
    source = {"image": {"id": system.seeded.base_image}}
    system.start(RESYNC_SECONDS="1")
    system.apply(golden("first", source=source))
    system.wait_ready("GoldenImage", "first")
    system.apply(golden("second", source=source))
    ready = system.wait_reason("GoldenImage", "second", "OwnedByAnother")
    assert "images/first" in ready["message"]
    assert system.ready("GoldenImage", "first")
