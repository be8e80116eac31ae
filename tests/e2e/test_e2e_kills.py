"""Killed again and again, robbed of answers, sight and memory: nothing is made twice."""

import threading
import time
from collections import Counter

import pytest
from buildstage import Works
from stage import DR, ENCRYPTED, HOME, REPLICATED, A, B, Stage
from systemworld import Object, golden, share

from gilder.sandbox.breakage import can_launch
from gilder.sandbox.world import samples


def captured(**spec: object) -> Object:
    return golden("captured", source={"instance": {"tags": {"Name": "builder"}}}, **spec)


def test_the_samples_converge_through_many_crashes(stage: Stage) -> None:
    """Killed six times, each time after a few more AWS calls than before, images pending."""
    stage.aws.settings.update(image_delay=0.5)
    struck = threading.Event()
    left = 0

    def count(_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            stage.world.operator.kill()
            struck.set()

    stage.aws.faults.after(".*", count)
    stage.apply(*samples(stage.seeded.organization_arn, stage.seeded.unit_arn))
    kills = 0
    for calls in (8, 16, 22, 28, 36, 44):
        struck.clear()
        left = calls
        stage.start(resync=1)
        kills += struck.wait(15)
    assert kills >= 5, "the operator was not killed often enough for this to tell anything"
    left = 0
    stage.restart()
    stage.wait_ready("GoldenImage", "base-linux", "build-host", "team-linux", "tools", "web")
    shares = ("workloads", "partner", "everyone-here", "web-teams", "unit", "listed")
    stage.wait_ready("ImageShare", *shares)
    regions = (HOME, DR, "eu-central-1")
    stage.assert_nothing_twice(*regions)
    made = Counter(i["Name"] for r in regions for i in stage.owned(r))
    built = {n: made.pop(n) for n in list(made) if n.startswith(("images/tools-", "images-web-"))}
    assert made == {
        "images-base-linux-v1": 3,
        "images-build-host-v1": 2,
        "images-team-linux-v1": 1,
    }
    assert sorted(built.values()) == [1, 1, 1], "one of Packer, one of Image Builder, one copy"
    assert Works(stage).states() == {"AVAILABLE": 1}
    Works(stage).assert_nothing_left()
    assert [len(stage.grants(r)) for r in regions] == [3, 2, 2]


@pytest.mark.parametrize("call", ["CopyImage", "CreateImage"])
def test_killed_after_a_create_that_is_not_visible_yet(stage: Stage, call: str) -> None:
    """The worst case: AWS made it, the answer was lost, and DescribeImages does not show it."""
    stage.aws.clock.advance(7200)
    stage.aws.faults.lag = 3600.0  # what is there is seen, what is made now is not
    struck = threading.Event()

    def strike(_: object) -> None:
        stage.world.operator.kill()
        struck.set()

    stage.aws.faults.after(call, strike, 1)
    stage.start(resync=1)
    stage.apply(golden(**ENCRYPTED) if call == "CopyImage" else captured())
    assert struck.wait(20)
    stage.restart()
    stage.wait(lambda: stage.aws.requests.total(call) >= 2, "asked again, blind")
    name = "base" if call == "CopyImage" else "captured"
    if call == "CopyImage":  # by its ClientToken AWS tells which AMI it was
        stage.wait(lambda: stage.image(name, HOME), "the AMI known")
    assert stage.owned(HOME) == []
    stage.aws.faults.lag = 0.0
    stage.wait_ready("GoldenImage", name)
    assert [i["Name"] for i in stage.owned(HOME)] == [f"images-{name}-v1"]


@pytest.mark.parametrize("call", ["ModifyImageAttribute", "RevokeGrant", "DeregisterImage"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_while_taking_away(stage: Stage, call: str, after: bool) -> None:
    half_given = stage.guard()
    stage.start()
    stage.apply(golden(deletionPolicy="Delete", **REPLICATED), share(accounts=[A, B]))
    stage.wait_ready("ImageShare", "team")
    stage.wait_ready("GoldenImage", "base")
    struck = threading.Event()

    def strike(_: object) -> None:
        stage.world.operator.kill()
        struck.set()

    (stage.aws.faults.after if after else stage.aws.faults.before)(call, strike, 1)
    stage.delete("GoldenImage", "base")
    stage.delete("ImageShare", "team")
    assert struck.wait(20)
    assert stage.get("GoldenImage", "base") != {}
    stage.restart()
    stage.gone("ImageShare", "team")
    stage.gone("GoldenImage", "base")
    for region in (HOME, DR):
        assert stage.owned(region) == []
        assert stage.snapshots(region) == set()
        assert stage.grants(region) == []
    assert half_given == []


def test_every_answer_is_lost_once(stage: Stage) -> None:
    """Each changing call takes effect, and its answer does not arrive."""
    changing = ("CopyImage", "CreateImage", "CreateTags", "CreateGrant", "ModifyImageAttribute")
    lost = [stage.aws.faults.timeout_after_effect(c) for c in changing]
    stage.start(resync=1)
    stage.apply(golden(tags={"team": "a"}, **REPLICATED), captured(**ENCRYPTED))
    stage.apply(golden("adopted", source={"image": {"id": stage.seeded.base_image}}))
    stage.apply(share(accounts=[A]))
    stage.wait_ready("GoldenImage", "base", "captured", "adopted")
    stage.wait_ready("ImageShare", "team")
    assert {f.pattern.pattern: f.hits for f in lost} == dict.fromkeys(changing, 1)
    stage.assert_nothing_twice()
    assert can_launch(stage.aws, stage.image("base", DR), DR, A)
    lost = [stage.aws.faults.timeout_after_effect(c) for c in ("RevokeGrant", "DeleteTags")]
    stage.delete("ImageShare", "team")
    stage.edit("GoldenImage", "base", tags=None)
    stage.gone("ImageShare", "team")
    stage.wait(lambda: "team" not in stage.tags(stage.image("base", HOME), HOME), "the tag removed")
    assert [f.hits for f in lost] == [1, 1]
    assert stage.grants() == stage.grants(DR) == []


def test_a_lost_status_loses_nothing(stage: Stage) -> None:
    """AWS is the memory: versions, adopted AMIs and grants are found again by tag and name."""
    stage.start()
    stage.apply(
        golden(**REPLICATED),
        captured(**ENCRYPTED),
        golden("adopted", source={"image": {"id": stage.seeded.base_image}}),
        share(accounts=[A]),
    )
    stage.wait_ready("GoldenImage", "base", "captured", "adopted")
    stage.wait_ready("ImageShare", "team")
    first = {r: stage.image("base", r) for r in (HOME, DR)}
    stage.publish("base-2")
    stage.look("GoldenImage", "base", "v2")
    stage.wait_version(2)
    for region, image in first.items():
        second = stage.image("base", region)
        stage.wait(lambda i=second, r=region: stage.users(i, r) == {A}, "version 2 shared")
        stage.wait(lambda i=image, r=region: stage.users(i, r) == set(), "version 1 closed")
    stage.look("ImageShare", "team", "settled")
    stage.world.operator.kill()
    objects = {("GoldenImage", n) for n in ("base", "captured", "adopted")} | {
        ("ImageShare", "team")
    }
    for kind, name in objects:
        url = f"{stage.url(kind, name)}/status"
        answer = stage.session.patch(
            url,
            json={"status": None},
            headers={"Content-Type": "application/merge-patch+json"},
            timeout=10,
        )
        answer.raise_for_status()
        assert stage.status(kind, name) == {}
    stage.aws.requests.reset()
    stage.start()
    stage.wait_ready("GoldenImage", "base", "captured", "adopted")
    stage.wait_ready("ImageShare", "team")
    assert stage.changes() == {}
    assert stage.status("GoldenImage", "base")["latest"]["version"] == 2
    stage.assert_nothing_twice()
    # And what is found again can be taken again.
    stage.delete("ImageShare", "team")
    stage.gone("ImageShare", "team")
    assert stage.grants() == stage.grants(DR) == []
    assert stage.users(stage.image("base", HOME)) == set()


def test_sigterm_lets_the_call_under_way_finish_and_writes_down_what_it_made(
    stage: Stage,
) -> None:
    under_way = threading.Event()
    stage.aws.faults.before("CopyImage", lambda _: under_way.set())
    stage.aws.faults.latency(2.0, "CopyImage")
    stage.start()
    stage.apply(golden(**REPLICATED))
    assert under_way.wait(20)
    began = time.monotonic()
    assert stage.world.operator.stop(20) == 0
    assert time.monotonic() - began < 15
    (made,) = stage.owned(HOME)
    assert stage.image("base", HOME) == made["ImageId"]
    assert stage.owned(DR) == []  # nothing was begun after the signal
    stage.aws.faults.clear()
    stage.start()
    stage.wait_ready("GoldenImage", "base")
    assert stage.image("base", HOME) == made["ImageId"]
    assert stage.changes() == {"CopyImage": 2}
