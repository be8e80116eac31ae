"""Fixtures: an emulated cluster with the project's CRDs, an HTTP client and the real kubectl."""

import copy
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from k8s_http import Client

from gilder.sandbox.kubernetes.cluster import Cluster, start_cluster
from gilder.sandbox.kubernetes.manifests import install_crds

CRDS = Path(__file__).parents[3] / "crds"
GROUP = "/apis/goldenimage.dev/v1alpha1"


@pytest.fixture(scope="session")
def crd_docs() -> list[dict[str, Any]]:
    return [yaml.safe_load(p.read_text()) for p in sorted(CRDS.glob("*.yaml"))]


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, crd_docs: list[dict[str, Any]]
) -> Iterator[Cluster]:
    with start_cluster(tmp_path_factory.mktemp("cluster"), emulate=True) as running:
        install_crds(running, crd_docs)
        yield running


@pytest.fixture
def http(cluster: Cluster) -> Client:
    return Client(cluster)


@pytest.fixture
def namespace(http: Client) -> str:
    """A namespace of the test's own."""
    created = http.ok("POST", "/api/v1/namespaces", json={"metadata": {"generateName": "t-"}})
    return str(created["metadata"]["name"])


@pytest.fixture
def images(namespace: str) -> str:
    """Path of the namespace's GoldenImages."""
    return f"{GROUP}/namespaces/{namespace}/goldenimages"


@pytest.fixture
def shares(namespace: str) -> str:
    return f"{GROUP}/namespaces/{namespace}/imageshares"


@pytest.fixture(scope="session")
def golden_image() -> Callable[..., dict[str, Any]]:
    """Make a valid GoldenImage; keyword arguments replace fields of spec."""

    def make(name: str = "web", /, **spec: Any) -> dict[str, Any]:
        valid = {"region": "eu-central-1", "source": {"image": {"id": "ami-12345678"}}}
        return {
            "apiVersion": "goldenimage.dev/v1alpha1",
            "kind": "GoldenImage",
            "metadata": {"name": name},
            "spec": copy.deepcopy(valid | spec),
        }

    return make


@pytest.fixture(scope="session")
def image_share() -> Callable[..., dict[str, Any]]:
    def make(name: str = "web", /, **spec: Any) -> dict[str, Any]:
        return {
            "apiVersion": "goldenimage.dev/v1alpha1",
            "kind": "ImageShare",
            "metadata": {"name": name},
            "spec": copy.deepcopy({"imageRef": {"name": "web"}} | spec),
        }

    return make


@pytest.fixture
def kubectl(cluster: Cluster, tmp_path: Path) -> Callable[..., str]:
    """Run the real kubectl and return its output; `code` is the expected exit code."""
    binary = shutil.which("kubectl")
    if binary is None:
        pytest.skip("kubectl is not installed")

    def run(*arguments: str, stdin: str = "", code: int = 0, **environ: str) -> str:
        done = subprocess.run(
            [binary, f"--cache-dir={tmp_path / 'cache'}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env={
                "KUBECONFIG": str(cluster.kubeconfig),
                "HOME": str(tmp_path),
                "PATH": os.environ["PATH"],
                **environ,
            },
        )
        output = done.stdout + done.stderr
        assert done.returncode == code, output
        return output

    return run
