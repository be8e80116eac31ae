"""Schedules: missed runs are made up for once, captures too, and status tells what comes next."""

from datetime import datetime

import pytest
from buildstage import Works, built
from stage import HOME, Stage
from systemworld import Object, golden

DAILY: Object = {"cron": "0 3 * * *", "timezone": "Europe/Berlin", "jitterMinutes": 10}
LONG_AGO = "2026-01-01T00:00:00Z"


@pytest.fixture
def works(stage: Stage) -> Works:
    return Works(stage)


def move_back(stage: Stage, name: str, image: str) -> None:
    """As if the last build had been long ago: its AMI is old, and so says status."""
    stage.aws.edit_image(image, HOME, created=datetime(2026, 1, 1))
    status = stage.status("GoldenImage", name)
    if "lastBuild" in status:
        change = {"status": {"lastBuild": {**status["lastBuild"], "startedAt": LONG_AGO}}}
        headers = {"Content-Type": "application/merge-patch+json"}
        url = f"{stage.url('GoldenImage', name)}/status"
        stage.session.patch(url, json=change, headers=headers, timeout=10).raise_for_status()


def test_the_next_run_is_told_and_not_run_early(stage: Stage, works: Works) -> None:
    stage.apply(built(schedule=DAILY))
    stage.start()
    stage.wait_ready("GoldenImage", "web")
    status = stage.status("GoldenImage", "web")
    assert status["nextBuild"] > status["lastBuild"]["startedAt"]
    stage.look("GoldenImage", "web", "now")
    assert works.states() == {"AVAILABLE": 1}


def test_missed_runs_are_made_up_for_once(stage: Stage, works: Works) -> None:
    stage.apply(built(schedule=DAILY))
    stage.start()
    stage.wait_ready("GoldenImage", "web")
    stage.world.operator.kill()
    move_back(stage, "web", stage.image("web", HOME))
    stage.restart()
    stage.wait_version(2, "web")
    assert works.build("web")["trigger"].startswith("schedule/")
    stage.look("GoldenImage", "web", "now")
    assert works.states() == {"AVAILABLE": 2}


def test_a_capture_is_made_anew_on_schedule_and_on_request(stage: Stage) -> None:
    source = {"instance": {"tags": {"Name": "builder"}, "noReboot": True}}
    stage.apply(golden("host", source=source, schedule=DAILY))
    stage.start()
    stage.wait_ready("GoldenImage", "host")
    first = stage.image("host", HOME)
    stage.look("GoldenImage", "host", "now")
    assert stage.status("GoldenImage", "host")["latest"]["version"] == 1
    stage.annotate("GoldenImage", "host", **{"goldenimage.dev__rebuild": "please"})
    stage.wait_version(2, "host")
    second = stage.image("host", HOME)
    assert second != first
    assert "request/please" in stage.tags(second, HOME)["goldenimage.dev/origin"]
    stage.look("GoldenImage", "host", "again")
    assert stage.status("GoldenImage", "host")["latest"]["version"] == 2
    stage.world.operator.kill()
    for image in (first, second):
        move_back(stage, "host", image)
    stage.restart()
    stage.wait_version(3, "host")
    origin = stage.tags(stage.image("host", HOME), HOME)["goldenimage.dev/origin"]
    assert "schedule/" in origin
    assert len(stage.owned(HOME)) == 3


def test_a_schedule_for_a_followed_ami_is_refused(stage: Stage) -> None:
    document = golden("base", schedule=DAILY)
    with pytest.raises(Exception, match="nothing to build anew"):
        stage.apply(document)
