"""Jobs that run: the controller, its pods and their logs, over HTTP."""

import base64
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from k8s_http import Client

from gilder.sandbox.aws.server import SandboxAws, start_aws
from gilder.sandbox.baking import BUILD_TAG, bake
from gilder.sandbox.kubernetes.cluster import Cluster, start_cluster
from gilder.sandbox.kubernetes.jobs import JobRun, Jobs
from gilder.sandbox.process import wait_for
from gilder.sandbox.world import World

SECONDS = 20.0
Object = dict[str, Any]


class Batch:
    """The Jobs and pods of one namespace."""

    def __init__(self, http: Client, namespace: str, jobs: Jobs) -> None:
        self.http = http
        self.namespace = namespace
        self.running = jobs
        self.core = f"/api/v1/namespaces/{namespace}"
        self.jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"

    def create(self, job: Object) -> Object:
        return dict(self.http.ok("POST", self.jobs, json=job))

    def get(self, name: str = "bake") -> Object:
        return dict(self.http.ok("GET", f"{self.jobs}/{name}"))

    def there(self, name: str = "bake") -> bool:
        return self.http("GET", f"{self.jobs}/{name}").status_code == 200

    def pods(self, name: str = "bake") -> list[Object]:
        query = {"labelSelector": f"batch.kubernetes.io/job-name={name}"}
        found: list[Object] = self.http.ok("GET", f"{self.core}/pods", params=query)["items"]
        return sorted(found, key=lambda p: int(p["metadata"]["resourceVersion"]))

    def phases(self, name: str = "bake") -> list[str]:
        return sorted(p["status"]["phase"] for p in self.pods(name))

    def condition(self, kind: str, name: str = "bake") -> Object:
        conditions = self.get(name).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind and c["status"] == "True"), {})

    def wait(self, what: Callable[[], object]) -> None:
        assert wait_for(what, SECONDS), self.http.ok("GET", self.jobs)["items"]

    def ended(self, kind: str = "Complete", name: str = "bake") -> Object:
        """The Job with its status, once it has that condition."""
        self.wait(lambda: self.condition("Complete", name) or self.condition("Failed", name))
        assert self.condition(kind, name), self.get(name)["status"]
        return self.get(name)

    def log(self, pod: Object, **query: Any) -> str:
        path = f"{self.core}/pods/{pod['metadata']['name']}/log"
        answer = self.http("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith("text/plain")
        return answer.text

    def reasons(self) -> set[str]:
        return {e["reason"] for e in self.http.ok("GET", f"{self.core}/events")["items"]}


@pytest.fixture(scope="module")
def jobs(cluster: Cluster) -> Iterator[Jobs]:
    with Jobs(cluster) as running:
        yield running


@pytest.fixture
def batch(http: Client, namespace: str, jobs: Jobs) -> Batch:
    return Batch(http, namespace, jobs)


def job(name: str = "bake", /, pod: Object | None = None, **spec: Any) -> Object:
    """A Job; `pod` adds to its pod's spec, all else to its own."""
    containers = [{"name": "packer", "image": "packer:1"}]
    template = {"spec": {"restartPolicy": "Never", "containers": containers, **(pod or {})}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template, **spec},
    }


def until_stopped(run: JobRun) -> int:
    run.log("begun")
    run.stopped.wait(60)
    return 0


def terminated(pod: Object) -> Object:
    return dict(pod["status"]["containerStatuses"][-1]["state"]["terminated"])


# Success


def test_a_job_succeeds(batch: Batch) -> None:
    created = batch.create(job())
    status = batch.ended()["status"]
    assert [(c["type"], c["status"]) for c in status["conditions"]] == [
        ("SuccessCriteriaMet", "True"),
        ("Complete", "True"),
    ]
    assert (status["succeeded"], status["ready"], status["terminating"]) == (1, 0, 0)
    assert "active" not in status
    assert "failed" not in status
    assert status["startTime"] <= status["completionTime"]
    (pod,) = batch.pods()
    metadata, uid = pod["metadata"], created["metadata"]["uid"]
    assert metadata["name"].startswith("bake-")
    assert len(metadata["name"]) == len("bake-") + 5
    assert metadata["labels"] == {
        "batch.kubernetes.io/job-name": "bake",
        "job-name": "bake",
        "batch.kubernetes.io/controller-uid": uid,
        "controller-uid": uid,
    }
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Job", "bake", uid)
    assert owner["controller"] is True
    assert pod["status"]["phase"] == "Succeeded"
    assert (terminated(pod)["exitCode"], terminated(pod)["reason"]) == (0, "Completed")
    assert batch.log(pod) == ""
    batch.wait(lambda: {"SuccessfulCreate", "Completed"} <= batch.reasons())


def test_watches_see_the_steps_in_order(batch: Batch) -> None:
    seen_ready = threading.Event()
    batch.running.behave(f"{batch.namespace}/.*", lambda _: 0 if seen_ready.wait(SECONDS) else 1)
    seen: dict[str, list[Object]] = {batch.jobs: [], f"{batch.core}/pods": []}

    def follow(path: str, query: Object) -> None:
        for event in batch.http.watch(path, **query):
            seen[path].append(event)
            status = event["object"].get("status", {})
            if status.get("ready") == 1:
                seen_ready.set()
            if status.get("completionTime") or status.get("phase") == "Succeeded":
                return

    version = batch.http.ok("GET", batch.jobs)["metadata"]["resourceVersion"]
    queries: dict[str, Object] = {
        batch.jobs: {"fieldSelector": "metadata.name=bake"},
        f"{batch.core}/pods": {"labelSelector": "job-name=bake"},
    }
    since = {"resourceVersion": version, "timeoutSeconds": 30}
    threads = [
        threading.Thread(target=follow, args=(path, {**query, **since}))
        for path, query in queries.items()
    ]
    for thread in threads:
        thread.start()
    batch.create(job("other"))
    batch.create(job())
    for thread in threads:
        thread.join(40)
    steps = []
    for event in seen[batch.jobs]:
        status = event["object"].get("status", {})
        kinds = tuple(c["type"] for c in status.get("conditions", []))
        steps.append((status.get("active", 0), status.get("ready", 0), kinds))
    assert steps == [
        (0, 0, ()),
        (1, 0, ()),
        (1, 1, ()),
        (0, 0, ("SuccessCriteriaMet",)),
        (0, 0, ("SuccessCriteriaMet", "Complete")),
    ]
    phases = [e["object"]["status"]["phase"] for e in seen[f"{batch.core}/pods"]]
    assert phases == ["Pending", "Running", "Succeeded"]


def test_selectors_find_pods(batch: Batch) -> None:
    batch.create(job())
    batch.ended()
    for selector, count in (("status.phase=Succeeded", 1), ("status.phase=Running", 0)):
        found = batch.http.ok("GET", f"{batch.core}/pods", params={"fieldSelector": selector})
        assert len(found["items"]) == count


def test_several_completions_side_by_side(batch: Batch) -> None:
    batch.create(job(completions=3, parallelism=2))
    assert batch.ended()["status"]["succeeded"] == 3
    assert batch.phases() == ["Succeeded"] * 3


def test_the_newest_behaviour_counts(batch: Batch) -> None:
    seen: list[str] = []

    def note(word: str) -> Callable[[JobRun], int]:
        return lambda _: seen.append(word) or 0

    batch.running.behave(f"{batch.namespace}/.*", note("all"))
    batch.running.behave(f"{batch.namespace}/a.*", note("a"), times=1)
    for name in ("a-1", "a-2", "b"):
        batch.create(job(name))
        batch.ended(name=name)
    assert seen == ["a", "all", "all"]


# Failure


def test_a_failed_run_is_tried_again(batch: Batch) -> None:
    attempts: list[int] = []
    batch.running.behave(f"{batch.namespace}/.*", lambda r: attempts.append(r.attempt) or 0)
    batch.running.fail_next(f"{batch.namespace}/bake", log="no quota", exit_code=3, times=2)
    batch.create(job())
    status = batch.ended()["status"]
    assert (status["failed"], status["succeeded"]) == (2, 1)
    assert attempts == [3]
    assert batch.phases() == ["Failed", "Failed", "Succeeded"]
    failed = [p for p in batch.pods() if p["status"]["phase"] == "Failed"]
    assert [batch.log(p) for p in failed] == ["no quota\n"] * 2
    assert (terminated(failed[0])["exitCode"], terminated(failed[0])["reason"]) == (3, "Error")


@pytest.mark.parametrize("limit", [0, 2])
def test_the_backoff_limit(batch: Batch, limit: int) -> None:
    batch.running.behave(f"{batch.namespace}/.*", lambda _: (137, "OOMKilled"))
    batch.create(job(backoffLimit=limit))
    status = batch.ended("Failed")["status"]
    assert [(c["type"], c["reason"], c["message"]) for c in status["conditions"]] == [
        (kind, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        for kind in ("FailureTarget", "Failed")
    ]
    assert status["failed"] == limit + 1
    assert "completionTime" not in status
    pods = batch.pods()
    assert len(pods) == limit + 1
    assert {terminated(p)["reason"] for p in pods} == {"OOMKilled"}
    batch.wait(lambda: "BackoffLimitExceeded" in batch.reasons())


def test_retries_may_be_spaced_out(tmp_path: Path) -> None:
    times: list[float] = []
    with start_cluster(tmp_path, emulate=True) as cluster, Jobs(cluster, backoff=0.3) as jobs:
        jobs.behave(".*", lambda _: times.append(time.monotonic()) or 1)
        batch = Batch(Client(cluster), "default", jobs)
        batch.create(job(backoffLimit=2))
        batch.ended("Failed")
    first, second, third = times
    assert second - first >= 0.3
    assert third - second >= 0.6


def test_a_crash_is_a_failure_with_a_traceback(batch: Batch) -> None:
    def crash(_: JobRun) -> int:
        raise KeyError("variable")

    batch.running.behave(f"{batch.namespace}/.*", crash)
    batch.create(job(backoffLimit=0))
    batch.ended("Failed")
    (pod,) = batch.pods()
    assert "KeyError: 'variable'" in batch.log(pod)


def test_the_end_of_the_log_is_the_message_where_asked(batch: Batch) -> None:
    batch.running.fail_next(f"{batch.namespace}/.*", log="x" * 3000 + "\nlast line")
    policy = "FallbackToLogsOnError"
    containers = [{"name": "c", "image": "i", "terminationMessagePolicy": policy}]
    batch.create(job(pod={"containers": containers}, backoffLimit=0))
    batch.ended("Failed")
    message = terminated(batch.pods()[0])["message"]
    assert message.endswith("x\nlast line\n")
    assert len(message) == 2048


def test_restarts_inside_the_pod(batch: Batch) -> None:
    """With OnFailure the container runs again in its pod, which is deleted at the limit."""
    attempts: list[int] = []

    def fail(run: JobRun) -> int:
        attempts.append(run.attempt)
        run.log(f"attempt {run.attempt}")
        return 1

    batch.running.behave(f"{batch.namespace}/.*", fail, times=2)
    batch.create(job(pod={"restartPolicy": "OnFailure"}))
    status = batch.ended()["status"]
    assert (status.get("failed", 0), status["succeeded"]) == (0, 1)
    assert attempts == [1, 2]
    (pod,) = batch.pods()
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 2
    assert batch.log(pod, previous="true") == "attempt 2\n"

    batch.running.behave(f"{batch.namespace}/.*", fail)
    batch.create(job("never", pod={"restartPolicy": "OnFailure"}, backoffLimit=2))
    status = batch.ended("Failed", "never")["status"]
    assert status["failed"] == 1
    assert attempts == [1, 2, 1, 2]
    assert batch.pods("never") == []


def test_the_deadline(batch: Batch) -> None:
    """The active pod goes, and its log with it; it counts as failed."""
    stopped = threading.Event()

    def work(run: JobRun) -> int:
        if run.stopped.wait(60):
            stopped.set()
        return 0

    batch.running.behave(f"{batch.namespace}/.*", work)
    batch.create(job(activeDeadlineSeconds=1))
    status = batch.ended("Failed")["status"]
    assert [(c["type"], c["reason"]) for c in status["conditions"]] == [
        ("FailureTarget", "DeadlineExceeded"),
        ("Failed", "DeadlineExceeded"),
    ]
    assert status["conditions"][1]["message"] == "Job was active longer than specified deadline"
    assert status["failed"] == 1
    assert "active" not in status
    assert batch.pods() == []
    assert stopped.wait(SECONDS)


# The life of a Job


def test_a_finished_job_goes_after_its_time(batch: Batch) -> None:
    batch.create(job(ttlSecondsAfterFinished=1))
    batch.wait(lambda: not batch.there() and not batch.pods())
    batch.wait(lambda: "Completed" in batch.reasons())


def test_suspend_and_resume(batch: Batch) -> None:
    batch.running.behave(f"{batch.namespace}/.*", until_stopped, times=1)
    batch.create(job(suspend=True, activeDeadlineSeconds=600))
    batch.wait(lambda: batch.condition("Suspended"))
    assert batch.pods() == []
    assert "startTime" not in batch.get()["status"]

    batch.http.merge(f"{batch.jobs}/bake", {"spec": {"suspend": False}})
    batch.wait(lambda: batch.phases() == ["Running"])
    batch.wait(lambda: batch.get()["status"].get("active") == 1)
    (resumed,) = batch.get()["status"]["conditions"]
    assert (resumed["status"], resumed["reason"]) == ("False", "JobResumed")

    batch.http.merge(f"{batch.jobs}/bake", {"spec": {"suspend": True}})
    batch.wait(lambda: batch.condition("Suspended") and not batch.pods())
    batch.http.merge(f"{batch.jobs}/bake", {"spec": {"suspend": False}})
    status = batch.ended()["status"]
    assert (status.get("failed", 0), status["succeeded"]) == (0, 1)


def test_a_deleted_pod_is_a_failure_and_is_replaced(batch: Batch) -> None:
    batch.running.behave(f"{batch.namespace}/.*", until_stopped, times=1)
    batch.create(job())
    batch.wait(lambda: batch.get().get("status", {}).get("ready") == 1)
    (pod,) = batch.pods()
    batch.http.ok("DELETE", f"{batch.core}/pods/{pod['metadata']['name']}")
    status = batch.ended()["status"]
    assert (status["failed"], status["succeeded"]) == (1, 1)


def running(batch: Batch, finalizer: str = "") -> threading.Event:
    """A Job that runs; the event is set when its run is told to stop."""
    stopped = threading.Event()

    def work(run: JobRun) -> int:
        run.log("begun")
        if run.stopped.wait(60):
            stopped.set()
        return 0

    batch.running.behave(f"{batch.namespace}/.*", work, times=1)
    body = job()
    if finalizer:
        body["metadata"]["finalizers"] = [finalizer]
    batch.create(body)
    batch.wait(lambda: batch.get().get("status", {}).get("ready") == 1)
    return stopped


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_pods_go_with_their_job(batch: Batch, policy: str) -> None:
    stopped = running(batch)
    query = {"propagationPolicy": policy}
    answer = batch.http("DELETE", f"{batch.jobs}/bake", params=query)
    assert answer.status_code == 200
    assert "Warning" not in answer.headers
    batch.wait(lambda: not batch.there() and not batch.pods())
    assert stopped.wait(SECONDS)


@pytest.mark.parametrize("query", [{"propagationPolicy": "Orphan"}, {}])
def test_pods_outlive_their_job(batch: Batch, query: dict[str, str]) -> None:
    """Which is what batch/v1 does when a deletion does not say otherwise."""
    stopped = running(batch)
    answer = batch.http("DELETE", f"{batch.jobs}/bake", params=query)
    warned = "child pods are preserved by default" in answer.headers.get("Warning", "")
    assert warned is (not query)
    assert not batch.there()
    batch.create(job("next"))  # the controller has looked at everything once more
    batch.ended(name="next")
    (pod,) = batch.pods()
    assert "ownerReferences" not in pod["metadata"]
    assert pod["status"]["phase"] == "Running"
    assert not stopped.is_set()
    batch.http.ok("DELETE", f"{batch.core}/pods/{pod['metadata']['name']}")
    assert stopped.wait(SECONDS)


@pytest.mark.parametrize(("finalizer", "left"), [("foregroundDeletion", 0), ("orphan", 1)])
def test_finalizers_of_deletion_are_carried_out(batch: Batch, finalizer: str, left: int) -> None:
    """A real API only sets these; the collection is up to a controller."""
    stopped = running(batch, finalizer)
    batch.http.ok("DELETE", f"{batch.jobs}/bake", params={"propagationPolicy": "Background"})
    batch.wait(lambda: not batch.there())
    pods = batch.pods()
    assert len(pods) == left
    assert all("ownerReferences" not in p["metadata"] for p in pods)
    for pod in pods:
        batch.http.ok("DELETE", f"{batch.core}/pods/{pod['metadata']['name']}")
    assert stopped.wait(SECONDS)


def test_a_pod_without_its_job_is_collected(batch: Batch) -> None:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "x", "uid": "u", "controller": True}
    labels = {"batch.kubernetes.io/job-name": "bake"}
    metadata = {"name": "left", "labels": labels, "ownerReferences": [owner]}
    spec = {"containers": [{"name": "c", "image": "i"}]}
    batch.http.ok("POST", f"{batch.core}/pods", json={"metadata": metadata, "spec": spec})
    batch.wait(lambda: not batch.pods())


def test_work_is_not_called_for_a_pod_that_went_before(batch: Batch) -> None:
    called = threading.Event()
    batch.running.behave(f"{batch.namespace}/.*", lambda _: called.set() or 0, seconds=30)
    batch.create(job())
    batch.wait(lambda: batch.phases() == ["Running"])
    batch.http.ok("DELETE", f"{batch.jobs}/bake", params={"propagationPolicy": "Background"})
    batch.wait(lambda: not batch.pods())
    assert not called.is_set()


# Environment and files


def surroundings(batch: Batch) -> list[JobRun]:
    runs: list[JobRun] = []
    batch.running.behave(f"{batch.namespace}/.*", lambda run: runs.append(run) or 0)
    return runs


def put(batch: Batch, plural: str, name: str, **data: Any) -> None:
    batch.http.ok("POST", f"{batch.core}/{plural}", json={"metadata": {"name": name}, **data})


def test_the_environment_is_resolved(batch: Batch) -> None:
    put(batch, "configmaps", "settings", data={"REGION": "eu-west-1", "MODE": "map"})
    put(batch, "secrets", "login", stringData={"token": "hush", "USER": "me"})
    env: list[Object] = [
        {"name": "PLAIN", "value": "one"},
        {"name": "EMPTY"},
        {"name": "MADE", "value": "$(PLAIN)-$(UNKNOWN)-$$(PLAIN)"},
        {"name": "MODE", "value": "given"},
        field("POD", "metadata.name"),
        field("NAMESPACE", "metadata.namespace"),
        field("APP", "metadata.labels['app']"),
        keyed("AWS_REGION", "configMapKeyRef", "settings", "REGION"),
        keyed("TOKEN", "secretKeyRef", "login", "token"),
        keyed("ABSENT", "secretKeyRef", "nothing", "token", optional=True),
    ]
    sources = [
        {"configMapRef": {"name": "settings"}},
        {"prefix": "S_", "secretRef": {"name": "login"}},
        {"configMapRef": {"name": "nothing", "optional": True}},
    ]
    main = {"name": "packer", "image": "packer:1", "env": env, "envFrom": sources}
    body = job(pod={"containers": [{"name": "side", "image": "side"}, main]})
    body["spec"]["template"]["metadata"] = {"labels": {"app": "golden"}}
    runs = surroundings(batch)
    batch.create(body)
    batch.ended()
    (run,) = runs
    (pod,) = batch.pods()
    assert run.env == {
        "REGION": "eu-west-1",
        "MODE": "given",
        "S_token": "hush",
        "S_USER": "me",
        "PLAIN": "one",
        "EMPTY": "",
        "MADE": "one-$(UNKNOWN)-$(PLAIN)",
        "POD": pod["metadata"]["name"],
        "NAMESPACE": batch.namespace,
        "APP": "golden",
        "AWS_REGION": "eu-west-1",
        "TOKEN": "hush",
    }
    assert (run.namespace, run.name, run.attempt) == (batch.namespace, "bake", 1)
    assert run.job["metadata"]["name"] == "bake"


def field(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def keyed(name: str, source: str, of: str, key: str, **more: Any) -> Object:
    return {"name": name, "valueFrom": {source: {"name": of, "key": key, **more}}}


def test_files_are_mounted(batch: Batch) -> None:
    binary = {"raw": base64.b64encode(b"bytes").decode()}
    template = {"golden.pkr.hcl": "source {}", "b": "2"}
    put(batch, "configmaps", "template", data=template, binaryData=binary)
    put(batch, "secrets", "login", stringData={"key": "hush"})
    chosen = [{"key": "b", "path": "deep/b.txt"}]
    named = [{"path": "name", "fieldRef": {"fieldPath": "metadata.namespace"}}]
    volumes = [
        {"name": "map", "configMap": {"name": "template"}},
        {"name": "some", "configMap": {"name": "template", "items": chosen}},
        {"name": "secret", "secret": {"secretName": "login"}},
        {
            "name": "all",
            "projected": {
                "sources": [
                    {"configMap": {"name": "template", "items": chosen}},
                    {"secret": {"name": "login"}},
                    {"downwardAPI": {"items": named}},
                ]
            },
        },
        {"name": "scratch", "emptyDir": {}},
    ]
    mounts = [
        {"name": "map", "mountPath": "/template"},
        {"name": "some", "mountPath": "/some"},
        {"name": "secret", "mountPath": "/etc/key", "subPath": "key"},
        {"name": "all", "mountPath": "/all"},
        {"name": "scratch", "mountPath": "/tmp"},
    ]
    main = {"name": "packer", "image": "packer:1", "volumeMounts": mounts}
    runs = surroundings(batch)
    batch.create(job(pod={"containers": [main], "volumes": volumes}))
    batch.ended()
    assert runs[0].files == {
        "/template/golden.pkr.hcl": "source {}",
        "/template/b": "2",
        "/template/raw": "bytes",
        "/some/deep/b.txt": "2",
        "/etc/key": "hush",
        "/all/deep/b.txt": "2",
        "/all/key": "hush",
        "/all/name": batch.namespace,
    }


def test_a_pod_waits_for_what_it_needs(batch: Batch) -> None:
    """Also for what only another container of it needs."""
    main = {
        "name": "packer",
        "image": "packer:1",
        "env": [keyed("A", "configMapKeyRef", "later", "a")],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    }
    token = [keyed("TOKEN", "secretKeyRef", "clone", "token")]
    clone = {"name": "clone", "image": "git:1", "env": token}
    volumes = [
        {"name": "v", "secret": {"secretName": "later"}},
        {"name": "w", "secret": {"secretName": "clone"}},
    ]
    runs = surroundings(batch)
    batch.create(job(pod={"containers": [main], "initContainers": [clone], "volumes": volumes}))
    batch.wait(lambda: "FailedMount" in batch.reasons())
    assert batch.phases() == ["Pending"]

    def waiting() -> Object:
        (pod,) = batch.pods()
        return dict(pod["status"]["containerStatuses"][0]["state"].get("waiting", {}))

    batch.wait(lambda: waiting().get("reason") == "ContainerCreating")
    put(batch, "secrets", "later", stringData={"s": "1"})
    put(batch, "secrets", "clone", stringData={})
    batch.wait(lambda: waiting().get("reason") == "CreateContainerConfigError")
    said = f"couldn't find key token in Secret {batch.namespace}/clone"
    batch.wait(lambda: waiting().get("message") == said)
    data = {"token": base64.b64encode(b"hush").decode()}
    batch.http.merge(f"{batch.core}/secrets/clone", {"data": data})
    batch.wait(lambda: waiting().get("message") != said)
    assert waiting()["message"] == 'configmap "later" not found'
    path = f"{batch.core}/pods/{batch.pods()[0]['metadata']['name']}/log?container=packer"
    said = batch.http.refused(400, "GET", path)["message"]
    assert said.endswith("is waiting to start: CreateContainerConfigError")
    put(batch, "configmaps", "later", data={"a": "1"})
    batch.ended()
    assert (runs[0].env, runs[0].files) == ({"A": "1"}, {"/v/s": "1"})


def test_pods_need_their_service_account(batch: Batch) -> None:
    batch.create(job(pod={"serviceAccountName": "builder"}))
    batch.wait(lambda: "FailedCreate" in batch.reasons())
    assert batch.pods() == []
    put(batch, "serviceaccounts", "builder")
    batch.ended()


# Logs


def test_logs_of_a_pod(batch: Batch) -> None:
    lines = [f"line {n}" for n in range(1, 6)]

    def work(run: JobRun) -> int:
        for line in lines:
            run.log(line)
        return 0

    batch.running.behave(f"{batch.namespace}/.*", work)
    containers = [{"name": n, "image": n} for n in ("side", "packer")]
    batch.create(job(pod={"containers": containers}))
    batch.ended()
    (pod,) = batch.pods()
    whole = "".join(f"{line}\n" for line in lines)
    assert batch.log(pod, container="packer") == whole
    assert batch.log(pod, container="packer", tailLines=2) == "line 4\nline 5\n"
    assert batch.log(pod, container="packer", tailLines=0) == ""
    assert batch.log(pod, container="packer", tailLines=99) == whole
    assert batch.log(pod, container="packer", limitBytes=4) == "line"
    assert batch.log(pod, container="packer", tailLines=1, limitBytes=6) == "line 5"
    assert batch.log(pod, container="side") == ""

    name = pod["metadata"]["name"]
    path = f"{batch.core}/pods/{name}/log"
    for query, code, message in [
        ("", 400, f"a container name must be specified for pod {name}, choose one of: "),
        ("container=other", 400, f"container other is not valid for pod {name}"),
        ("container=packer&previous=true", 400, "previous terminated container"),
        ("container=packer&follow=true", 400, "follow is not served by the emulation"),
        ("container=packer&tailLines=x", 400, "invalid syntax"),
        ("container=packer&tailLines=-1", 422, "must be greater than or equal to 0"),
        ("container=packer&limitBytes=0", 422, "must be greater than 0"),
    ]:
        assert message in batch.http.refused(code, "GET", f"{path}?{query}")["message"]
    batch.http.refused(404, "GET", f"{batch.core}/pods/nobody/log")
    batch.http.refused(405, "PUT", path, json={})
    batch.http.refused(404, "GET", f"{batch.jobs}/bake/log")


def test_a_log_grows_while_the_pod_runs(batch: Batch) -> None:
    stopped = running(batch)
    (pod,) = batch.pods()
    batch.wait(lambda: batch.log(pod) == "begun\n")
    batch.http.ok("DELETE", f"{batch.jobs}/bake", params={"propagationPolicy": "Background"})
    path = f"{batch.core}/pods/{pod['metadata']['name']}/log"
    batch.http.refused(404, "GET", path)
    assert stopped.wait(SECONDS)
    uid = pod["metadata"]["uid"]
    batch.wait(lambda: batch.running.logs.read(uid, "packer") == b"")


def test_kubectl_logs(batch: Batch, kubectl: Callable[..., str]) -> None:
    batch.running.behave(f"{batch.namespace}/.*", lambda run: run.log("a\nb\nc") or 0)
    batch.create(job())
    batch.ended()
    arguments = ("logs", f"--namespace={batch.namespace}", "job/bake")
    assert kubectl(*arguments, "--tail=2") == "b\nc\n"
    kubectl("wait", f"--namespace={batch.namespace}", "--for=condition=Complete", "job/bake")


# The API


def test_the_api_completes_and_checks_jobs(batch: Batch) -> None:
    created = batch.create(job(suspend=True))
    spec, uid = created["spec"], created["metadata"]["uid"]
    assert (spec["backoffLimit"], spec["completions"], spec["parallelism"]) == (6, 1, 1)
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert spec["template"]["metadata"]["labels"]["job-name"] == "bake"

    again = batch.http.refused(409, "POST", batch.jobs, json=job())
    assert again["reason"] == "AlreadyExists"
    always = job("always", pod={"restartPolicy": "Always"})
    said = batch.http.refused(422, "POST", batch.jobs, json=always)["message"]
    assert 'supported values: "OnFailure", "Never"' in said
    long = batch.http.refused(422, "POST", batch.jobs, json=job("x" * 64))["message"]
    assert "spec.template.labels" in long
    empty = job("empty", pod={"containers": []})
    said = batch.http.refused(422, "POST", batch.jobs, json=empty)["message"]
    assert "spec.template.spec.containers: Required value" in said

    path = f"{batch.jobs}/bake"
    change = {"spec": {"template": {"spec": {"serviceAccountName": "other"}}}}
    refused = batch.http.merge(path, change)
    assert refused.status_code == 422
    assert "spec.template: " in refused.json()["message"]
    assert "field is immutable" in refused.json()["message"]
    assert batch.http.merge(path, {"spec": {"activeDeadlineSeconds": 60}}).ok
    body = {**batch.get(), "status": {"succeeded": 9}}
    batch.http.ok("PUT", path, json=body)
    assert "succeeded" not in batch.get().get("status", {})


def test_generated_names(batch: Batch) -> None:
    body = job()
    body["metadata"] = {"generateName": "bake-"}
    names = {batch.create(body)["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    for name in names:
        batch.ended(name=name)


def test_the_controller_is_neither_counted_nor_failed(cluster: Cluster, batch: Batch) -> None:
    server = cluster.server
    assert server is not None
    server.requests.reset()
    server.faults.fail(1000, method="POST", path="/pods|/events")
    server.faults.fail(1000, method="PUT", path="/status")
    try:
        batch.create(job())
        batch.ended()
    finally:
        server.faults.clear()
    assert server.watches.running == 0
    assert {verb for verb, _ in server.requests.snapshot()} == {"create", "get"}


def test_jobs_go_on_after_an_outage(cluster: Cluster, batch: Batch) -> None:
    server = cluster.server
    assert server is not None
    batch.running.behave(f"{batch.namespace}/.*", lambda _: 0, seconds=0.3)
    batch.create(job())
    server.faults.pause(1.0)
    batch.http.session.close()

    def back() -> bool:
        try:
            return batch.there()
        except OSError:
            return False

    batch.wait(back)
    batch.ended()


def test_everything_goes_with_its_namespace(batch: Batch) -> None:
    stopped = running(batch)
    batch.http.ok("DELETE", f"/api/v1/namespaces/{batch.namespace}")
    assert stopped.wait(SECONDS)
    assert batch.http("GET", f"/api/v1/namespaces/{batch.namespace}").status_code == 404


# Baking


@pytest.fixture
def aws() -> Iterator[SandboxAws]:
    with start_aws() as running:
        yield running


def env_of(**values: str) -> Object:
    env = [{"name": k, "value": v} for k, v in values.items()]
    return {"containers": [{"name": "packer", "image": "packer:1", "env": env}]}


def built(aws: SandboxAws, region: str, build: str) -> list[Object]:
    wanted = [{"Name": f"tag:{BUILD_TAG}", "Values": [build]}]
    client = aws.client("ec2", region)
    return list(client.describe_images(Owners=["self"], Filters=wanted)["Images"])


def test_baking_makes_an_ami(batch: Batch, aws: SandboxAws) -> None:
    batch.running.behave(f"{batch.namespace}/.*", bake(aws))
    batch.create(job(pod=env_of(GILDER_BUILD_ID="b-1", AWS_REGION="eu-central-1")))
    batch.ended()
    (image,) = built(aws, "eu-central-1", "b-1")
    assert image["State"] == "available"
    assert {"Key": "Name", "Value": "bake"} in image["Tags"]
    snapshot = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    client = aws.client("ec2", "eu-central-1")
    (found,) = client.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    assert {"Key": BUILD_TAG, "Value": "b-1"} in found["Tags"]
    (pod,) = batch.pods()
    log = batch.log(pod)
    assert f"AMIs were created:\neu-central-1: {image['ImageId']}\n" in log
    assert "Build 'amazon-ebs.golden' finished after" in log


def test_baking_needs_a_region_and_aws(batch: Batch, aws: SandboxAws) -> None:
    batch.running.behave(f"{batch.namespace}/.*", bake(aws))
    batch.create(job("nowhere", pod=env_of(GILDER_BUILD_ID="b-2"), backoffLimit=0))
    batch.ended("Failed", "nowhere")
    assert "AWS_REGION is not set" in batch.log(batch.pods("nowhere")[0])

    aws.faults.deny("RegisterImage")
    pod = env_of(GILDER_BUILD_ID="b-3", AWS_REGION="eu-west-1")
    batch.create(job("denied", pod=pod, backoffLimit=0))
    batch.ended("Failed", "denied")
    assert "Error registering AMI" in batch.log(batch.pods("denied")[0])
    assert built(aws, "eu-west-1", "b-3") == []


def test_a_world_bakes_by_itself(tmp_path: Path) -> None:
    with World(tmp_path, emulate=True) as world:
        batch = Batch(Client(world.cluster), "default", world.jobs)
        batch.create(job("other"))
        batch.create(job(pod=env_of(GILDER_BUILD_ID="b-4", AWS_REGION="eu-west-1")))
        batch.ended()
        batch.ended(name="other")
        assert len(built(world.aws, "eu-west-1", "b-4")) == 1
        world.jobs.fail_next("default/third", log="out of luck")
        batch.create(job("third", backoffLimit=0))
        batch.ended("Failed", "third")
        assert batch.log(batch.pods("third")[0]) == "out of luck\n"
