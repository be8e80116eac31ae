"""Watches, and the faults that tests inject into them."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from k8s_http import Client

from gilder.sandbox.kubernetes.cluster import Cluster
from gilder.sandbox.kubernetes.errors import plain
from gilder.sandbox.kubernetes.server import Server

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def server(cluster: Cluster) -> Iterator[Server]:
    assert cluster.server is not None
    yield cluster.server
    cluster.server.faults.clear()
    cluster.server.faults.gone_as_status = False
    cluster.server.faults.resume()


def brief(event: dict[str, Any]) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"]["name"]


def version(http: Client, path: str) -> str:
    return str(http.ok("GET", path)["metadata"]["resourceVersion"])


def test_a_watch_replays_history_and_follows(http: Client, images: str, golden_image: Make) -> None:
    since = version(http, images)
    http.ok("POST", images, json=golden_image("a"))
    watch = http.watch(images, resourceVersion=since)
    assert brief(next(watch)) == ("ADDED", "a")
    http.merge(f"{images}/a", {"spec": {"description": "d"}})
    modified = next(watch)
    assert brief(modified) == ("MODIFIED", "a")
    assert modified["object"]["spec"]["description"] == "d"
    http.merge(f"{images}/a", {"spec": {"description": "d"}})
    http.ok("DELETE", f"{images}/a")
    deleted = next(watch)
    assert brief(deleted) == ("DELETED", "a")
    seen = [modified["object"], deleted["object"]]
    assert int(seen[0]["metadata"]["resourceVersion"]) < int(seen[1]["metadata"]["resourceVersion"])
    watch.close()


def test_a_watch_without_version_starts_with_what_is_there(
    http: Client, images: str, golden_image: Make
) -> None:
    http.ok("POST", images, json=golden_image("a"))
    events = list(http.watch(images, timeoutSeconds=1))
    assert [brief(e) for e in events] == [("ADDED", "a")]


def test_the_removal_of_the_last_finalizer_is_one_deleted_event(
    http: Client, images: str, golden_image: Make
) -> None:
    body = golden_image()
    body["metadata"]["finalizers"] = ["t.dev/f"]
    created = http.ok("POST", images, json=body)
    watch = http.watch(images, resourceVersion=created["metadata"]["resourceVersion"])
    http.ok("DELETE", f"{images}/web")
    http.merge(f"{images}/web", {"metadata": {"finalizers": []}})
    assert [brief(next(watch))[0] for _ in range(2)] == ["MODIFIED", "DELETED"]
    watch.close()


def test_objects_that_enter_or_leave_a_selection(
    http: Client, images: str, golden_image: Make
) -> None:
    since = version(http, images)
    http.ok("POST", images, json=golden_image("a"))
    for value in ("yes", "no", "yes"):
        http.merge(f"{images}/a", {"metadata": {"labels": {"on": value}}})
    http.ok("DELETE", f"{images}/a")
    query = {"resourceVersion": since, "labelSelector": "on=yes", "timeoutSeconds": 1}
    kinds = [e["type"] for e in http.watch(images, **query)]
    assert kinds == ["ADDED", "DELETED", "ADDED", "DELETED"]
    query = {"resourceVersion": since, "fieldSelector": "metadata.name=b", "timeoutSeconds": 1}
    assert list(http.watch(images, **query)) == []


def test_bookmarks_tell_the_version_of_a_quiet_watch(
    http: Client, images: str, shares: str, image_share: Make, server: Server
) -> None:
    since = version(http, images)
    http.ok("POST", shares, json=image_share())
    query = {"resourceVersion": since, "allowWatchBookmarks": "true", "timeoutSeconds": 1}
    (bookmark,) = list(http.watch(images, **query))
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["kind"] == "GoldenImage"
    assert int(bookmark["object"]["metadata"]["resourceVersion"]) > int(since)
    server.watches.bookmark_seconds = 0.05
    try:
        watch = http.watch(images, **{**query, "timeoutSeconds": 10})
        assert [next(watch)["type"] for _ in range(2)] == ["BOOKMARK", "BOOKMARK"]
        watch.close()
    finally:
        server.watches.bookmark_seconds = 60.0


def test_initial_events_are_refused_as_by_an_older_server(http: Client, images: str) -> None:
    query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    status = http.refused(422, "GET", f"{images}?{query}")
    assert "sendInitialEvents" in status["message"]


def test_versions_before_the_history_are_gone(
    http: Client, images: str, golden_image: Make, server: Server
) -> None:
    since = version(http, images)
    http.ok("POST", images, json=golden_image("a"))
    page = http.ok("GET", "/api/v1/namespaces?limit=1")
    server.faults.compact()
    (event,) = list(http.watch(images, resourceVersion=since))
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == (
        "ERROR",
        410,
        "Expired",
    )
    server.faults.gone_as_status = True
    status = http.refused(410, "GET", f"{images}?watch=true&resourceVersion={since}")
    assert status["message"].startswith("too old resource version")
    token = page["metadata"]["continue"]
    http.refused(410, "GET", "/api/v1/namespaces", params={"continue": token})
    # A new list gives a version that can be watched.
    assert list(http.watch(images, resourceVersion=version(http, images), timeoutSeconds=1)) == []


def test_compaction_leaves_watches_alone_that_keep_up(
    http: Client, images: str, golden_image: Make, server: Server
) -> None:
    watch = http.watch(images)
    http.ok("POST", images, json=golden_image("a"))
    assert brief(next(watch)) == ("ADDED", "a")
    server.faults.compact()
    http.ok("POST", images, json=golden_image("b"))
    assert brief(next(watch)) == ("ADDED", "b")
    watch.close()


def test_the_history_is_bounded() -> None:
    server = Server(history=5)
    server.start()
    try:
        session = requests.Session()
        session.trust_env = False
        maps = f"{server.url}/api/v1/namespaces/default/configmaps"
        since = session.get(maps, timeout=5).json()["metadata"]["resourceVersion"]
        for i in range(8):
            session.post(maps, json={"metadata": {"name": f"c{i}"}}, timeout=5)
        query = {"watch": "true", "resourceVersion": since}
        with session.get(maps, params=query, timeout=5) as response:
            assert response.json()["object"]["code"] == 410
    finally:
        server.stop()
        server.stop()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def watching(http: Client, path: str, server: Server) -> tuple[threading.Thread, list[Any]]:
    """A watch in the background; its events, and the exception that ended it."""
    seen: list[Any] = []

    def run() -> None:
        try:
            seen.extend(http.watch(path, resourceVersion=version(http, path)))
        except requests.RequestException as error:
            seen.append(error)

    before = server.watches.running
    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: server.watches.running > before)
    return thread, seen


def test_watches_can_be_dropped(http: Client, images: str, server: Server) -> None:
    thread, seen = watching(http, images, server)
    assert server.faults.drop_watches() == 1
    thread.join(5)
    assert [type(e) for e in seen] == [requests.exceptions.ChunkedEncodingError]
    until(lambda: server.watches.running == 0)


def test_running_watches_can_be_expired(http: Client, images: str, server: Server) -> None:
    thread, seen = watching(http, images, server)
    assert server.faults.expire_watches() == 1
    thread.join(5)
    assert [e["object"]["code"] for e in seen] == [410]


def test_a_client_that_leaves_takes_its_watch_along(
    http: Client, images: str, server: Server
) -> None:
    response = http("GET", f"{images}?watch=true", stream=True)
    until(lambda: server.watches.running == 1)
    response.close()
    until(lambda: server.watches.running == 0)


def test_requests_fail_on_demand(
    http: Client, images: str, golden_image: Make, server: Server
) -> None:
    server.faults.fail(2, method="GET", path="/goldenimages", status=503)
    assert http.refused(503, "GET", images)["reason"] == "ServiceUnavailable"
    http.ok("GET", "/api/v1/namespaces")
    http.ok("POST", images, json=golden_image())
    assert server.faults.pending == 1
    http.refused(503, "GET", f"{images}/web")
    http.ok("GET", f"{images}/web")
    server.faults.conflict(1, path="/status$")
    response = http.merge(f"{images}/web/status", {"status": {"sourceId": "x"}})
    assert (response.status_code, response.json()["reason"]) == (409, "Conflict")
    assert http.merge(f"{images}/web/status", {"status": {"sourceId": "x"}}).ok
    server.faults.fail(1, status=429)
    assert http("GET", images).headers["Retry-After"] == "1"


def test_the_api_can_be_down_for_a_while(http: Client, images: str, server: Server) -> None:
    thread, seen = watching(http, images, server)
    server.pause()
    with pytest.raises(requests.ConnectionError):
        http("GET", images)
    thread.join(5)
    assert isinstance(seen[0], requests.RequestException)
    server.resume()
    http.ok("GET", images)
    server.pause(0.2)
    with pytest.raises(requests.ConnectionError):
        http("GET", images)
    time.sleep(0.3)
    http.ok("GET", images)


def test_requests_are_counted(
    http: Client, images: str, golden_image: Make, server: Server
) -> None:
    server.requests.reset()
    http.ok("POST", images, json=golden_image())
    http.ok("GET", images)
    http.ok("GET", f"{images}/web")
    http.merge(f"{images}/web/status", {"status": {}})
    list(http.watch(images, timeoutSeconds=1, resourceVersion=version(http, images)))
    assert server.requests.snapshot() == {
        ("create", "goldenimages"): 1,
        ("list", "goldenimages"): 2,
        ("get", "goldenimages"): 1,
        ("patch", "goldenimages/status"): 1,
        ("watch", "goldenimages"): 1,
    }
    assert server.requests.count("list") == 2
    assert server.requests.count(resource="goldenimages") == 5
    assert server.requests.count() == 6


def test_what_is_run_around_a_write(
    server: Server, http: Client, images: str, golden_image: Make
) -> None:
    seen: list[str] = []

    def count(when: str) -> Callable[[str, str], None]:
        return lambda method, _: seen.append(f"{when} {method}")

    server.faults.before(count("before"), path="/goldenimages")
    server.faults.after(count("after"), path="/goldenimages")
    http.ok("POST", images, json=golden_image("a"))
    http.ok("GET", f"{images}/a")
    http.refused(409, "POST", images, json=golden_image("a"))
    assert seen == ["before POST", "after POST", "before POST"], "a refusal has no effect"


def test_a_write_that_is_cut_has_no_effect(
    server: Server, http: Client, images: str, golden_image: Make
) -> None:
    def refuse(method: str, path: str) -> None:
        raise plain(503, f"{method} {path}")

    server.faults.before(refuse, method="POST")
    http.refused(503, "POST", images, json=golden_image("a"))
    server.faults.clear()
    http.refused(404, "GET", f"{images}/a")
