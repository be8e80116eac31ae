"""Reading and making AMIs, against the local AWS over HTTP."""

import pytest
from botocore.exceptions import ClientError

from gilder.api.selection import NewestImage
from gilder.aws import images, resources
from gilder.aws.sessions import Sessions
from gilder.core.observed import NOBODY, Principals
from gilder.sandbox.aws.seed import Seeded, make_snapshot, register
from gilder.sandbox.aws.server import SandboxAws

TAGS = {"goldenimage.dev/cluster": "test", "team": "a"}


def test_unknown_ids_are_left_out_and_the_others_found(sessions: Sessions, seeded: Seeded) -> None:
    ids = ["ami-00000000000000001", seeded.base_image, "ami-00000000000000002"]
    found = images.by_ids(sessions.ec2("eu-west-1"), ids)
    assert [i["ImageId"] for i in found] == [seeded.base_image]
    assert images.by_ids(sessions.ec2("eu-west-1"), ids[:1]) == []


def test_owned_sees_only_our_cluster_and_disabled_amis_too(
    aws: SandboxAws, sessions: Sessions, seeded: Seeded
) -> None:
    ec2 = sessions.ec2("eu-west-1")
    mine = register(aws, "mine", make_snapshot(aws), tags=TAGS)
    register(aws, "theirs", make_snapshot(aws), tags={"goldenimage.dev/cluster": "other"})
    ec2.disable_image(ImageId=mine)
    (found,) = images.owned(ec2, "test")
    parsed = images.parse(found, "eu-west-1", {})
    assert (parsed.id, parsed.state, parsed.owner) == (mine, "disabled", seeded.account)
    assert parsed.tags["team"] == "a"


def test_the_keys_of_an_ami_come_from_its_snapshots(
    aws: SandboxAws, sessions: Sessions, seeded: Seeded
) -> None:
    ec2 = sessions.ec2("eu-west-1")
    key = seeded.keys["eu-west-1"]
    image = register(aws, "encrypted", make_snapshot(aws, key=key))
    (raw,) = images.by_ids(ec2, [image])
    found = resources.snapshots(ec2, images.snapshot_ids(raw))
    parsed = images.parse(raw, "eu-west-1", {s: k for s, (_, k) in found.items()})
    assert parsed.encrypted
    assert parsed.kms_keys == {key}


def test_newest_by_name_takes_the_last_of_the_owner(
    aws: SandboxAws, sessions: Sessions, seeded: Seeded
) -> None:
    ec2 = sessions.ec2("eu-west-1")
    aws.clock.advance(60)
    last = register(aws, "base-al2023-2026.12.01", make_snapshot(aws))
    want = NewestImage(owners=("self",), name="base-al2023-*")
    assert images.newest(ec2, want) == last
    assert images.newest(ec2, NewestImage(owners=("self",), name="nothing-*")) is None
    assert images.newest(ec2, NewestImage(owners=("999999999999",), name="base-*")) is None
    assert seeded.base_image != last


def test_permissions_of_every_kind_are_written_and_read_back(
    sessions: Sessions, seeded: Seeded
) -> None:
    ec2 = sessions.ec2("eu-west-1")
    everyone = Principals(
        accounts=frozenset({"222222222222", "333333333333"}),
        organizations=frozenset({seeded.organization_arn}),
        units=frozenset({seeded.unit_arn}),
        public=True,
    )
    images.modify_permissions(ec2, seeded.base_image, everyone, NOBODY)
    assert images.permissions(ec2, seeded.base_image) == everyone
    images.modify_permissions(
        ec2, seeded.base_image, NOBODY, Principals(frozenset({"222222222222"}), public=True)
    )
    left = images.permissions(ec2, seeded.base_image)
    assert left == everyone - Principals(frozenset({"222222222222"}), public=True)
    assert images.permissions(ec2, "ami-00000000000000001") is None


def test_many_principals_take_several_calls_and_all_arrive(
    aws: SandboxAws, sessions: Sessions, seeded: Seeded
) -> None:
    ec2 = sessions.ec2("eu-west-1")
    many = Principals(frozenset(f"{n:012d}" for n in range(1, 451)))
    aws.requests.reset()
    images.modify_permissions(ec2, seeded.base_image, many, NOBODY)
    assert aws.requests.total("ModifyImageAttribute") == 3
    assert images.permissions(ec2, seeded.base_image) == many


def test_a_copy_with_the_same_token_is_one_ami(sessions: Sessions, seeded: Seeded) -> None:
    ec2 = sessions.ec2("eu-central-1")
    key = seeded.keys["eu-central-1"]

    def copy(token: str, name: str = "copy") -> str:
        return images.copy(
            ec2,
            source_region="eu-west-1",
            source_image=seeded.base_image,
            name=name,
            description="d",
            key=key,
            tags=TAGS,
            token=token,
        )

    first = copy("t1")
    assert copy("t1") == first
    assert copy("t2", "another") != first
    (raw,) = images.by_ids(ec2, [first])
    snapshots = resources.snapshots(ec2, images.snapshot_ids(raw))
    parsed = images.parse(raw, "eu-central-1", {s: k for s, (_, k) in snapshots.items()})
    assert parsed.kms_keys == {key}
    assert parsed.tags == TAGS
    assert all(dict(s.tags) == TAGS for s, _ in snapshots.values())


def test_an_ami_of_a_name_is_ours_only_with_our_tags(sessions: Sessions, seeded: Seeded) -> None:
    ec2 = sessions.ec2("eu-west-1")
    made = images.create(
        ec2, instance=seeded.instance, name="v(1)", description="", no_reboot=True, tags=TAGS
    )
    assert images.id_of_name(ec2, "v(1)", TAGS) == made
    assert images.id_of_name(ec2, "v(1)", {**TAGS, "team": "b"}) is None
    assert images.id_of_name(ec2, "v", TAGS) is None
    with pytest.raises(ClientError, match="Duplicate"):
        images.create(
            ec2, instance=seeded.instance, name="v(1)", description="", no_reboot=True, tags=TAGS
        )


def test_deregistering_takes_the_snapshots_and_may_be_repeated(
    sessions: Sessions, seeded: Seeded
) -> None:
    ec2 = sessions.ec2("eu-west-1")
    ec2.terminate_instances(InstanceIds=[seeded.instance])
    images.deregister(ec2, seeded.base_image)
    assert images.by_ids(ec2, [seeded.base_image]) == []
    assert resources.snapshots(ec2, [seeded.base_snapshot]) == {}
    images.deregister(ec2, seeded.base_image)


def test_block_public_access_is_read(sessions: Sessions, seeded: Seeded) -> None:  # noqa: ARG001
    ec2 = sessions.ec2("eu-west-1")
    assert images.public_blocked(ec2) is False
    ec2.enable_image_block_public_access(ImageBlockPublicAccessState="block-new-sharing")
    assert images.public_blocked(ec2) is True
