"""What all tests have in common: they say which Kubernetes API they run against, and start
operators quickly."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from gilder.sandbox.kubernetes import real
from gilder.sandbox.kubernetes.cluster import EMULATION
from gilder.sandbox.process import Forked, OperatorProcess


def pytest_report_header() -> str:
    return f"kubernetes api: {'kube-apiserver' if real.find_binaries() else EMULATION}"


@pytest.fixture(scope="session", autouse=True)
def _forked_operators() -> None:
    """From a process that has imported what they need. tests/cli start `gilder run` as it is."""
    OperatorProcess.start_as = Forked


@pytest.fixture(scope="session")
def load_script() -> Callable[[Path], ModuleType]:
    """The module of a script beside the package."""

    def load(file: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"{file.parent.name}_{file.stem}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look themselves up there
        spec.loader.exec_module(module)
        return module

    return load
