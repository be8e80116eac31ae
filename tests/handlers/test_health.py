"""The probes tell what is so."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from botocore.exceptions import NoCredentialsError
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import MaxRetryError

from gilder.config import Settings
from gilder.handlers.controller import Controller
from gilder.handlers.health import Health, serve
from gilder.handlers.queue import WorkQueue
from gilder.handlers.store import Key
from gilder.reconcile.fleet import Fleet

KEY = Key("GoldenImage", "images", "base")


class Works:
    """A controller whose work proceeds, or does not."""

    def __init__(self, *troubles: str) -> None:
        self._troubles = troubles

    def troubles(self, now: float, longest: float) -> tuple[str, ...]:
        assert longest == 60
        assert abs(now - time.monotonic()) < 5
        return self._troubles


def ask(health: Health, path: str) -> tuple[int, str]:
    """What a probe reads, over HTTP."""

    async def run() -> tuple[int, str]:
        runner = await serve(health, "127.0.0.1", 0)
        try:
            port = runner.addresses[0][1]
            url = f"http://127.0.0.1:{port}{path}"
            answer = await asyncio.to_thread(requests.get, url, timeout=10)
            return answer.status_code, answer.text
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def fails(error: Exception) -> Callable[[], object]:
    def call() -> object:
        raise error

    return call


def test_a_process_that_lists_is_healthy_and_not_ready() -> None:
    health = Health(60)
    assert ask(health, "/healthz") == (200, "ok\n")
    assert ask(health, "/readyz") == (503, "not everything is listed yet\n")


def test_one_that_works_is_both() -> None:
    health = Health(60, kubernetes=dict, aws=dict, controller=Works())
    assert ask(health, "/healthz") == (200, "ok\n")
    assert ask(health, "/readyz") == (200, "ok\n")


def test_a_replica_that_stands_by_could_take_over() -> None:
    assert ask(Health(60, kubernetes=dict, standby=True), "/readyz") == (200, "standing by\n")


def test_one_that_stands_still_is_neither() -> None:
    health = Health(60, kubernetes=dict, aws=dict, controller=Works("it hangs"))
    assert ask(health, "/healthz") == (503, "it hangs\n")
    assert ask(health, "/readyz") == (503, "it hangs\n")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ApiException(status=403, reason="Forbidden"), "the Kubernetes API answers 403 Forbidden"),
        (MaxRetryError(None, "/x", None), "the Kubernetes API is out of reach: "),  # type: ignore[arg-type]
    ],
)
def test_no_restart_cures_the_kubernetes_api(error: Exception, told: str) -> None:
    health = Health(60, kubernetes=fails(error), aws=dict, controller=Works())
    status, text = ask(health, "/readyz")
    assert status == 503
    assert text.startswith(told)
    assert ask(health, "/healthz") == (200, "ok\n")


def test_nor_credentials_that_lack() -> None:
    health = Health(60, kubernetes=dict, aws=fails(NoCredentialsError()), controller=Works())
    status, text = ask(health, "/readyz")
    assert (status, text.count("\n")) == (503, 1)
    assert "AWS: " in text
    assert "credentials" in text
    assert ask(health, "/healthz") == (200, "ok\n")


def test_what_hangs_takes_one_thread_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gilder.handlers.health.ANSWER", 0.05)
    asked, go = [], threading.Event()

    def hang() -> None:
        asked.append(1)
        go.wait(20)

    health = Health(60, kubernetes=hang, aws=hang, controller=Works())
    try:
        for _ in range(3):
            status, text = ask(health, "/readyz")
            assert status == 503
            assert text == "the Kubernetes API does not answer\nAWS does not answer\n"
        assert len(asked) == 2
    finally:
        go.set()


def test_a_process_that_is_stopped_is_healthy_until_it_ends() -> None:
    health = Health(60, controller=Works("it hangs"), stopping=True)
    assert ask(health, "/healthz") == (200, "ok\n")
    assert ask(health, "/readyz") == (503, "the process is being stopped\n")


def controller(**settings: Any) -> Controller:
    class NoFleet:
        others: frozenset[str] = frozenset()
        file = None

    fleet: Fleet = NoFleet()  # type: ignore[assignment]
    return Controller(Settings(**settings), None, fleet)  # type: ignore[arg-type]


def test_work_that_is_idle_is_well() -> None:
    assert controller(resync_seconds=300).troubles(time.monotonic() + 350, 60) == []


def test_a_sweep_that_does_not_come() -> None:
    (told,) = controller(resync_seconds=300).troubles(time.monotonic() + 380, 60)
    assert told.startswith("the sweep for drift is ")


def test_a_reconcile_that_does_not_end() -> None:
    found = controller(resync_seconds=3600)

    async def run() -> None:
        await found._images.add(KEY, 0.0)
        await found._images.take()
        assert found.troubles(time.monotonic() + 50, 60) == []
        (told,) = found.troubles(time.monotonic() + 70, 60)
        assert told.startswith(f"{KEY} has been worked on for ")
        await found._images.done(KEY)
        assert found.troubles(time.monotonic() + 70, 60) == []

    asyncio.run(run())


def test_work_that_nobody_takes() -> None:
    found = controller(resync_seconds=3600)

    async def run() -> None:
        await found._shares.add(KEY, 0.0)
        assert found.troubles(time.monotonic() + 50, 60) == []
        (told,) = found.troubles(time.monotonic() + 70, 60)
        assert told.startswith("work has waited for ")

    asyncio.run(run())


def test_a_worker_that_ended() -> None:
    found = controller()

    async def run() -> None:
        async def broken() -> None:
            raise ValueError("a bug")

        found._tasks = [asyncio.create_task(broken())]
        await asyncio.sleep(0.01)
        assert found.troubles(time.monotonic(), 60) == ["a task has failed: ValueError('a bug')"]

    asyncio.run(run())


def test_a_queue_that_moves_does_not_wait() -> None:
    """Since when counts from the last one that was taken, not from when the first one came."""
    queue: WorkQueue[str] = WorkQueue()

    async def run() -> None:
        await queue.add("a", 0.0)
        await queue.add("b", 0.0)
        since = queue.waiting()
        await asyncio.sleep(0.02)
        await queue.take()
        after = queue.waiting()
        assert since is not None
        assert after is not None
        assert after > since
        await queue.take()
        assert queue.waiting() is None

    asyncio.run(run())
