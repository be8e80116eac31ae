"""Two replicas: one acts, the other takes over."""

from pathlib import Path

from systemworld import System, golden, share

from gilder.sandbox.process import OperatorProcess

A, B = "222222222222", "333333333333"


def test_the_second_takes_over_and_nothing_is_done_twice(system: System, tmp_path: Path) -> None:
    settings = {"LEASE": "images/gilder", "LEASE_SECONDS": "3", "RESYNC_SECONDS": "1"}
    system.start(**settings)
    first = system.world.operator
    system.wait(lambda: "leading" in first.tail(), "the first to lead")
    second = OperatorProcess(tmp_path / "second.log", first.env)
    second.start()
    try:
        system.wait(lambda: "standing by" in second.tail(), "the second to stand by")
        system.apply(golden(encryption={"kmsKeyId": "alias/golden"}), share(accounts=[A]))
        system.wait_ready("ImageShare", "team")
        assert "Available" not in second.tail()
        first.kill()
        change = {"spec": {"accounts": [A, B]}}
        system.patch("ImageShare", "team", change).raise_for_status()
        image = system.image("base", "eu-west-1")
        system.wait(lambda: system.users(image) == {A, B}, "the second at work")
        assert len(system.owned("eu-west-1")) == 1
        assert len(system.grants()) == 2
        # One that ends in order hands over at once.
        first.start()
        system.wait(lambda: first.tail().count("standing by") >= 1, "the first to stand by")
        assert second.stop(20) == 0
        system.patch("ImageShare", "team", {"spec": {"accounts": [B]}}).raise_for_status()
        system.wait(lambda: system.users(image) == {B}, "the first at work again")
        # And one that stands by ends in order too.
        second.start()
        system.wait(lambda: second.tail().count("standing by") >= 2, "the second to stand by")
        assert second.stop(20) == 0
    finally:
        second.kill()
