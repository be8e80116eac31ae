"""The whole operator as a process, against a Kubernetes API and AWS over HTTP, fresh per test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from systemworld import System

from gilder.sandbox.world import World

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with World(tmp_path) as world:
        world.aws.requests.reset()
        yield System(world)


@pytest.fixture
def load_benchmark(
    monkeypatch: pytest.MonkeyPatch, load_script: Callable[[Path], ModuleType]
) -> Callable[[str], ModuleType]:
    """The module of that name of benchmarks/, which may import its neighbours."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: load_script(BENCHMARKS / f"{name}.py")
