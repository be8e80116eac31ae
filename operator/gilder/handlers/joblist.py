"""Kubernetes Jobs of ours as last listed, by the GoldenImage that they build."""

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from gilder.api.names import LABEL_BUILD
from gilder.core.work import SeenJob
from gilder.handlers.store import Key


class JobList:
    """Replaced as a whole by each listing; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[Key, tuple[SeenJob, ...]] = {}

    def replace(self, bodies: Iterable[Mapping[str, Any]]) -> set[Key]:
        """Take in a listing; the GoldenImages whose Jobs differ from before."""
        found: dict[Key, list[SeenJob]] = {}
        for body in bodies:
            if (parsed := parse(body)) is not None:
                found.setdefault(parsed[0], []).append(parsed[1])
        now = {k: tuple(sorted(v, key=lambda j: j.name)) for k, v in found.items()}
        with self._lock:
            before, self._jobs = self._jobs, now
        return {k for k in before.keys() | now.keys() if before.get(k) != now.get(k)}

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
