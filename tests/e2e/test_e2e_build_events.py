"""With the queue of events a build is followed by what Image Builder tells, not by polls."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from buildstage import Works, built
from stage import Stage

from gilder.sandbox.world import World


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with World(tmp_path, events=True, aws={"build_seconds": 3.0}) as world:
        yield Stage(world)


def test_a_build_that_ends_is_seen_at_once(stage: Stage) -> None:
    stage.apply(built())
    stage.start(POLL_SECONDS="300")
    stage.wait_ready("GoldenImage", "web")
    assert Works(stage).states() == {"AVAILABLE": 1}
    told = [e for e in stage.aws.bus.sent if e["source"] == "aws.imagebuilder"]
    states = [e["detail"]["state"]["status"] for e in told]
    assert states[-1] == "AVAILABLE"
    assert "BUILDING" in states


def test_a_failure_is_told_at_once(stage: Stage) -> None:
    stage.aws.builds.fail_next("ApplyBuildComponents")
    stage.apply(built())
    stage.start(POLL_SECONDS="300")
    stage.wait_reason("GoldenImage", "web", "BuildFailed")
