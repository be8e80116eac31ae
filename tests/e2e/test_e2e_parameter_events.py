"""Parameters that a GoldenImage is made from, or published to, followed by events alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import DR, ENCRYPTED, HOME, REPLICATED, Stage
from systemworld import golden

from gilder.sandbox.world import World

NAME = "/golden/published"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with World(tmp_path, events=True) as world:
        yield Stage(world)


def value(stage: Stage, region: str = HOME) -> str:
    found = stage.aws.client("ssm", region).get_parameter(Name=NAME)["Parameter"]
    assert found["DataType"] == "aws:ec2:image"
    return str(found["Value"])


def test_a_published_parameter_is_put_right_and_a_source_is_followed(stage: Stage) -> None:
    stage.start()  # the sweep is an hour away
    stage.apply(golden(publish={"ssmParameter": {"name": NAME}}, **REPLICATED))
    stage.wait_ready("GoldenImage", "base")
    first = stage.image("base", DR)
    stage.wait(lambda: value(stage, DR) == first, "published")
    stage.aws.client("ssm", HOME).put_parameter(
        Name=NAME, Value=stage.seeded.base_image, Overwrite=True
    )
    stage.wait(lambda: value(stage) == stage.image("base", HOME), "put right")
    stage.wait(
        lambda: stage.status("GoldenImage", "base").get("driftCorrected") == 1, "counted as drift"
    )
    stage.aws.client("ssm", DR).delete_parameter(Name=NAME)
    stage.wait(lambda: stage.status("GoldenImage", "base").get("driftCorrected") == 2, "written")
    assert value(stage, DR) == first
    stage.publish("os-2")
    stage.wait_version(2)
    stage.wait(lambda: value(stage) == stage.image("base", HOME), "moved on")
    stage.wait(lambda: value(stage, DR) not in ("", first), "moved on there")
    assert stage.status("GoldenImage", "base")["driftCorrected"] == 2, "a new version is no drift"


def test_a_parameter_of_nobody_costs_no_call(stage: Stage) -> None:
    stage.start()
    stage.apply(golden(**ENCRYPTED))
    stage.wait_ready("GoldenImage", "base")
    stage.look("GoldenImage", "base", "settled")
    stage.aws.requests.reset()
    ssm = stage.aws.client("ssm", HOME)
    ssm.put_parameter(Name="/somebody/else", Value="1", Type="String")
    ssm.put_parameter(Name="/golden/base", Value=stage.seeded.base_image, Overwrite=True)
    stage.wait(lambda: stage.aws.requests.total("GetParameters") > 0, "the source looked at")
    assert stage.aws.requests.total("GetParameters") == 1
