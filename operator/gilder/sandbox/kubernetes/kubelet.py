"""Runs the pods of Jobs: each main container is a function in a thread of its own."""

import threading
import time
import traceback
from dataclasses import dataclass
from typing import Any

import requests

from gilder.sandbox.kubernetes import containers
from gilder.sandbox.kubernetes.behaviours import Behaviours, JobRun
from gilder.sandbox.kubernetes.client import Client, RefusedError
from gilder.sandbox.kubernetes.containers import MissingError
from gilder.sandbox.kubernetes.logs import PodLogs
from gilder.sandbox.kubernetes.objects import now
from gilder.sandbox.kubernetes.store import Object

PODS = "v1/pods"
_RETRY_SECONDS = 0.2
_STOP_SECONDS = 5
# What FallbackToLogsOnError takes of a log.
_MESSAGE_BYTES, _MESSAGE_LINES = 2048, 80


@dataclass
class _Process:
    thread: threading.Thread
    stopped: threading.Event


class Kubelet:
    """Its methods may be called from any thread."""

    def __init__(self, client: Client, behaviours: Behaviours, logs: PodLogs) -> None:
        self._client = client
        self._behaviours = behaviours
        self._logs = logs
        self._lock = threading.Lock()
        self._processes: dict[str, _Process] = {}

    def start(self, pod: Object, job: Object, attempt: int) -> None:
        """Run a pod of a Job from Pending to its end."""
        uid, stopped = pod["metadata"]["uid"], threading.Event()
        run = _PodRun(self._client, self._behaviours, self._logs, pod, job, attempt, stopped)
        name = f"pod {pod['metadata']['name']}"
        thread = threading.Thread(target=run, name=name, daemon=True)
        with self._lock:
            self._processes[uid] = _Process(thread, stopped)
        thread.start()

    def keep(self, uids: set[str]) -> None:
        """End the runs, and drop the logs, of pods that are not there any more."""
        with self._lock:
            gone = [u for u in self._processes if u not in uids]
            ended = [self._processes.pop(u) for u in gone]
        for process in ended:
            process.stopped.set()
        for uid in gone:
            self._logs.forget(uid)

    def stop(self) -> None:
        """End all runs; one that does not look at `stopped` is left behind."""
        with self._lock:
            ended = list(self._processes.values())
            self._processes.clear()
        for process in ended:
            process.stopped.set()
        deadline = time.monotonic() + _STOP_SECONDS
        for process in ended:
            process.thread.join(max(0.0, deadline - time.monotonic()))


class _PodRun:
    """One pod, in its thread."""

    def __init__(
        self,
        client: Client,
        behaviours: Behaviours,
        logs: PodLogs,
        pod: Object,
        job: Object,
        attempt: int,
        stopped: threading.Event,
    ) -> None:
        self._client = client
        self._behaviours = behaviours
        self._logs = logs
        self._pod = pod
        self._job = job
        self._attempt = attempt
        self._stopped = stopped
        self._started = now()
        self._restarts = 0
        self._last: dict[str, Any] = {}
        self._main: dict[str, Any] = pod["spec"]["containers"][-1]

    def __call__(self) -> None:
        limit = self._job["spec"].get("backoffLimit", 6)
        while self._once() and not self._stopped.is_set():
            # From here on the Job has failed, and its controller deletes the pod.
            if self._restarts >= max(limit, 1):
                self._stopped.wait()

    def _once(self) -> bool:
        """Run the container; whether it is to run again."""
        surroundings = self._surroundings()
        if surroundings is None:
            return False
        metadata = self._pod["metadata"]
        uid, container = metadata["uid"], self._main["name"]
        for each in self._pod["spec"]["containers"]:
            self._logs.begin(uid, each["name"])
        started = now()
        self._write("Running", {"running": {"startedAt": started}}, ready=True)
        run = JobRun(
            metadata["namespace"],
            self._job["metadata"]["name"],
            metadata["name"],
            self._attempt + self._restarts,
            self._job,
            *surroundings,
            write=lambda text: self._logs.write(uid, container, text),
            stopped=self._stopped,
        )
        code, reason = self._work(run)
        if self._stopped.is_set():
            return False
        terminated: dict[str, Any] = {
            "exitCode": code,
            "reason": reason or ("Error" if code else "Completed"),
            "startedAt": started,
            "finishedAt": now(),
            "containerID": self._container_id(container),
        }
        message = run.message or (self._end_of_log() if code else "")
        if message:
            terminated["message"] = message
        if code and self._pod["spec"].get("restartPolicy") == "OnFailure":
            self._restarts += 1
            self._last = {"terminated": terminated}
            waiting = {"reason": "CrashLoopBackOff", "message": "back-off restarting container"}
            self._write("Running", {"waiting": waiting}, ready=False)
            return True
        self._write("Failed" if code else "Succeeded", {"terminated": terminated}, ready=False)
        return False

    def _work(self, run: JobRun) -> tuple[int, str]:
        behaviour = self._behaviours.take(f"{run.namespace}/{run.name}")
        if behaviour.seconds and not run.sleep(behaviour.seconds):
            return 143, ""
        try:
            outcome = behaviour.work(run)
        except Exception:  # noqa: BLE001 - a program that crashes
            run.log(traceback.format_exc())
            return 1, ""
        return outcome if isinstance(outcome, tuple) else (outcome, "")

    def _surroundings(self) -> tuple[dict[str, str], dict[str, str]] | None:
        """Environment and files, as soon as all of them are there; None when the pod is gone."""
        namespace = self._pod["metadata"]["namespace"]

        def lookup(plural: str, name: str) -> Object | None:
            return self._client.find(f"v1/{plural}", namespace, name)

        said = ""
        while not self._stopped.is_set():
            reason = "ContainerCreating"
            try:
                files = containers.files(self._pod, self._main, lookup)
                reason = "CreateContainerConfigError"
                spec = self._pod["spec"]
                for other in [*(spec.get("initContainers") or []), *spec["containers"][:-1]]:
                    containers.environment(self._pod, other, lookup)
                return containers.environment(self._pod, self._main, lookup), files
            except MissingError as missing:
                if str(missing) != said:
                    said = str(missing)
                    self._wait_for(reason, said)
            except (RefusedError, requests.RequestException):
                pass  # the API is away for a moment
            self._stopped.wait(_RETRY_SECONDS)
        return None

    def _wait_for(self, reason: str, missing: str) -> None:
        waiting = {"reason": reason}
        if reason == "ContainerCreating":  # the kubelet says more only in an Event
            message = f"MountVolume.SetUp failed for volume: {missing}"
            self._client.tell(self._pod, "Warning", "FailedMount", message, "kubelet")
        else:
            waiting["message"] = missing
        self._write("Pending", {"waiting": waiting}, ready=False)

    def _end_of_log(self) -> str:
        if self._main.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            return ""
        log = self._logs.read(self._pod["metadata"]["uid"], self._main["name"])
        lines = log.splitlines(keepends=True)[-_MESSAGE_LINES:]
        return b"".join(lines)[-_MESSAGE_BYTES:].decode(errors="ignore")

    def _write(self, phase: str, state: dict[str, Any], *, ready: bool) -> None:
        """Write the status until it is written or the pod is gone."""
        status = self._status(phase, state, ready=ready)
        while not self._stopped.is_set():
            try:
                self._client.merge(PODS, self._pod, {"status": status}, "status")
                return
            except RefusedError as refusal:
                if refusal.code == 404:
                    self._stopped.set()
                    return
            except requests.RequestException:
                pass
            self._stopped.wait(_RETRY_SECONDS)

    def _status(self, phase: str, state: dict[str, Any], *, ready: bool) -> dict[str, Any]:
        spec = self._pod["spec"]
        pending, ended = phase == "Pending", phase in ("Succeeded", "Failed")
        done = {"exitCode": 0, "reason": "Completed", "finishedAt": now()}
        beside: dict[str, Any] = {"running": {"startedAt": self._started}}
        if pending:
            beside = {"waiting": {"reason": "ContainerCreating"}}
        elif ended:
            beside = {"terminated": {**done, "startedAt": self._started}}
        others = [self._container(c, beside, ready=ready) for c in spec["containers"][:-1]]
        main = self._container(self._main, state, ready=ready)
        main |= {"restartCount": self._restarts, "lastState": self._last}
        # Other containers do nothing here, and init containers have done it at once.
        before = {"terminated": {**done, "startedAt": self._started}}
        init = [
            self._container(c, beside if pending else before, ready=not pending)
            for c in spec.get("initContainers") or []
        ]
        why = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}
        unready = why.get(phase, "ContainersNotReady")
        conditions = [
            _condition("PodScheduled", True, "", self._started),
            _condition("Initialized", not pending or not init, "", self._started),
            _condition("ContainersReady", ready, "" if ready else unready, now()),
            _condition("Ready", ready, "" if ready else unready, now()),
        ]
        status = {
            "phase": phase,
            "startTime": self._started,
            "conditions": conditions,
            "containerStatuses": [*others, main],
        }
        return {**status, "initContainerStatuses": init} if init else status

    def _container(
        self, container: dict[str, Any], state: dict[str, Any], *, ready: bool
    ) -> dict[str, Any]:
        started = "waiting" not in state
        return {
            "name": container["name"],
            "image": container.get("image", ""),
            "imageID": "",
            "containerID": self._container_id(container["name"]) if started else "",
            "state": state,
            "lastState": {},
            "ready": ready,
            "started": "running" in state,
            "restartCount": 0,
        }

    def _container_id(self, name: str) -> str:
        return f"sandbox://{self._pod['metadata']['uid']}-{name}-{self._restarts}"


def _condition(kind: str, holds: bool, reason: str, since: str) -> dict[str, Any]:
    condition = {
        "type": kind,
        "status": "True" if holds else "False",
        "lastProbeTime": None,
        "lastTransitionTime": since,
    }
    return {**condition, "reason": reason} if reason else condition
