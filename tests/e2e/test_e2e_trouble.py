"""Throttling, dead Regions and an API server that fails: it passes, and nothing is made twice."""

import pytest
from stage import DR, ENCRYPTED, HOME, KEY, OTHER, REPLICATED, A, B, Stage
from systemworld import golden, share

from gilder.api.crd import crds
from gilder.sandbox.breakage import can_launch
from gilder.sandbox.kubernetes.manifests import install_crds
from gilder.sandbox.kubernetes.server import Server
from gilder.sandbox.process import wait_for


def emulated(stage: Stage) -> Server:
    server = stage.world.cluster.server
    if server is None:
        pytest.skip("faults of the API server need the emulation")
    return server


def test_every_third_call_throttled(stage: Stage) -> None:
    stage.aws.faults.throttle(rate=0.3)
    stage.start(resync=2)
    stage.apply(golden(**REPLICATED), share(accounts=[A]))
    stage.wait(lambda: stage.ready("GoldenImage", "base"), "the image", 60)
    stage.wait(lambda: stage.ready("ImageShare", "team"), "the share", 60)
    stage.aws.faults.clear()
    stage.assert_nothing_twice()
    assert can_launch(stage.aws, stage.image("base", DR), DR, A)


def test_throttled_keys_do_not_take_ready_from_a_share(stage: Stage) -> None:
    stage.start(resync=1)
    stage.apply(golden(**ENCRYPTED), share(accounts=[A]))
    stage.wait_ready("ImageShare", "team")
    since = stage.condition("ImageShare", "team", "Ready")["lastTransitionTime"]
    throttled = stage.aws.faults.throttle(action="kms:.*")
    stage.wait(
        lambda: stage.condition("ImageShare", "team", "Reconciling").get("reason") == "Retrying",
        "throttling noticed",
        60,
    )
    assert stage.condition("ImageShare", "team", "Synced")["reason"] == "Throttled"
    assert stage.ready("ImageShare", "team")
    throttled.remove()
    stage.wait(lambda: not stage.condition("ImageShare", "team", "Reconciling"), "over", 60)
    assert stage.condition("ImageShare", "team", "Ready")["lastTransitionTime"] == since


def test_a_region_that_hangs_up_is_named_and_holds_up_only_its_replica(stage: Stage) -> None:
    stage.start(resync=1)
    replicas = [{"region": DR, **KEY}, {"region": OTHER, **KEY}]
    stage.apply(golden(replicas=replicas, **ENCRYPTED), share(accounts=[A]))
    stage.wait_ready("GoldenImage", "base")
    stage.wait_ready("ImageShare", "team")
    down = stage.aws.faults.region_down(DR, drop=True)
    stage.edit("ImageShare", "team", accounts=[A, B])
    stage.publish("base-2")
    stage.wait(lambda: len(stage.owned(OTHER, version="2")) == 1, "version 2 elsewhere", 60)
    (copy,) = stage.owned(OTHER, version="2")
    stage.wait(lambda: stage.users(copy["ImageId"], OTHER) == {A, B}, "shared elsewhere", 60)
    stage.wait(
        lambda: DR in stage.message("GoldenImage", "base", "ReplicasReady"), "the Region named", 60
    )
    stage.wait(
        lambda: stage.status("GoldenImage", "base")["replicasReady"] == "1/2", "one of two", 60
    )
    named = stage.message("GoldenImage", "base", "ReplicasReady")
    assert DR in named
    assert OTHER not in named
    assert not stage.ready("ImageShare", "team")
    down.remove()
    stage.wait(
        lambda: stage.status("GoldenImage", "base")["replicasReady"] == "2/2", "the replica", 90
    )
    stage.wait(lambda: stage.users(stage.image("base", DR), DR) == {A, B}, "shared there", 60)
    stage.assert_nothing_twice(HOME, DR, OTHER)


def test_status_that_cannot_be_written_makes_nothing_twice(stage: Stage) -> None:
    server = emulated(stage)
    server.faults.fail(12, method="PATCH", path="/status", status=500)
    server.faults.conflict(6, method="PATCH", path="/status")
    stage.start(resync=1)
    captured = golden("captured", source={"instance": {"id": stage.seeded.instance}})
    stage.apply(golden(**REPLICATED), captured, share(accounts=[A]))
    stage.wait(lambda: server.faults.pending == 0, "all faults used up", 60)
    stage.wait(lambda: stage.ready("GoldenImage", "base"), "the image", 60)
    stage.wait(lambda: stage.ready("GoldenImage", "captured"), "the capture", 60)
    stage.wait(lambda: stage.ready("ImageShare", "team"), "the share", 60)
    stage.assert_nothing_twice()
    assert stage.users(stage.image("base", HOME)) == {A}


def test_an_api_server_that_is_away_at_the_start_is_waited_for(stage: Stage) -> None:
    server = emulated(stage)
    stage.apply(golden(**ENCRYPTED), share(accounts=[A]))
    server.faults.pause()
    stage.start()
    noticed = wait_for(lambda: "out of reach" in stage.world.operator.log.read_text(), 30)
    server.faults.resume()
    assert noticed, stage.world.operator.tail()
    stage.wait_ready("GoldenImage", "base")
    stage.wait_ready("ImageShare", "team")
    assert stage.world.operator.running


def test_a_change_made_while_the_watch_was_blind_is_found_by_the_sweep(stage: Stage) -> None:
    server = emulated(stage)
    stage.start(resync=2)
    stage.apply(golden(**ENCRYPTED), share(accounts=[A]), share("other", accounts=[B]))
    stage.wait_ready("ImageShare", "team", "other")
    image = stage.image("base", HOME)
    # No watch comes back while one share changes and another one goes.
    server.faults.fail(200, method="GET", path="watch=true", status=500)
    server.faults.expire_watches()
    stage.edit("ImageShare", "team", accounts=["444444444444"])
    stage.delete("ImageShare", "other")
    stage.wait(lambda: stage.users(image) == {"444444444444"}, "both carried out", 40)
    server.faults.clear()
    stage.gone("ImageShare", "other")
    assert stage.grantees() == ["444444444444"]


def test_the_crds_are_deleted_and_nothing_holds_them_up(stage: Stage) -> None:
    """That of ImageShares is gone first; images must still be let go of, and adopted again."""
    stage.start()
    stage.apply(golden(**ENCRYPTED), share(accounts=[A]))
    stage.wait_ready("GoldenImage", "base")
    stage.wait_ready("ImageShare", "team")
    image = stage.image("base", HOME)
    root = f"{stage.world.cluster.url}/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    names = [f"{plural}.goldenimage.dev" for plural in ("imageshares", "goldenimages")]

    def there(name: str) -> bool:
        if not stage.world.operator.running:
            stage.world.operator.start()  # as a kubelet does
        return stage.session.get(f"{root}/{name}", timeout=10).status_code != 404

    for name in names:
        stage.session.delete(f"{root}/{name}", timeout=10).raise_for_status()
        assert wait_for(lambda name=name: not there(name), 30), stage.world.operator.tail()
    assert stage.users(image) == set()
    install_crds(stage.world.cluster, crds())
    stage.apply(golden(**ENCRYPTED), share(accounts=[A]))
    stage.wait(lambda: there(names[0]) and stage.ready("ImageShare", "team"), "shared again", 60)
    assert stage.image("base", HOME) == image, "by its tags"
    assert stage.users(image) == {A}
