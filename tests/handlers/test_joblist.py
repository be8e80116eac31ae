"""Jobs as last listed, with what was done to them since."""

from typing import Any

import pytest

from gilder.handlers.joblist import JobList, ListedJobs, parse
from gilder.handlers.store import Key

KEY = Key("GoldenImage", "team", "base")


def body(name: str = "base-1", build: str = "b1", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "labels": {"goldenimage.dev/build": build},
            "ownerReferences": [{"kind": "GoldenImage", "name": "base", "uid": "uid-1"}],
        },
        "status": status,
    }


def condition(kind: str, **more: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": "True", **more}]}


@pytest.mark.parametrize(
    ("status", "state", "message"),
    [
        ({}, "running", ""),
        ({"active": 1}, "running", ""),
        (condition("FailureTarget", reason="BackoffLimitExceeded"), "running", ""),
        (condition("Complete"), "succeeded", ""),
        (
            condition("Failed", reason="DeadlineExceeded", message="too long"),
            "failed",
            "DeadlineExceeded: too long",
        ),
    ],
)
def test_the_state_of_a_job(status: dict[str, Any], state: str, message: str) -> None:
    found = parse(body(**status))
    assert found is not None
    key, job = found
    assert key == KEY
    assert (job.state, job.message, job.owner) == (state, message, "uid-1")


@pytest.mark.parametrize("lacking", ["labels", "ownerReferences"])
def test_a_job_of_nobody_is_passed_over(lacking: str) -> None:
    document = body()
    del document["metadata"][lacking]
    assert parse(document) is None


def test_a_listing_tells_whose_jobs_changed() -> None:
    jobs = JobList()
    assert jobs.replace([body()], jobs.now()) == {KEY}
    assert jobs.replace([body()], jobs.now()) == set()
    assert jobs.running()
    assert jobs.replace([body(**condition("Complete"))], jobs.now()) == {KEY}
    assert not jobs.running()
    assert jobs.replace([], jobs.now()) == {KEY}
    assert jobs.of(KEY) == ()


def test_a_job_made_during_a_listing_is_not_lost() -> None:
    time = iter(range(100))
    jobs = JobList(lambda: float(next(time)))
    began = jobs.now()
    jobs.add(body("base-2", "b2"))
    jobs.replace([], began)
    assert [j.name for j in jobs.of(KEY)] == ["base-2"]
    jobs.replace([], jobs.now())
    assert jobs.of(KEY) == (), "a listing that began later knows better"


class Cluster:
    def create(self, manifest: Any) -> str:
        return str(manifest["metadata"]["name"])

    def delete(self, namespace: str, name: str) -> None: ...

    def log(self, namespace: str, name: str) -> str:
        return f"{namespace}/{name}"


def test_what_is_done_is_known_at_once() -> None:
    known = JobList()
    jobs = ListedJobs(Cluster(), known)
    assert jobs.create(body()) == "base-1"
    assert [j.deleting for j in known.of(KEY)] == [False]
    jobs.delete("other", "base-1")
    jobs.delete("team", "base-1")
    assert [j.deleting for j in known.of(KEY)] == [True]
    assert known.running(), "until it is gone"
    assert jobs.log("team", "base-1") == "team/base-1"
