"""What all tests have in common: they say which Kubernetes API they run against, and start
operators quickly."""

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
