"""Two operators share one cluster by labels, and neither sees what is the other's."""

from pathlib import Path
from typing import Any

from systemworld import System, golden, share

from gilder.sandbox.process import OperatorProcess

A, B = "222222222222", "333333333333"
FINALIZER = "goldenimage.dev/finalizer"


def shard(document: dict[str, Any], name: str) -> dict[str, Any]:
    document["metadata"]["labels"] = {"shard": name}
    return document


def relabel(system: System, kind: str, name: str, to: str | None) -> None:
    change = {"metadata": {"labels": {"shard": to}}}
    system.patch(kind, name, change).raise_for_status()


def test_each_works_on_what_its_selector_selects(system: System, tmp_path: Path) -> None:
    first = system.world.operator
    env = {**first.env, "GILDER_RESYNC_SECONDS": "1"}
    first.env = {**env, "GILDER_SELECTOR": "shard=a", "GILDER_CLUSTER_NAME": "a"}
    other = {"GILDER_SELECTOR": "shard in (b),!old", "GILDER_CLUSTER_NAME": "b"}
    second = OperatorProcess(tmp_path / "second.log", {**env, **other})
    key = {"encryption": {"kmsKeyId": "alias/golden"}}
    system.apply(shard(golden("one", **key), "a"), shard(share("one", "one", accounts=[A]), "a"))
    first.start()
    second.start()
    try:
        system.wait_ready("ImageShare", "one")
        # From here on by the watch, not by the listing at start.
        unencrypted = shard(golden("two"), "b")
        system.apply(
            unencrypted, shard(share("two", "two", accounts=[B]), "b"), golden("none", **key)
        )
        system.wait_ready("ImageShare", "two")
        assert "/two" not in first.tail(1000)
        assert "/one" not in second.tail(1000)
        assert "status" not in system.get("GoldenImage", "none")
        one = system.image("one", "eu-west-1")
        assert system.users(one) == {A}
        assert len(system.grants()) == 1  # the second operator leaves the first one's grants alone

        # What ceases to match is let go of as it is: AWS, status and finalizer stay.
        relabel(system, "ImageShare", "one", None)
        system.patch("ImageShare", "one", {"spec": {"accounts": [A, B]}}).raise_for_status()
        relabel(system, "GoldenImage", "none", "a")  # and what begins to match is taken
        system.wait_ready("GoldenImage", "none")
        system.aws.requests.reset()
        swept = first.log.stat().st_size
        system.wait(lambda: system.aws.requests.total("DescribeImages") > 6, "more sweeps")
        assert system.users(one) == {A}
        left = system.get("ImageShare", "one")
        assert left["metadata"]["finalizers"] == [FINALIZER]
        assert left["status"]["observedGeneration"] < left["metadata"]["generation"]
        assert "ImageShare images/one" not in first.log.read_text()[swept:]

        relabel(system, "ImageShare", "one", "a")
        system.wait(lambda: system.users(one) == {A, B}, "the share taken again")
        assert second.stop(20) == 0
    finally:
        second.kill()
