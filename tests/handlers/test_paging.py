"""Listings come page by page, and only with what the selector selects."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gilder.api.crd import crds
from gilder.handlers import kube as module
from gilder.handlers.kube import Kube
from gilder.sandbox.kubernetes.cluster import Cluster, start_cluster
from gilder.sandbox.kubernetes.manifests import apply, install_crds

SPEC = {"region": "eu-west-1", "source": {"image": {"id": "ami-0123456789abcdef0"}}}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with start_cluster(tmp_path) as found:
        install_crds(found, crds())
        documents = [
            {
                "apiVersion": "goldenimage.dev/v1alpha1",
                "kind": "GoldenImage",
                "metadata": {"name": f"g{n}", "namespace": place, "labels": {"odd": str(n % 2)}},
                "spec": SPEC,
            }
            for place in ("default", "kube-public")
            for n in range(5)
        ]
        apply(found, documents)
        yield found


@pytest.mark.parametrize(
    ("namespaces", "selector", "sizes"),
    [
        ((), "", [2, 2, 2, 2, 2]),
        (("default", "kube-public"), "", [2, 2, 1, 2, 2, 1]),
        (("default",), "odd=1", [2]),
        ((), "odd notin (1)", [2, 2, 2]),
        ((), "none", [0]),
    ],
)
def test_pages(
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    namespaces: tuple[str, ...],
    selector: str,
    sizes: list[int],
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setattr(module, "PAGE", 2)
    pages = list(Kube().pages("GoldenImage", namespaces, selector))
    assert [len(p) for p in pages] == sizes
    found = [(b["metadata"]["namespace"], b["metadata"]["name"]) for p in pages for b in p]
    assert len(set(found)) == sum(sizes)
    assert all(b["kind"] == "GoldenImage" for p in pages for b in p)
