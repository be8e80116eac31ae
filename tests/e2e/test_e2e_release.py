"""When a version is released, to whom a candidate is open before, and the way back."""

from typing import Any

from stage import DR, ENCRYPTED, HOME, REPLICATED, A, B, Stage
from systemworld import golden, share

PROMOTE = "goldenimage.dev__promote"
OTHER = "777777777777"


def released(stage: Stage) -> dict[str, Any]:
    return stage.condition("GoldenImage", "base", "Released")


def wait_released(stage: Stage, reason: str) -> None:
    stage.wait(lambda: released(stage).get("reason") == reason, f"Released: {reason}", 40)


def status(stage: Stage, field: str) -> Any:
    return stage.status("GoldenImage", "base").get(field) or {}


def wait_latest(stage: Stage, version: int) -> None:
    stage.wait(lambda: status(stage, "latest").get("version") == version, f"version {version}", 40)


def test_a_candidate_is_open_to_test_accounts_until_somebody_promotes_it(stage: Stage) -> None:
    stage.start()
    promotion = {"mode": "Manual", "testAccounts": [A]}
    candidates = share("tests", accounts=[A], versions={"select": "Candidate"})
    stage.apply(golden(**REPLICATED, promotion=promotion), share(accounts=[B]), candidates)
    # The first version waits for a person too.
    wait_released(stage, "AwaitingPromotion")
    stage.wait_ready("ImageShare", "tests")
    first = status(stage, "candidate")["imageId"]
    assert status(stage, "latest") == {}
    assert stage.users(first) == {A}
    assert stage.tags(first, HOME)["goldenimage.dev/release"] == "candidate"
    stage.annotate("GoldenImage", "base", **{PROMOTE: "1"})
    stage.wait_ready("GoldenImage", "base")
    stage.wait_ready("ImageShare", "team")
    assert stage.users(first) == {A, B}
    assert stage.tags(first, HOME)["goldenimage.dev/release"] == "released"

    stage.publish("second")
    stage.look("GoldenImage", "base", "second")
    stage.wait(lambda: status(stage, "candidate").get("version") == 2, "a candidate")
    wait_released(stage, "AwaitingPromotion")
    second = status(stage, "candidate")["imageId"]
    stage.wait(lambda: stage.users(second) == {A}, "the candidate open for tests")
    assert stage.ready("GoldenImage", "base")
    assert status(stage, "latest")["version"] == 1

    # Who is not named for tests keeps all of the share from having it.
    stage.edit("ImageShare", "tests", accounts=[A, OTHER])
    stage.wait_reason("ImageShare", "tests", "CandidateNotAllowed")
    stage.wait(lambda: stage.users(second) == set(), "the candidate taken back")


def test_a_region_that_is_down_keeps_a_version_from_all_until_it_is_promoted(stage: Stage) -> None:
    stage.start()
    stage.apply(golden(**REPLICATED, promotion={}))
    stage.wait_ready("GoldenImage", "base")
    down = stage.aws.faults.region_down(DR)
    stage.publish("second")
    stage.look("GoldenImage", "base", "second")
    wait_released(stage, "AwaitingReplicas")
    assert DR in released(stage)["message"]
    assert status(stage, "latest")["version"] == 1
    assert stage.condition("GoldenImage", "base", "DRStale")["reason"] == "Unreachable"
    stage.annotate("GoldenImage", "base", **{PROMOTE: "2"})
    wait_latest(stage, 2)
    down.remove()
    stage.look("GoldenImage", "base", "back")
    stage.wait(lambda: stage.image("base", DR) != "", "the copy of version 2", 40)
    stage.wait_ready("GoldenImage", "base")


def test_rollback_enables_what_was_disabled_and_is_ready(stage: Stage) -> None:
    stage.start()
    stage.apply(golden(**ENCRYPTED), share(accounts=[A]))
    stage.wait_ready("ImageShare", "team")
    first = stage.image("base", HOME)
    second_source = stage.publish("second")
    stage.look("GoldenImage", "base", "second")
    stage.wait_version(2)
    second = stage.image("base", HOME)
    assert second not in (first, second_source)
    stage.wait(lambda: stage.users(second) == {A}, "version 2 open")
    stage.aws.client("ec2").disable_image(ImageId=first)
    stage.look("GoldenImage", "base", "disabled")

    stage.edit("GoldenImage", "base", pinnedVersion=1)
    stage.wait_version(1)
    stage.wait(lambda: stage.users(first) == {A} and stage.users(second) == set(), "back on 1")
    assert released(stage)["reason"] == "Pinned"
    told = [e["message"] for e in stage.events("base", "Released")]
    assert f"rolled back to version 1 ({first}) in place of 2" in told

    # A pin that cannot be followed changes nothing of what is released.
    stage.edit("GoldenImage", "base", pinnedVersion=9)
    stage.wait_reason("GoldenImage", "base", "PinnedVersionNotFound")
    assert status(stage, "latest") == {"version": 1, "imageId": first}
    assert stage.users(first) == {A}

    stage.edit("GoldenImage", "base", pinnedVersion=None)
    stage.wait_version(2)
    stage.wait(lambda: stage.users(second) == {A} and stage.users(first) == set(), "forward to 2")
