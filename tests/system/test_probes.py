"""What the probes say of the running operator."""

import requests
from systemworld import System, free_port, golden


def probe(port: int, path: str) -> tuple[int, str]:
    try:
        answer = requests.get(f"http://127.0.0.1:{port}{path}", timeout=10)
    except requests.ConnectionError:
        return 0, ""
    return answer.status_code, answer.text


def test_the_kubernetes_api_goes_and_comes_back(system: System) -> None:
    port = free_port()
    system.start(HEALTH_PORT=str(port))
    system.wait(lambda: probe(port, "/readyz") == (200, "ok\n"), "ready")
    server = system.world.cluster.server
    assert server is not None
    server.faults.fail(1000, status=503, message="it is not there")
    status, told = probe(port, "/readyz")
    assert status == 503
    assert told.startswith("the Kubernetes API answers 503")
    assert probe(port, "/healthz") == (200, "ok\n"), "no restart helps"
    server.faults.clear()
    assert probe(port, "/readyz") == (200, "ok\n")


def test_an_account_that_cannot_be_told(system: System) -> None:
    port = free_port()
    expired = system.aws.faults.fail("GetCallerIdentity", "ExpiredToken", "It is expired.", None)
    system.start(HEALTH_PORT=str(port))
    system.wait(lambda: "AWS: " in probe(port, "/readyz")[1], "AWS is told of")
    status, told = probe(port, "/readyz")
    assert status == 503
    assert "It is expired." in told
    expired.remove()
    system.wait(lambda: probe(port, "/readyz") == (200, "ok\n"), "ready")


def test_a_reconcile_that_hangs(system: System) -> None:
    port = free_port()
    slow = system.aws.faults.latency(6.0, "DescribeImages")
    system.start(HEALTH_PORT=str(port), STUCK_SECONDS="2", RESYNC_SECONDS="3600")
    system.wait(lambda: probe(port, "/readyz")[0] == 200, "ready")
    system.apply(golden())
    system.wait(lambda: probe(port, "/healthz")[0] == 503, "not healthy")
    assert "GoldenImage images/base has been worked on for" in probe(port, "/healthz")[1]
    slow.remove()
    system.wait(lambda: probe(port, "/healthz") == (200, "ok\n"), "healthy again")
    system.wait_ready("GoldenImage", "base")
