"""Trouble in AWS and in Kubernetes: it passes, or it holds up only what it must."""

import pytest
import requests
from systemworld import System, golden, share

A = "222222222222"
HOME, DR, OTHER = "eu-west-1", "us-east-1", "eu-central-1"
KEY = {"kmsKeyId": "alias/golden"}


def test_throttling_never_takes_ready_away(system: System) -> None:
    system.start(RESYNC_SECONDS="1")
    system.apply(golden(encryption=KEY), share(accounts=[A]))
    system.wait_ready("ImageShare", "team")
    system.wait_ready("GoldenImage", "base")
    before = {
        k: system.condition(k, n, "Ready")["lastTransitionTime"]
        for k, n in (("GoldenImage", "base"), ("ImageShare", "team"))
    }
    handle = system.aws.faults.throttle(action="Describe(Images|ImageAttribute|Snapshots)")
    system.wait(
        lambda: system.condition("GoldenImage", "base", "Reconciling").get("reason") == "Retrying",
        "throttling noticed",
        60,
    )
    assert system.ready("GoldenImage", "base")
    assert system.ready("ImageShare", "team")
    handle.remove()
    system.wait(
        lambda: not system.condition("GoldenImage", "base", "Reconciling"), "throttling over", 60
    )
    for kind, name in (("GoldenImage", "base"), ("ImageShare", "team")):
        assert system.condition(kind, name, "Ready")["lastTransitionTime"] == before[kind]
    assert system.changes().get("CopyImage") == 1


def test_a_region_that_is_down_holds_up_only_itself(system: System) -> None:
    handle = system.aws.faults.region_down(DR)
    system.start(RESYNC_SECONDS="1")
    replicas = [{"region": DR, **KEY}, {"region": OTHER, **KEY}]
    system.apply(golden(encryption=KEY, replicas=replicas), share(accounts=[A]))
    system.wait(lambda: len(system.owned(OTHER)) == 1, "the other replica", 60)
    system.wait(lambda: system.users(system.image("base", HOME)) == {A}, "the home AMI shared", 60)
    system.wait(
        lambda: DR in system.condition("GoldenImage", "base", "ReplicasReady").get("message", ""),
        "the Region named",
        60,
    )
    assert not system.ready("GoldenImage", "base")
    handle.remove()
    system.wait(lambda: system.ready("GoldenImage", "base"), "all replicas", 60)
    system.wait(lambda: system.users(system.image("base", DR), DR) == {A}, "shared there too", 60)


def test_an_answer_that_was_lost_makes_no_second_ami(system: System) -> None:
    system.aws.faults.timeout_after_effect("CopyImage", times=1)
    system.aws.faults.timeout_after_effect("CreateImage", times=1)
    system.start(RESYNC_SECONDS="1")
    instance = {"instance": {"id": system.seeded.instance}}
    system.apply(golden(encryption=KEY), golden("captured", source=instance))
    system.wait(lambda: system.ready("GoldenImage", "base"), "base", 60)
    system.wait(lambda: system.ready("GoldenImage", "captured"), "captured", 60)
    assert len(system.owned(HOME, image="images/base")) == 1
    assert len(system.owned(HOME, image="images/captured")) == 1


def test_a_failed_copy_shows_why_and_is_made_again(system: System) -> None:
    system.start(RESYNC_SECONDS="1")
    kms = system.aws.client("kms", DR)
    done = []

    def disable(*_: object) -> None:
        if not done:
            done.append(kms.disable_key(KeyId=system.seeded.keys[DR]))

    system.aws.faults.before("CopyImage", disable, 2)
    system.apply(golden(encryption=KEY, replicas=[{"region": DR, **KEY}]))
    system.wait(
        lambda: (
            "CopyFailed" in str(system.condition("GoldenImage", "base", "Ready"))
            or "Disabled" in str(system.condition("GoldenImage", "base", "Ready"))
        ),
        "the failure shown",
    )
    assert not system.ready("GoldenImage", "base")


def test_trouble_with_the_kubernetes_api_passes(system: System) -> None:
    server = system.world.cluster.server
    if server is None:
        pytest.skip("faults need the emulated Kubernetes API")
    system.start(RESYNC_SECONDS="1")
    system.wait(lambda: server.watches.running >= 2, "the watches")
    server.faults.conflict(3)
    system.apply(golden(encryption=KEY), share(accounts=[A]))
    server.faults.drop_watches()
    system.wait_ready("ImageShare", "team")
    server.faults.expire_watches()
    server.faults.pause(1.0)
    system.wait(lambda: _patched(system), "the API back")
    system.wait(lambda: system.users(system.image("base", HOME)) == set(), "the change carried out")
    assert len(system.owned(HOME)) == 1


def _patched(system: System) -> bool:
    try:
        return system.patch("ImageShare", "team", {"spec": {"accounts": []}}).ok
    except requests.ConnectionError:
        return False
