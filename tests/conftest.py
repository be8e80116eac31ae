"""What all tests have in common: they say which Kubernetes API they run against."""

from gilder.sandbox.kubernetes import real
from gilder.sandbox.kubernetes.cluster import EMULATION


def pytest_report_header() -> str:
    return f"kubernetes api: {'kube-apiserver' if real.find_binaries() else EMULATION}"
