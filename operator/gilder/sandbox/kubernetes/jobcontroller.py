"""What kube-controller-manager does about Jobs: pods, status, time limits and removal."""

import time
from dataclasses import dataclass, field
from typing import Any

import requests

from gilder.sandbox.kubernetes import jobstatus
from gilder.sandbox.kubernetes.batch import CONTROLLER_UID, JOB_NAME
from gilder.sandbox.kubernetes.client import Client, RefusedError
from gilder.sandbox.kubernetes.kubelet import PODS, Kubelet
from gilder.sandbox.kubernetes.objects import now
from gilder.sandbox.kubernetes.store import Object

JOBS = "batch/v1/jobs"
_RETRY_SECONDS = 0.5
_LONGEST_BACKOFF = 360.0
_ENDED = ("Succeeded", "Failed")


@dataclass
class _Book:
    """What is known about a Job beside its status: which pods are in its counts."""

    counted: set[str] = field(default_factory=set)
    fresh: set[str] = field(default_factory=set)  # in the counts once the status is written
    active: set[str] = field(default_factory=set)
    retry_at: float = 0.0
    complaint: str = ""


class JobController:
    """Looks at all Jobs at once; not for several threads."""

    def __init__(self, client: Client, kubelet: Kubelet, backoff: float) -> None:
        self._client = client
        self._kubelet = kubelet
        self._backoff = backoff
        self._books: dict[str, _Book] = {}

    def sync(self) -> float | None:
        """Bring everything on; the time at which to look again, if any is known."""
        pods = self._client.every(PODS, JOB_NAME)
        jobs = self._client.every(JOBS)  # after the pods: no pod is newer than its Job
        self._kubelet.keep({_uid(p) for p in pods})
        owned: dict[str, list[Object]] = {}
        for pod in pods:
            owned.setdefault(_controller(pod), []).append(pod)
        due: list[float | None] = []
        for job in jobs:
            try:
                due.append(self._sync(job, owned.get(_uid(job), [])))
            except (RefusedError, requests.RequestException):
                due.append(time.time() + _RETRY_SECONDS)
        there = {_uid(j) for j in jobs}
        for uid in owned.keys() - there - {""}:
            for pod in owned[uid]:
                self._collect(pod)
        self._books = {u: b for u, b in self._books.items() if u in there}
        return min((d for d in due if d is not None), default=None)

    def _sync(self, job: Object, pods: list[Object]) -> float | None:
        spec, status = job["spec"], job.get("status") or {}
        if "deletionTimestamp" in job["metadata"]:
            self._release(job, pods)
            return None
        end = jobstatus.holding(status, "Complete", "Failed")
        if end is not None:
            return self._expire(job, end)
        book = self._books.setdefault(_uid(job), _Book())
        status = self._counted(status, pods, book)
        active = [p for p in pods if _is_active(p)]
        if not spec.get("suspend"):
            status.setdefault("startTime", now())
        verdict = jobstatus.holding(status, *jobstatus.TERMINAL) or jobstatus.verdict(
            spec, status, active, now()
        )
        if verdict is not None:
            self._finish(job, status, active, book, verdict)
            return None
        due = self._manage(job, status, active, book)
        self._save(job, status, active, book)
        times = [t for t in (due, jobstatus.deadline(spec, status)) if t is not None]
        return min(times, default=None)

    def _counted(self, old: dict[str, Any], pods: list[Object], book: _Book) -> dict[str, Any]:
        """The status with the pods that have ended since; a pod that was deleted has failed."""
        status = dict(old)
        phases = {_uid(p): _phase(p) for p in pods}
        succeeded = {u for u, phase in phases.items() if phase == "Succeeded"} - book.counted
        failed = {_uid(p) for p in pods if not _is_active(p)} - succeeded - book.counted
        failed |= book.active - phases.keys() - book.counted
        book.fresh = succeeded | failed
        if succeeded:
            status["succeeded"] = status.get("succeeded", 0) + len(succeeded)
        if failed:
            status["failed"] = status.get("failed", 0) + len(failed)
            if self._backoff:
                delay = self._backoff * 2.0 ** (status["failed"] - 1)
                book.retry_at = time.time() + min(delay, _LONGEST_BACKOFF)
        return status

    def _manage(
        self, job: Object, status: dict[str, Any], active: list[Object], book: _Book
    ) -> float | None:
        """Suspend, resume, start pods; changes the status and the list of active pods."""
        if job["spec"].get("suspend"):
            for pod in active:
                book.counted.add(_uid(pod))  # not as a failure
                self._delete(pod)
            active.clear()
            if jobstatus.holding(status, "Suspended") is None:
                self._suspended(job, status, "True", "JobSuspended", "Job suspended")
            return None
        if jobstatus.holding(status, "Suspended") is not None:
            self._suspended(job, status, "False", "JobResumed", "Job resumed")
            status["startTime"] = now()
        want = jobstatus.wanted(job["spec"], status.get("succeeded", 0), len(active))
        for surplus in active[want:]:
            book.counted.add(_uid(surplus))
            self._delete(surplus)
        del active[want:]
        if len(active) == want:
            return None
        if time.time() < book.retry_at:
            return book.retry_at
        while len(active) < want:
            attempt = 1 + status.get("failed", 0) + status.get("succeeded", 0) + len(active)
            created = self._create(job, book, attempt)
            if created is None:
                return time.time() + _RETRY_SECONDS
            active.append(created)
        return None

    def _suspended(
        self, job: Object, status: dict[str, Any], value: str, reason: str, message: str
    ) -> None:
        condition = jobstatus.condition("Suspended", reason, message, now(), status=value)
        status["conditions"] = jobstatus.with_condition(status, condition)
        self._tell(job, "Normal", reason.removeprefix("Job"), message)

    def _create(self, job: Object, book: _Book, attempt: int) -> Object | None:
        """A new pod that runs; None when the API refuses it, as an Event says."""
        metadata, body = job["metadata"], _pod(job)
        try:
            self._check_account(metadata["namespace"], body)
            created = self._client.create(PODS, metadata["namespace"], body)
        except RefusedError as refusal:
            if book.complaint != refusal.message:
                book.complaint = refusal.message
                message = f"Error creating: {refusal.message}"
                self._tell(job, "Warning", "FailedCreate", message)
            return None
        self._tell(job, "Normal", "SuccessfulCreate", f"Created pod: {created['metadata']['name']}")
        self._kubelet.start({"apiVersion": "v1", **created}, job, attempt)
        return created

    def _check_account(self, namespace: str, pod: Object) -> None:
        """Admission of pods needs the service account; neither API here has that plugin."""
        name = pod["spec"].get("serviceAccountName") or "default"
        if name == "default" or self._client.find("v1/serviceaccounts", namespace, name):
            return
        message = (
            f'pods "{pod["metadata"]["generateName"]}" is forbidden: error looking up service '
            f'account {namespace}/{name}: serviceaccount "{name}" not found'
        )
        raise RefusedError(403, "Forbidden", message)

    def _finish(
        self,
        job: Object,
        status: dict[str, Any],
        active: list[Object],
        book: _Book,
        verdict: dict[str, Any],
    ) -> None:
        """First what the Job is about to become; what it is when no pod is left running."""
        if jobstatus.holding(status, verdict["type"]) is None:
            status["conditions"] = jobstatus.with_condition(status, verdict)
            job = self._save(job, status, active, book)
        status = dict(job["status"])
        for pod in active:
            self._delete(pod)
        if active and verdict["type"] == "FailureTarget":
            status["failed"] = status.get("failed", 0) + len(active)
            book.fresh = {_uid(p) for p in active}
        kind, since = jobstatus.TERMINAL[verdict["type"]], now()
        end = jobstatus.condition(kind, verdict["reason"], verdict["message"], since)
        status["conditions"] = jobstatus.with_condition(status, end)
        if kind == "Complete":
            status["completionTime"] = since
        self._save(job, status, [], book)
        if kind == "Complete":
            self._tell(job, "Normal", "Completed", "Job completed")
        else:
            self._tell(job, "Warning", end["reason"], end["message"])

    def _save(
        self, job: Object, status: dict[str, Any], active: list[Object], book: _Book
    ) -> Object:
        """Write the status if it differs; only then do its counts hold."""
        status = {k: v for k, v in status.items() if k != "active"}
        status |= {"ready": sum(_is_ready(p) for p in active), "terminating": 0}
        status |= {"uncountedTerminatedPods": {}}
        if active:
            status["active"] = len(active)
        if status != job.get("status"):
            saved = self._client.put_status(JOBS, {**job, "status": status})
            job = {"apiVersion": job["apiVersion"], **saved}
        book.counted |= book.fresh
        book.fresh = set()
        book.active = {_uid(p) for p in active}
        return job

    def _expire(self, job: Object, end: dict[str, Any]) -> float | None:
        seconds = job["spec"].get("ttlSecondsAfterFinished")
        if seconds is None:
            return None
        due = jobstatus.seconds_of(end["lastTransitionTime"]) + float(seconds)
        if time.time() < due:
            return due
        self._client.delete(JOBS, job, propagationPolicy="Foreground")
        return None

    def _release(self, job: Object, pods: list[Object]) -> None:
        """The garbage collector's part in deleting a Job in the foreground or without its pods."""
        finalizers = job["metadata"].get("finalizers") or []
        left = [f for f in finalizers if f not in ("orphan", "foregroundDeletion")]
        if left == finalizers:
            return
        for pod in pods:
            if "orphan" in finalizers:
                references = pod["metadata"]["ownerReferences"]
                others = [r for r in references if r["uid"] != _uid(job)]
                self._client.merge(PODS, pod, {"metadata": {"ownerReferences": others}})
            else:
                self._delete(pod)
        version = job["metadata"]["resourceVersion"]
        self._client.merge(
            JOBS, job, {"metadata": {"finalizers": left, "resourceVersion": version}}
        )

    def _collect(self, pod: Object) -> None:
        """Delete a pod whose Job is gone, unless it was set free meanwhile."""
        metadata = pod["metadata"]
        try:
            current = self._client.find(PODS, metadata["namespace"], metadata["name"])
            if current is not None and _controller(current) == _controller(pod):
                self._delete(pod)
        except (RefusedError, requests.RequestException):
            return  # the next look finds it again

    def _delete(self, pod: Object) -> None:
        self._client.delete(PODS, pod, gracePeriodSeconds=0)

    def _tell(self, job: Object, kind: str, reason: str, message: str) -> None:
        self._client.tell(job, kind, reason, message, "job-controller")


def _pod(job: Object) -> Object:
    metadata, template = job["metadata"], job["spec"]["template"]
    about = template.get("metadata") or {}
    ours = {
        JOB_NAME: metadata["name"],
        "job-name": metadata["name"],
        CONTROLLER_UID: metadata["uid"],
        "controller-uid": metadata["uid"],
    }
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{metadata['name']}-",
            "labels": {**(about.get("labels") or {}), **ours},
            "annotations": about.get("annotations") or {},
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }


def _uid(obj: Object) -> str:
    return str(obj["metadata"]["uid"])


def _phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase", "Pending"))


def _is_active(pod: Object) -> bool:
    return _phase(pod) not in _ENDED and "deletionTimestamp" not in pod["metadata"]


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _controller(pod: Object) -> str:
    """The uid of the Job that the pod belongs to; empty when it belongs to none."""
    for reference in pod["metadata"].get("ownerReferences") or []:
        if reference.get("controller") and reference.get("kind") == "Job":
            return str(reference["uid"])
    return ""
