"""The running operator in longer and rougher stories than those of tests/system, whose words for
a world (systemworld) these tests speak too."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gilder.sandbox.world import World

sys.path.append(str(Path(__file__).parents[1] / "system"))

from publishstage import Published
from stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with World(tmp_path) as world:
        world.aws.requests.reset()
        yield Stage(world)


@pytest.fixture
def published(stage: Stage) -> Published:
    return Published(stage)
