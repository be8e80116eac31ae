"""Manifests of deploy/ as kustomize renders them."""

import functools
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
Documents = list[dict[str, Any]]


@functools.cache
def _rendered(folder: str) -> str:
    return subprocess.run(
        ["kubectl", "kustomize", str(ROOT / folder)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


@pytest.fixture(scope="session")
def render() -> Callable[[str], Documents]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed, and it is what renders the manifests")

    def documents(folder: str) -> Documents:
        return list(yaml.safe_load_all(_rendered(folder)))

    return documents


@pytest.fixture(scope="session")
def role_documents() -> Documents:
    """The operator's own roles, for tests that need no kustomize."""
    return list(yaml.safe_load_all((ROOT / "deploy/base/rbac.yaml").read_text()))
