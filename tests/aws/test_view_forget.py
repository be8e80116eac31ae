"""What an event made stale is read again, and nothing else."""

import threading
from typing import Any

from gilder.aws.sessions import Sessions
from gilder.aws.view import Views
from gilder.core.needs import AccessNeeds, RegionNeeds
from gilder.core.observed import Observed
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
