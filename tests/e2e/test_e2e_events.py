"""Drift found by events alone: the sweep is an hour away, and nothing else is asked of AWS."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from stage import DR, HOME, REPLICATED, STRANGER, A, Stage, metric
from systemworld import free_port, golden, share

from gilder.sandbox.process import wait_for
from gilder.sandbox.world import World

PORT = free_port()
PROMISE = 2.0  # seconds from an event to its correction
QUIET = ("sts", "sqs")  # services that are not asked about AMIs


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory: Path = tmp_path_factory.mktemp("events")
    with World(directory, events=True) as started:
        stage = Stage(started)
        stage.start(METRICS_PORT=str(PORT))
        stage.apply(golden(tags={"team": "base"}, **REPLICATED), share(accounts=[A]))
        stage.wait_ready("GoldenImage", "base")
        stage.wait_ready("ImageShare", "team")
        stage.wait(lambda: len(stage.grantees(DR)) == 1, "everything in place")
        yield stage


@pytest.fixture
def stage(world: Stage) -> Iterator[Stage]:
    """The world with everything in place and nothing to do."""
    settle(world)
    yield world
    bus = world.aws.bus
    bus.duplicates, bus.delay, bus.jitter, bus.drop = 0, 0.0, 0.0, 0.0
    world.aws.faults.clear()


def settle(stage: Stage, seconds: float = 1.0) -> None:
    """Wait until nothing has been asked of EC2 and KMS for a while."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        before = calls(stage)
        time.sleep(seconds)
        if calls(stage) == before:
            stage.aws.requests.reset()
            return
    pytest.fail(f"no rest: {calls(stage)}\n{stage.world.operator.tail()}")


def calls(stage: Stage) -> dict[str, int]:
    """Calls to EC2, KMS and SSM since the last reset."""
    found: dict[str, int] = {}
    for key, count in stage.aws.requests.snapshot().items():
        if key.service not in QUIET:
            found[key.action] = found.get(key.action, 0) + count
    return found


def plain(series: str) -> float:
    """A metric without labels; 0 while the operator starts."""
    try:
        text = requests.get(f"http://127.0.0.1:{PORT}/metrics", timeout=5).text
    except requests.ConnectionError:
        return 0.0
    return next(float(x.split()[1]) for x in text.splitlines() if x.startswith(series + " "))


def corrected(stage: Stage, kind: str, name: str) -> int:
    return int(stage.status(kind, name).get("driftCorrected", 0))


def heal(stage: Stage, do: Callable[[], object], kind: str = "ImageShare") -> dict[str, int]:
    """Break something and wait for the correction, as Kubernetes tells it; the calls it took.

    Only the quickest of three counts, since the machine has other things to do.
    """
    name = "team" if kind == "ImageShare" else "base"
    took = []
    for _ in range(3):
        settle(stage)
        before = corrected(stage, kind, name)
        began = time.monotonic()
        do()
        stage.wait(lambda b=before: corrected(stage, kind, name) > b, f"drift of {name}")
        took.append(time.monotonic() - began)
        time.sleep(0.5)
        if took[-1] < PROMISE:
            break
    assert min(took) < PROMISE
    return calls(stage)


def change(stage: Stage, operation: str, account: str, region: str = HOME) -> None:
    stage.aws.client("ec2", region).modify_image_attribute(
        ImageId=stage.image("base", region),
        LaunchPermission={operation: [{"UserId": account}]},
    )


def test_a_revoked_launch_permission_comes_back(stage: Stage) -> None:
    made = heal(stage, lambda: change(stage, "Remove", A))
    # One of the two changes is ours; and one read of exactly this AMI.
    assert made == {"ModifyImageAttribute": 2, "DescribeImageAttribute": 1}
    assert stage.users(stage.image("base", HOME)) == {A}


def test_a_stranger_goes(stage: Stage) -> None:
    made = heal(stage, lambda: change(stage, "Add", STRANGER, DR))
    assert made == {"ModifyImageAttribute": 2, "DescribeImageAttribute": 1}
    assert stage.users(stage.image("base", DR), DR) == {A}


def test_a_revoked_grant_comes_back(stage: Stage) -> None:
    key = stage.seeded.keys[HOME]
    kms = stage.aws.client("kms", HOME)
    (grant,) = kms.list_grants(KeyId=key)["Grants"]
    made = heal(stage, lambda: kms.revoke_grant(KeyId=key, GrantId=stage.grants()[0]["GrantId"]))
    assert made.pop("RevokeGrant") == 1
    assert made.pop("ListGrants") <= 3  # one of them is the test's
    assert made == {"DescribeKey": 1, "CreateGrant": 1}
    (again,) = kms.list_grants(KeyId=key)["Grants"]
    assert again["GranteePrincipal"] == grant["GranteePrincipal"]


def test_a_deregistered_copy_is_made_again_and_shared(stage: Stage) -> None:
    old = stage.image("base", DR)
    dr = stage.aws.client("ec2", DR)
    began = time.monotonic()
    dr.deregister_image(ImageId=old)

    def whole() -> bool:
        new = stage.image("base", DR)
        return bool(new) and new != old and stage.users(new, DR) == {A}

    assert wait_for(whole, 10), stage.world.operator.tail()
    assert time.monotonic() - began < 3 * PROMISE  # a copy, and then the share that follows it
    stage.wait_ready("GoldenImage", "base")
    assert len(stage.owned(DR)) == 1


def test_a_lost_tag_comes_back(stage: Stage) -> None:
    image, ec2 = stage.image("base", HOME), stage.aws.client("ec2", HOME)
    made = heal(
        stage,
        lambda: ec2.delete_tags(Resources=[image], Tags=[{"Key": "team"}]),
        "GoldenImage",
    )
    assert "DescribeImageAttribute" not in made
    assert stage.tags(image, HOME)["team"] == "base"
    # Only the Region of the event was read.
    regions = {k.region for k in stage.aws.requests.snapshot() if k.action == "DescribeImages"}
    assert regions == {HOME}


def test_an_idle_operator_asks_nothing(stage: Stage) -> None:
    """Not even after its own changes, whose events come to it like all others."""
    heal(stage, lambda: change(stage, "Add", STRANGER))
    settle(stage)
    time.sleep(3.0)
    assert calls(stage) == {}


def test_twice_and_out_of_order_does_no_harm(stage: Stage) -> None:
    stage.aws.bus.duplicates, stage.aws.bus.jitter = 3, 0.5
    for account in (STRANGER, "888888888888", "777777777777"):
        change(stage, "Add", account)
        change(stage, "Remove", account)
    change(stage, "Add", STRANGER)
    image = stage.image("base", HOME)
    stage.wait(lambda: stage.users(image) == {A}, "strangers gone")
    settle(stage)
    assert stage.users(image) == {A}


def test_foreign_events_and_garbage_cost_nothing(stage: Stage) -> None:
    sent = next(e for e in stage.aws.bus.sent if e["detail"].get("eventName") == "CopyImage")
    foreign = [
        {**sent, "detail-type": "EC2 Instance State-change Notification"},
        _about(sent, "ami-0123456789abcdef0"),
        _about(sent, stage.image("base", HOME), account="999999999999"),
    ]
    for body in ("garbage", "{", "[1]", json.dumps({"detail": {}}), *map(json.dumps, foreign)):
        stage.aws.bus.put(body)
    malformed = {"kind": "other", "result": "malformed"}
    stage.wait(lambda: metric(PORT, "gilder_events_total", **malformed) >= 4, "all consumed")
    time.sleep(1.0)
    assert calls(stage) == {}
    # and what comes after them is acted upon
    assert heal(stage, lambda: change(stage, "Remove", A))["ModifyImageAttribute"] == 2


def _about(event: dict[str, object], image: str, account: str = "123456789012") -> object:
    detail = {
        **event["detail"],  # type: ignore[dict-item]
        "eventName": "DeregisterImage",
        "requestParameters": {"imageId": image},
        "userAgent": "aws-cli",
    }
    return {**event, "account": account, "detail": detail}


def test_what_cannot_be_deleted_comes_again_without_harm(stage: Stage) -> None:
    lost = stage.aws.faults.fail("sqs:DeleteMessageBatch", "InternalError", times=None, status=500)
    heal(stage, lambda: change(stage, "Add", STRANGER))
    lost.remove()
    stage.wait(lambda: plain("gilder_events_received") == 1, "recovery of the queue", seconds=30)
    assert stage.users(stage.image("base", HOME)) == {A}


def test_the_operator_stops_at_once_though_it_waits_for_events(stage: Stage) -> None:
    began = time.monotonic()
    assert stage.world.operator.stop() == 0
    assert time.monotonic() - began < 5
    # What happens meanwhile is found at the start, and its events do no harm.
    change(stage, "Add", STRANGER)
    stage.world.operator.start()
    image = stage.image("base", HOME)
    stage.wait(lambda: stage.users(image) == {A}, "the stranger gone")


def test_without_the_queue_sweeps_go_on(stage: Stage) -> None:
    stage.world.operator.stop()
    stage.start(resync=3, METRICS_PORT=str(PORT))
    stage.wait(lambda: plain("gilder_sweeps_total") >= 1, "a sweep")
    down = stage.aws.faults.fail("sqs:ReceiveMessage", "InternalError", times=None, status=500)
    stage.aws.bus.put("{}")  # ends the poll under way
    stage.wait(lambda: down.hits > 1, "the outage")
    change(stage, "Add", STRANGER)
    image = stage.image("base", HOME)
    stage.wait(lambda: stage.users(image) == {A}, "healed by a sweep")
    log = stage.world.operator.log
    stage.wait(lambda: "events are not received" in log.read_text(), "the log")
    down.remove()
    recovered = log.read_text().count("events are received")
    stage.wait(lambda: log.read_text().count("events are received") > recovered, "recovery", 40)
    assert plain("gilder_events_received") == 1
    assert log.read_text().count("events are not received") <= 3
