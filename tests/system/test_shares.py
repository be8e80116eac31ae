"""Who may launch: unions, modes, organizations, AWS's refusals."""

import json

from systemworld import System, golden, share

from gilder.sandbox.aws.seed import make_snapshot, register
from gilder.sandbox.breakage import can_launch

A, B, C = "222222222222", "333333333333", "444444444444"  # A and B are in the OU, C is not
OUTSIDER = "888888888888"
HOME = "eu-west-1"
ENCRYPTED = {"encryption": {"kmsKeyId": "alias/golden"}}


def plain(system: System) -> dict[str, object]:
    """A GoldenImage that adopts the unencrypted base."""
    return golden(source={"image": {"id": system.seeded.base_image}})


def test_shares_of_one_ami_add_up_and_leave_one_by_one(system: System) -> None:
    system.start(RESYNC_SECONDS="3600")
    system.apply(golden(**ENCRYPTED), share("one", accounts=[A, B]), share("two", accounts=[B, C]))
    system.wait_ready("ImageShare", "one", "two")
    image = system.image("base", HOME)
    assert system.users(image) == {A, B, C}
    names = [g["Name"] for g in system.grants()]
    assert len(names) == len(set(names)) == 3
    system.delete("ImageShare", "one")
    system.wait(lambda: system.get("ImageShare", "one") == {}, "the share gone")
    assert system.users(image) == {B, C}
    assert len(system.grants()) == 2
    assert can_launch(system.aws, image, HOME, B)


def test_additive_keeps_strangers_and_takes_back_only_its_own(system: System) -> None:
    system.start(RESYNC_SECONDS="1")
    system.apply(plain(system), share(accounts=[A, B], mode="Additive"))
    system.wait_ready("ImageShare", "team")
    image = system.seeded.base_image
    ec2 = system.aws.client("ec2")
    ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": OUTSIDER}]})
    system.patch("ImageShare", "team", {"spec": {"accounts": [B]}}).raise_for_status()
    system.wait(lambda: A not in system.users(image), "the account taken back")
    system.wait_ready("ImageShare", "team")
    assert system.users(image) == {B, OUTSIDER}
    system.patch("ImageShare", "team", {"spec": {"mode": "Authoritative"}}).raise_for_status()
    system.wait(lambda: system.users(image) == {B}, "the stranger removed")


def test_an_organization_and_a_unit_may_launch(system: System) -> None:
    system.start()
    system.apply(plain(system), share(organizationalUnits=[system.seeded.unit_arn]))
    system.wait_ready("ImageShare", "team")
    image = system.seeded.base_image
    assert can_launch(system.aws, image, HOME, A)
    assert not can_launch(system.aws, image, HOME, C)
    change = {"spec": {"organizations": [system.seeded.organization_arn]}}
    system.patch("ImageShare", "team", change).raise_for_status()
    system.wait(lambda: can_launch(system.aws, image, HOME, C), "the whole organization")
    assert not can_launch(system.aws, image, HOME, OUTSIDER)


def test_an_organization_gets_an_encrypted_ami_only_with_the_key_policy(system: System) -> None:
    system.start(RESYNC_SECONDS="1")
    system.apply(golden(**ENCRYPTED), share(organizations=[system.seeded.organization_arn]))
    ready = system.wait_reason("ImageShare", "team", "KeyPolicyRequired")
    image = system.image("base", HOME)
    ec2, kms = system.aws.client("ec2"), system.aws.client("kms")
    attribute = {"ImageId": image, "Attribute": "launchPermission"}
    assert ec2.describe_image_attribute(**attribute)["LaunchPermissions"] == []
    # The message holds the statement to add; do as it says.
    statement = json.loads(ready["message"][ready["message"].index("{") :])
    key = system.seeded.keys[HOME]
    policy = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
    policy["Statement"].append(statement)
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    system.wait_ready("ImageShare", "team")
    assert can_launch(system.aws, image, HOME, C)
    assert not can_launch(system.aws, image, HOME, OUTSIDER)


def test_public_is_given_when_declared_twice_and_refused_when_encrypted(system: System) -> None:
    system.start()
    public = {"public": True, "confirmPublic": True}
    system.apply(plain(system), share(**public))
    system.wait_ready("ImageShare", "team")
    image = system.seeded.base_image
    assert can_launch(system.aws, image, HOME, OUTSIDER)
    system.apply(golden("secret", **ENCRYPTED), share("open", "secret", **public))
    refused = system.wait_reason("ImageShare", "open", "PublicRefused")
    assert "encrypted" in refused["message"]
    assert not can_launch(system.aws, system.image("secret", HOME), HOME, OUTSIDER)
    # Taken back by taking the declaration back.
    change = {"spec": {"public": False, "accounts": [A]}}
    system.patch("ImageShare", "team", change).raise_for_status()
    system.wait(lambda: system.users(image) == {A}, "public no more")
    assert not can_launch(system.aws, image, HOME, OUTSIDER)


def test_block_public_access_is_told_before_it_refuses(system: System) -> None:
    ec2 = system.aws.client("ec2")
    ec2.enable_image_block_public_access(ImageBlockPublicAccessState="block-new-sharing")
    system.aws.requests.reset()
    system.start()
    system.apply(plain(system), share(public=True, confirmPublic=True, accounts=[A]))
    refused = system.wait_reason("ImageShare", "team", "PublicRefused")
    assert "block public access" in refused["message"]
    system.wait(lambda: system.users(system.seeded.base_image) == {A}, "the account shared")


def test_what_aws_will_not_share_is_refused_up_front(system: System) -> None:
    sold = register(system.aws, "sold", make_snapshot(system.aws))
    system.aws.edit_image(sold, product_codes=["marketplace-1"])
    system.aws.requests.reset()
    system.start()
    default_key = system.seeded.default_key_image
    for name, image, reason in (
        ("default", default_key, "DefaultKeyNotShareable"),
        ("sold", sold, "ProductCodeRestricted"),
    ):
        ref = {"images": [{"id": image, "region": HOME}]}
        system.apply(share(name, imageRef=ref, accounts=[A]))
        refused = system.wait_reason("ImageShare", name, reason)
        assert image in refused["message"]
    assert "customer-managed key" in system.condition("ImageShare", "default", "Ready")["message"]
    assert system.changes() == {}


def test_kms_none_leaves_the_key_alone(system: System) -> None:
    system.start()
    system.apply(golden(**ENCRYPTED), share(accounts=[A], kms={"mode": "None"}))
    system.wait_ready("ImageShare", "team")
    assert system.users(system.image("base", HOME)) == {A}
    assert system.grants() == []


def test_grants_of_others_are_never_touched(system: System) -> None:
    kms = system.aws.client("kms")
    key = system.seeded.keys[HOME]
    foreign = kms.create_grant(
        KeyId=key,
        GranteePrincipal=f"arn:aws:iam::{C}:root",
        Operations=["Decrypt"],
        Name="gilder:default:not-ours-by-shape",
    )["GrantId"]
    system.start(RESYNC_SECONDS="1")
    system.apply(golden(**ENCRYPTED), share(accounts=[A]))
    system.wait_ready("ImageShare", "team")
    system.delete("ImageShare", "team")
    system.wait(lambda: system.get("ImageShare", "team") == {}, "the share gone")
    assert [g["GrantId"] for g in system.grants()] == [foreign]


def test_a_new_version_takes_the_shares_over(system: System) -> None:
    system.start(RESYNC_SECONDS="1")
    system.apply(golden(**ENCRYPTED), share(accounts=[A]))
    system.wait_ready("ImageShare", "team")
    first = system.image("base", HOME)
    newer = register(system.aws, "base-2", make_snapshot(system.aws))
    system.aws.client("ssm").put_parameter(
        Name="/golden/base", Value=newer, Type="String", Overwrite=True
    )
    system.wait(lambda: system.image("base", HOME) not in ("", first), "version 2")
    second = system.image("base", HOME)
    system.wait(lambda: system.users(second) == {A}, "version 2 shared")
    system.wait(lambda: system.users(first) == set(), "version 1 closed")
    assert can_launch(system.aws, second, HOME, A)
