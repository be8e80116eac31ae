"""A kopf operator in a process of its own against the emulation."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from k8s_http import Client

from gilder.sandbox.kubernetes.cluster import Cluster

HANDLERS = """
import kopf

@kopf.on.startup()
def configure(settings, **_):
    settings.watching.reconnect_backoff = 0.1
    settings.networking.error_backoffs = [0.1, 0.2, 0.5, 1, 1, 1]
    settings.persistence.finalizer = "t.dev/finalizer"

@kopf.on.create("goldenimage.dev", "v1alpha1", "goldenimages")
@kopf.on.update("goldenimage.dev", "v1alpha1", "goldenimages", field="spec")
def handle(body, spec, patch, **_):
    patch.status["sourceId"] = spec["source"]["image"]["id"]
    patch.status["observedGeneration"] = body["metadata"]["generation"]
    kopf.event(body, type="Normal", reason="Handled", message="by kopf")

@kopf.on.delete("goldenimage.dev", "v1alpha1", "goldenimages")
def delete(**_):
    pass
"""


@pytest.fixture
def operator(cluster: Cluster, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    handlers = tmp_path / "handlers.py"
    handlers.write_text(HANDLERS)
    log = tmp_path / "kopf.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "kopf", "run", "--all-namespaces", "--standalone", handlers],
            env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(20)
        print(log.read_text())


def until(probe: Callable[[], Any], expected: Any) -> None:
    deadline = time.monotonic() + 20
    while (found := probe()) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


@pytest.mark.usefixtures("operator")
def test_kopf_handles_through_faults_and_deletes(
    http: Client,
    cluster: Cluster,
    namespace: str,
    images: str,
    golden_image: Callable[..., dict[str, Any]],
) -> None:
    server = cluster.server
    assert server is not None
    path = f"{images}/web"
    http.ok("POST", images, json=golden_image())

    def observed() -> Any:
        return http.ok("GET", path).get("status", {}).get("observedGeneration")

    until(observed, 1)
    image = http.ok("GET", path)
    assert image["metadata"]["finalizers"] == ["t.dev/finalizer"]
    assert image["status"]["sourceId"] == "ami-12345678"
    events = f"/api/v1/namespaces/{namespace}/events"
    selector = {"fieldSelector": f"involvedObject.uid={image['metadata']['uid']}"}
    until(
        lambda: [
            e["message"]
            for e in http.ok("GET", events, params=selector)["items"]
            if e["reason"] == "Handled"
        ],
        ["by kopf"],
    )

    def change(text: str) -> None:
        response = http.merge(path, {"spec": {"description": text}})
        assert response.ok, response.text

    server.faults.drop_watches()
    change("after the watches were dropped")
    until(observed, 2)
    server.faults.expire_watches()
    change("after the history was compacted")
    until(observed, 3)
    server.pause(0.5)
    time.sleep(0.6)
    change("after an outage")
    until(observed, 4)
    http.ok("DELETE", path)
    until(lambda: http("GET", path).status_code, 404)
