"""Manifests of deploy/ as kustomize and Helm render them."""

import functools
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/gilder"
UNPACKED = runpy.run_path(str(ROOT / "tools/program.py"))["unpacked"]
Documents = list[dict[str, Any]]


@functools.cache
def program(name: str) -> str | None:
    """Where kubectl or helm is: installed, or out of the package of requirements-tools.lock."""
    return shutil.which(name) or UNPACKED(name)


@functools.cache
def _rendered(folder: str) -> str:
    kubectl = program("kubectl")
    assert kubectl
    return subprocess.run(
        [kubectl, "kustomize", str(ROOT / folder)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


@pytest.fixture(scope="session")
def render() -> Callable[[str], Documents]:
    if program("kubectl") is None:
        pytest.skip("kubectl is not installed, and it is what renders the manifests")

    def documents(folder: str) -> Documents:
        return list(yaml.safe_load_all(_rendered(folder)))

    return documents


@pytest.fixture(scope="session")
def helm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Helm."""
    path = program("helm")
    if path is None:
        pytest.skip("Helm is not installed, and its package is for x86-64 Linux")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([path, *arguments], capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture(scope="session")
def role_documents() -> Documents:
    """The operator's own roles, for tests that need no kustomize."""
    return list(yaml.safe_load_all((ROOT / "deploy/base/rbac.yaml").read_text()))
