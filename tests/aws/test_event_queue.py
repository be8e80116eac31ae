"""The queue of events against a local SQS, and what the sandbox puts into one."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gilder.aws.events import EventQueue, region_of
from gilder.aws.sessions import Sessions
from gilder.core.events import Ignored, Touched, parse
from gilder.sandbox.aws.seed import Seeded
from gilder.sandbox.aws.server import SandboxAws

HOME, REPLICA = "eu-west-1", "eu-central-1"


@pytest.fixture
def queue(seeded: Seeded, aws: SandboxAws, sessions: Sessions) -> Iterator[EventQueue]:  # noqa: ARG001
    yield EventQueue(sessions, aws.events(), wait=1)
    aws.bus.reset()


def bodies(queue: EventQueue, count: int, seconds: float = 5.0) -> list[str]:
    """As many bodies as are expected, and what else comes with them; deleted."""
    found: list[str] = []
    deadline = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        messages = queue.receive()
        queue.delete(messages)
        found += [m.body for m in messages]
    return found


def touched(queue: EventQueue, count: int = 1) -> list[Touched]:
    found = [parse(b, "default") for b in bodies(queue, count)]
    return [f for f in found if isinstance(f, Touched)]


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/events", "eu-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/events", "cn-north-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/1/events", "us-gov-west-1"),
        ("https://vpce-0a-b.sqs.eu-central-1.vpce.amazonaws.com/1/events", "eu-central-1"),
        ("https://us-west-2.queue.amazonaws.com/123456789012/events", "us-west-2"),
        ("http://127.0.0.1:4566/123456789012/events", "us-east-1"),
    ],
)
def test_the_region_stands_in_the_url(url: str, region: str) -> None:
    assert region_of(url, "us-east-1") == region


def test_messages_are_received_deleted_and_hidden_meanwhile(
    queue: EventQueue, aws: SandboxAws
) -> None:
    for n in range(12):
        aws.bus.put(json.dumps({"n": n}))
    time.sleep(0.3)
    first = queue.receive()
    assert len(first) == 10
    second = queue.receive()
    assert len(second) == 2
    queue.delete([*first, *second])  # in two calls, ten at most each
    assert queue.receive() == []
    assert aws.requests.total("DeleteMessageBatch") == 2


def test_a_poll_returns_as_soon_as_a_message_comes(queue: EventQueue, aws: SandboxAws) -> None:
    slow = EventQueue(queue._sessions, queue.url, wait=10)
    aws.bus.put("{}", delay=0.3)
    began = time.monotonic()
    assert len(slow.receive()) == 1
    assert time.monotonic() - began < 5


def test_deleting_twice_is_no_error_and_no_queue_is_one(queue: EventQueue, aws: SandboxAws) -> None:
    aws.bus.put("{}")
    messages = queue.receive()
    queue.delete(messages)
    queue.delete(messages)
    with pytest.raises(ClientError):
        EventQueue(queue._sessions, queue.url + "-other", wait=1).receive()


def test_calls_come_as_events(queue: EventQueue, aws: SandboxAws, seeded: Seeded) -> None:
    ec2, kms = aws.client("ec2", HOME), aws.client("kms", HOME)
    image, key = seeded.base_image, seeded.keys[HOME]
    ec2.modify_image_attribute(
        ImageId=image, LaunchPermission={"Add": [{"UserId": "999999999999"}]}
    )
    ec2.create_tags(Resources=[image], Tags=[{"Key": "a", "Value": "b"}])
    made = kms.create_grant(
        KeyId=key, GranteePrincipal="arn:aws:iam::222222222222:root", Operations=["Decrypt"]
    )
    kms.revoke_grant(KeyId=key, GrantId=made["GrantId"])
    kms.disable_key(KeyId=key.rsplit("/", 1)[1])
    ec2.deregister_image(ImageId=image)
    found = touched(queue, 7)
    assert [(t.cause, t.names) for t in found if t.cause != "EC2 AMI State Change"] == [
        ("ModifyImageAttribute", {image}),
        ("CreateTags", {image}),
        ("CreateGrant", {key}),
        ("RevokeGrant", {key}),
        ("DisableKey", {key}),
        ("DeregisterImage", {image}),
    ]
    assert ("EC2 AMI State Change", {image}) in [(t.cause, t.names) for t in found]
    assert all(t.region == HOME and t.account == "123456789012" for t in found)


def test_ec2_tells_of_copies_that_become_available(
    queue: EventQueue, aws: SandboxAws, seeded: Seeded
) -> None:
    with aws.settings.changed(image_delay=0.5):
        made = aws.client("ec2", REPLICA).copy_image(
            SourceImageId=seeded.base_image, SourceRegion=HOME, Name="copy"
        )
    found = touched(queue, 2)
    assert [(t.cause, t.names, t.region) for t in found] == [
        ("EC2 AMI State Change", {made["ImageId"]}, REPLICA)
    ]


def test_failed_calls_and_our_own_touch_nothing(
    queue: EventQueue, aws: SandboxAws, seeded: Seeded, sessions: Sessions
) -> None:
    with pytest.raises(ClientError):
        aws.client("ec2", HOME).deregister_image(ImageId="ami-00000000000000000")
    change: Any = {"Add": [{"UserId": "222222222222"}]}
    sessions.ec2(HOME).modify_image_attribute(ImageId=seeded.base_image, LaunchPermission=change)
    other = Sessions(HOME, cluster="other")
    other.ec2(HOME).modify_image_attribute(ImageId=seeded.base_image, LaunchPermission=change)
    found = [parse(b, "default") for b in bodies(queue, 3)]
    assert found[:2] == [Ignored.FOREIGN, Ignored.OWN]
    assert isinstance(found[2], Touched)


def test_the_consumers_retiring_of_a_grant_is_an_event_of_the_keys_owner(
    queue: EventQueue, aws: SandboxAws, seeded: Seeded
) -> None:
    key = seeded.keys[HOME]
    made = aws.client("kms", HOME).create_grant(
        KeyId=key,
        GranteePrincipal="arn:aws:iam::222222222222:root",
        RetiringPrincipal="arn:aws:iam::222222222222:root",
        Operations=["Decrypt"],
    )
    aws.client("kms", HOME, "222222222222").retire_grant(GrantToken=made["GrantToken"])
    assert [(t.cause, t.keys) for t in touched(queue, 2)] == [
        ("CreateGrant", {key}),
        ("RetireGrant", {key}),
    ]


def test_the_bus_duplicates_drops_and_delays(
    queue: EventQueue, aws: SandboxAws, seeded: Seeded
) -> None:
    def tag() -> None:
        aws.client("ec2", HOME).create_tags(
            Resources=[seeded.base_image], Tags=[{"Key": "a", "Value": "b"}]
        )

    aws.bus.duplicates = 2
    tag()
    assert len(touched(queue, 3)) == 3
    aws.bus.duplicates, aws.bus.drop = 0, 1.0
    tag()
    assert bodies(queue, 1, seconds=0.5) == []
    assert len(aws.bus.sent) == 2
    aws.bus.drop, aws.bus.delay = 0.0, 1.5
    began = time.monotonic()
    tag()
    assert len(touched(queue)) == 1
    assert time.monotonic() - began > 1.4
