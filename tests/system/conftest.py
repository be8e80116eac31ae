"""The whole operator as a process, against a Kubernetes API and AWS over HTTP, fresh per test."""

import importlib.util
import sys
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
def load_benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """The module of that name of benchmarks/, which may import its neighbours."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name: str) -> ModuleType:
        file = BENCHMARKS / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look themselves up there
        spec.loader.exec_module(module)
        return module

    return load
