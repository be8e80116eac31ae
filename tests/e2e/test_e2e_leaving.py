"""Deletions at a bad moment, and what is not ours to take."""

from stage import DR, ENCRYPTED, HOME, REPLICATED, STRANGER, A, B, Stage
from systemworld import golden, share


def nothing_left(stage: Stage) -> None:
    for region in (HOME, DR):
        assert stage.owned(region) == []
        assert stage.snapshots(region) == set()
        assert stage.grants(region) == []


def test_image_and_share_deleted_at_once(stage: Stage) -> None:
    half_given = stage.guard()
    stage.start()
    stage.apply(golden(deletionPolicy="Delete", **REPLICATED), share(accounts=[A]))
    stage.wait_ready("ImageShare", "team")
    stage.wait_ready("GoldenImage", "base")
    stage.aws.requests.reset()
    stage.delete("GoldenImage", "base")
    stage.delete("ImageShare", "team")
    stage.gone("ImageShare", "team")
    stage.gone("GoldenImage", "base")
    nothing_left(stage)
    assert half_given == []
    order = stage.order()
    last_revoked = max(i for i, a in enumerate(order) if a == "RevokeGrant")
    assert last_revoked < order.index("DeregisterImage")
    assert stage.changes() == {
        "ModifyImageAttribute": 2,
        "RevokeGrant": 2,
        "CreateImageUsageReport": 2,
        "DeregisterImage": 2,
    }


def test_a_region_that_is_down_holds_the_deletion_until_it_is_back(stage: Stage) -> None:
    stage.start()
    stage.apply(golden(deletionPolicy="Delete", **REPLICATED))
    stage.wait_ready("GoldenImage", "base")
    down = stage.aws.faults.region_down(DR)
    stage.delete("GoldenImage", "base")
    stage.wait(lambda: stage.owned(HOME) == [], "the home AMI gone", 60)
    stage.wait(lambda: DR in stage.message("GoldenImage", "base"), "the Region named", 60)
    down.remove()
    stage.gone("GoldenImage", "base", seconds=60)
    nothing_left(stage)


def test_a_copy_under_way_when_its_image_is_deleted_is_not_left_behind(stage: Stage) -> None:
    stage.aws.settings.update(image_delay=2.0)
    stage.start()
    stage.apply(golden(deletionPolicy="Delete", **REPLICATED))
    stage.wait(lambda: len(stage.owned(DR)) == 1, "the copy under way")
    assert stage.owned(DR)[0]["State"] == "pending"
    stage.delete("GoldenImage", "base")
    stage.gone("GoldenImage", "base")
    stage.aws.clock.advance(60)
    nothing_left(stage)


def test_only_what_is_ours_is_taken(stage: Stage) -> None:
    """An additive share leaves a stranger's permission and other people's grants."""
    kms, key = stage.aws.client("kms"), stage.seeded.keys[HOME]
    stage.start()
    stage.apply(golden(**ENCRYPTED), share(accounts=[A, B], mode="Additive"))
    stage.wait_ready("ImageShare", "team")
    image = stage.image("base", HOME)
    stage.aws.client("ec2").modify_image_attribute(
        ImageId=image, LaunchPermission={"Add": [{"UserId": STRANGER}]}
    )
    theirs = {
        kms.create_grant(KeyId=key, GranteePrincipal=f"arn:aws:iam::{account}:root",
                         Operations=["Decrypt"], **name)["GrantId"]
        for account, name in ((A, {}), (STRANGER, {"Name": "backup"}),
                              (B, {"Name": f"gilder:another:{B}:0123456789ab"}))
    }  # fmt: skip
    stage.look("ImageShare", "team", "look")
    stage.wait_ready("ImageShare", "team")
    stage.delete("ImageShare", "team")
    stage.gone("ImageShare", "team")
    assert stage.users(image) == {STRANGER}
    assert {g["GrantId"] for g in stage.grants()} == theirs


def test_an_adopted_ami_goes_back_as_it_was(stage: Stage) -> None:
    """Orphan: our tags go; the AMI, its own tags and who may launch it stay."""
    image = stage.seeded.base_image
    stage.aws.client("ec2").modify_image_attribute(
        ImageId=image, LaunchPermission={"Add": [{"UserId": STRANGER}]}
    )
    before = stage.tags(image, HOME), stage.tags(stage.seeded.base_snapshot, HOME)
    stage.aws.requests.reset()
    stage.start()
    stage.apply(golden(source={"image": {"id": image}}, deletionPolicy="Orphan"))
    stage.wait_ready("GoldenImage", "base")
    assert stage.tags(image, HOME) != before[0]
    stage.delete("GoldenImage", "base")
    stage.gone("GoldenImage", "base")
    assert (stage.tags(image, HOME), stage.tags(stage.seeded.base_snapshot, HOME)) == before
    assert stage.users(image) == {STRANGER}
    assert set(stage.changes()) == {"CreateTags", "DeleteTags"}


def test_two_shares_under_one_key_go_at_once(stage: Stage) -> None:
    """The grant stands until both have closed their AMIs."""
    half_given = stage.guard()
    stage.start()
    stage.apply(golden(**ENCRYPTED), golden("tools", **ENCRYPTED))
    for _ in range(3):
        stage.apply(share(accounts=[A]), share("other", "tools", accounts=[A]))
        stage.wait_ready("ImageShare", "team", "other")
        stage.delete("ImageShare", "other")
        stage.delete("ImageShare", "team")
        stage.gone("ImageShare", "team", "other")
    assert half_given == []
    assert stage.grants() == []
