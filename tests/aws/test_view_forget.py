"""What an event made stale is read again, and nothing else."""

import threading
from typing import Any

import pytest

from gilder.aws.sessions import Sessions
from gilder.aws.view import Views
from gilder.core.actions import AnyAction, CreateGrant, ModifyLaunchPermission, TagResources
from gilder.core.needs import AccessNeeds, RegionNeeds
from gilder.core.observed import Observed, Principals
from gilder.sandbox.aws.seed import Seeded
from gilder.sandbox.aws.server import SandboxAws

HOME = "eu-west-1"
LONG_AGO = 0.0


def read(views: Views, seeded: Seeded) -> Observed:
    image, key = seeded.base_image, seeded.keys[HOME]
    seen = views.images({HOME: RegionNeeds(frozenset({image}), frozenset({key}))}, LONG_AGO)
    access = AccessNeeds(frozenset({(HOME, image)}), frozenset({(HOME, key)}), policies=True)
    return views.access(seen, access, LONG_AGO)


def test_only_what_was_forgotten_is_read(
    aws: SandboxAws, seeded: Seeded, sessions: Sessions
) -> None:
    views = Views(sessions, "default")
    read(views, seeded)
    aws.requests.reset()
    for forgotten, calls in (
        ({}, {}),
        ({"images": [seeded.base_image]}, {"ec2:DescribeImageAttribute": 1}),
        (
            {"keys": [seeded.keys[HOME]]},
            {"kms:DescribeKey": 1, "kms:GetKeyPolicy": 1, "kms:ListGrants": 1},
        ),
        ({"whole": True}, {"ec2:DescribeImages": 2, "ec2:DescribeSnapshots": 2}),
        ({"images": ["ami-0123456789abcdef0"], "keys": ["arn:x"]}, {}),
    ):
        views.forget(HOME, **forgotten)
        assert aws.requests.by_action() == {}
        read(views, seeded)
        assert aws.requests.by_action() == calls
        aws.requests.reset()
    views.forget("eu-north-1", whole=True)  # nobody has read it yet
    views.close()


def test_the_ami_of_a_snapshot_is_known_without_a_call(
    aws: SandboxAws, seeded: Seeded, sessions: Sessions
) -> None:
    views = Views(sessions, "default")
    assert views.images_of(HOME, [seeded.base_snapshot]) == set()  # nothing was read yet
    read(views, seeded)
    aws.requests.reset()
    assert views.images_of(HOME, [seeded.base_snapshot, "snap-x"]) == {seeded.base_image}
    assert views.images_of(HOME, ["snap-x"]) == set()
    assert views.images_of("us-east-1", [seeded.base_snapshot]) == set()
    assert aws.requests.by_action() == {}
    views.close()


def test_a_key_that_is_written_as_an_alias_is_forgotten_by_its_arn(
    aws: SandboxAws, seeded: Seeded, sessions: Sessions
) -> None:
    views = Views(sessions, "default")
    needs = {HOME: RegionNeeds(keys=frozenset({seeded.key_alias}))}
    views.images(needs, LONG_AGO)
    aws.client("kms", HOME).disable_key(KeyId=seeded.keys[HOME])
    views.forget(HOME, keys=[seeded.keys[HOME]])
    found: Any = views.images(needs, LONG_AGO).region(HOME).keys[seeded.key_alias]
    assert found.state == "Disabled"
    views.close()


def test_a_read_that_was_under_way_is_not_remembered(
    aws: SandboxAws, seeded: Seeded, sessions: Sessions
) -> None:
    """The event comes after the old value left AWS and before it is stored."""
    views = Views(sessions, "default")
    read(views, seeded)
    views.forget(HOME, images=[seeded.base_image], keys=[seeded.keys[HOME]], whole=True)
    reached, go_on = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        reached.set()
        go_on.wait(5)

    aws.faults.after("DescribeImageAttribute", hold, times=1)
    reader = threading.Thread(target=read, args=(views, seeded))
    reader.start()
    assert reached.wait(5)
    aws.client("ec2", HOME).modify_image_attribute(
        ImageId=seeded.base_image, LaunchPermission={"Add": [{"UserId": "999999999999"}]}
    )
    views.forget(HOME, images=[seeded.base_image], whole=True)
    go_on.set()
    reader.join(5)
    found = read(views, seeded).region(HOME).permissions[seeded.base_image]
    assert found.accounts == {"999999999999"}
    views.close()


TAG = {"owner": "b"}
GIVEN = "999999999999"


@pytest.mark.parametrize("call", ["DescribeSnapshots", "DescribeImageAttribute", "ListGrants"])
def test_a_read_that_was_under_way_does_not_undo_a_change_of_ours(
    aws: SandboxAws, seeded: Seeded, sessions: Sessions, call: str
) -> None:
    """A sweep reads, the change is made by somebody else's reconcile, the sweep stores."""
    views = Views(sessions, "default")
    image, key = seeded.base_image, seeded.keys[HOME]
    ec2, kms = aws.client("ec2", HOME), aws.client("kms", HOME)
    done = False

    def change(_: object) -> None:
        nonlocal done
        if done:
            return
        done = True
        action: AnyAction
        if call == "DescribeSnapshots":
            ec2.create_tags(Resources=[image], Tags=[{"Key": "owner", "Value": "b"}])
            action = TagResources(region=HOME, resources=(image,), tags=TAG)
        elif call == "DescribeImageAttribute":
            ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": GIVEN}]})
            action = ModifyLaunchPermission(
                region=HOME, image=image, add=Principals(accounts=frozenset({GIVEN}))
            )
        else:
            principal, allowed = f"arn:aws:iam::{GIVEN}:root", ("Decrypt",)
            kms.create_grant(
                KeyId=key, GranteePrincipal=principal, Operations=list(allowed), Name="n"
            )
            action = CreateGrant(
                region=HOME, key=key, account=GIVEN, principal=principal,
                operations=allowed, name="n",
            )  # fmt: skip
        views.touched(action, done=True)

    aws.faults.after(call, change)
    read(views, seeded)
    assert done
    found = read(views, seeded).region(HOME)
    if call == "DescribeSnapshots":
        assert found.images[image].tags["owner"] == "b"
    elif call == "DescribeImageAttribute":
        assert GIVEN in found.permissions[image].accounts
    else:
        assert [g.name for g in found.grants[key]] == ["n"]
    views.close()
