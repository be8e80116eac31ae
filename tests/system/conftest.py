"""The whole operator as a process, against a Kubernetes API and AWS over HTTP, fresh per test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from systemworld import System

from gilder.sandbox.world import World


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with World(tmp_path) as world:
        world.aws.requests.reset()
        yield System(world)
