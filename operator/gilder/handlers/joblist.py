"""Kubernetes Jobs of ours as last listed, by the GoldenImage that they build."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from gilder.api.names import LABEL_BUILD
from gilder.core.work import SeenJob
from gilder.handlers.store import Key
from gilder.reconcile.ports import Jobs


class JobList:
    """Replaced as a whole by each listing; safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._jobs: dict[Key, tuple[SeenJob, ...]] = {}
        self._made: dict[Key, tuple[SeenJob, float]] = {}  # by us, and when

    def now(self) -> float:
        """For `replace`: when its listing was begun."""
        return self._clock()

    def replace(self, bodies: Iterable[Mapping[str, Any]], began: float) -> set[Key]:
        """Take in a listing; the GoldenImages whose Jobs differ from before."""
        found: dict[Key, list[SeenJob]] = {}
        for body in bodies:
            if (parsed := parse(body)) is not None:
                found.setdefault(parsed[0], []).append(parsed[1])
        with self._lock:
            # What was made while the listing was under way may be missing from it.
            self._made = {k: v for k, v in self._made.items() if v[1] >= began}
            for key, (job, _) in self._made.items():
                if job.name not in {j.name for j in found.get(key, ())}:
                    found.setdefault(key, []).append(job)
            now = {k: tuple(sorted(v, key=lambda j: j.name)) for k, v in found.items()}
            before, self._jobs = self._jobs, now
        return {k for k in before.keys() | now.keys() if before.get(k) != now.get(k)}

    def add(self, manifest: Mapping[str, Any]) -> None:
        """A Job was made just now."""
        if (parsed := parse(manifest)) is None:
            return
        key, job = parsed
        with self._lock:
            others = tuple(j for j in self._jobs.get(key, ()) if j.name != job.name)
            self._jobs[key] = (*others, job)
            self._made[key] = (job, self._clock())

    def leave(self, namespace: str, name: str) -> None:
        """A Job was deleted just now; it is on its way out until a listing lacks it."""
        with self._lock:
            for key, jobs in self._jobs.items():
                if key.namespace == namespace:
                    self._jobs[key] = tuple(
                        replace(j, deleting=True) if j.name == name else j for j in jobs
                    )

    def of(self, key: Key) -> tuple[SeenJob, ...]:
        with self._lock:
            return self._jobs.get(key, ())

    def running(self) -> bool:
        """Whether some Job has not ended, or is on its way out."""
        with self._lock:
            return any(j.state == "running" or j.deleting for v in self._jobs.values() for j in v)


def parse(body: Mapping[str, Any]) -> tuple[Key, SeenJob] | None:
    """A Job with the GoldenImage that owns it; None for a Job of nobody."""
    meta, status = body["metadata"], body.get("status") or {}
    owner = next(
        (o for o in meta.get("ownerReferences") or [] if o.get("kind") == "GoldenImage"), None
    )
    build = (meta.get("labels") or {}).get(LABEL_BUILD, "")
    if owner is None or not build:
        return None
    conditions = {c.get("type"): c for c in status.get("conditions") or []}
    failed = conditions.get("Failed", {})
    over = {t for t in ("Failed", "Complete") if conditions.get(t, {}).get("status") == "True"}
    message = ": ".join(t for t in (failed.get("reason"), failed.get("message")) if t)
    key = Key("GoldenImage", meta.get("namespace", "default"), str(owner.get("name", "")))
    return key, SeenJob(
        name=meta["name"],
        build=build,
        owner=str(owner.get("uid", "")),
        state="failed" if "Failed" in over else "succeeded" if "Complete" in over else "running",
        message=message if "Failed" in over else "",
        deleting=bool(meta.get("deletionTimestamp")),
    )


class ListedJobs:
    """Jobs of the cluster, as gilder.reconcile.ports.Jobs; what is done to them is noted."""

    def __init__(self, jobs: Jobs, known: JobList) -> None:
        self._jobs = jobs
        self._known = known

    def create(self, manifest: Mapping[str, Any]) -> str:
        name = self._jobs.create(manifest)
        self._known.add(manifest)
        return name

    def delete(self, namespace: str, name: str) -> None:
        self._jobs.delete(namespace, name)
        self._known.leave(namespace, name)

    def log(self, namespace: str, name: str) -> str:
        return self._jobs.log(namespace, name)
