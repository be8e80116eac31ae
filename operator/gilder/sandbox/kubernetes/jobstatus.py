"""The status of a Job: counts, conditions, and when it has succeeded or failed."""

import datetime
import time
from collections.abc import Mapping, Sequence
from typing import Any

from gilder.sandbox.kubernetes.store import Object

# What a Job is about to become, and what it then is.
TERMINAL = {"SuccessCriteriaMet": "Complete", "FailureTarget": "Failed"}

Condition = dict[str, Any]


def condition(kind: str, reason: str, message: str, now: str, *, status: str = "True") -> Condition:
    return {
        "type": kind,
        "status": status,
        "lastProbeTime": now,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }


def holding(status: Mapping[str, Any], *kinds: str) -> Condition | None:
    """The first true condition of these types."""
    for found in status.get("conditions") or []:
        if found["type"] in kinds and found["status"] == "True":
            return dict(found)
    return None


def with_condition(status: Mapping[str, Any], new: Condition) -> list[Condition]:
    """The conditions with this one, in the place of an older one of its type."""
    old = status.get("conditions") or []
    if all(c["type"] != new["type"] for c in old):
        return [*old, new]
    return [new if c["type"] == new["type"] else c for c in old]


def verdict(
    spec: Mapping[str, Any],
    status: Mapping[str, Any],
    active: Sequence[Object],
    now: str,
) -> Condition | None:
    """The interim condition of a Job that has come to its end."""
    failed, succeeded = status.get("failed", 0), status.get("succeeded", 0)
    limit = spec.get("backoffLimit", 6)
    if failed > limit or _restarted_too_often(spec, active, limit):
        message = "Job has reached the specified backoff limit"
        return condition("FailureTarget", "BackoffLimitExceeded", message, now)
    due = deadline(spec, status)
    if due is not None and time.time() >= due:
        message = "Job was active longer than specified deadline"
        return condition("FailureTarget", "DeadlineExceeded", message, now)
    completions = spec.get("completions")
    enough = succeeded > 0 if completions is None else succeeded >= completions
    if enough and not active:
        message = "Reached expected number of succeeded pods"
        return condition("SuccessCriteriaMet", "CompletionsReached", message, now)
    return None


def deadline(spec: Mapping[str, Any], status: Mapping[str, Any]) -> float | None:
    """When the Job has been active for too long."""
    seconds, start = spec.get("activeDeadlineSeconds"), status.get("startTime")
    if seconds is None or not start or spec.get("suspend"):
        return None
    return seconds_of(start) + float(seconds)


def wanted(spec: Mapping[str, Any], succeeded: int, active: int) -> int:
    """How many pods shall be active."""
    parallelism = int(spec.get("parallelism", 1))
    completions = spec.get("completions")
    if completions is None:
        return active if succeeded else parallelism
    return max(0, min(parallelism, int(completions) - succeeded))


def seconds_of(timestamp: str) -> float:
    return datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def _restarted_too_often(spec: Mapping[str, Any], active: Sequence[Object], limit: int) -> bool:
    """With restartPolicy OnFailure, restarts inside the active pods count."""
    if spec["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(
        int(c.get("restartCount", 0))
        for pod in active
        for c in (pod.get("status") or {}).get("containerStatuses") or []
    )
    return restarts >= max(limit, 1)
