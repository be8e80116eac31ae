"""Defaults and validation of Jobs, which the API server has and no schema here says."""

from typing import Any

from gilder.sandbox.kubernetes.errors import Cause, invalid_value, required
from gilder.sandbox.kubernetes.store import Object

JOB_NAME = "batch.kubernetes.io/job-name"
CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
ORPHAN_WARNING = (
    "child pods are preserved by default when jobs are deleted; "
    "set propagationPolicy=Background to remove them or "
    "set propagationPolicy=Orphan to suppress this warning"
)

_IMMUTABLE = ("completions", "completionMode", "selector", "template")
_LABEL_LIMIT = 63


def created(job: Object) -> Object:
    """A new Job, with the selector and the labels by which its pods are found."""
    job = defaulted(job)
    metadata, spec = job["metadata"], job["spec"]
    template = spec.get("template")
    if spec.get("manualSelector") or not isinstance(template, dict):
        return job
    uid, name = metadata["uid"], metadata.get("name", "")
    ours = {CONTROLLER_UID: uid, JOB_NAME: name, "controller-uid": uid, "job-name": name}
    about = template.get("metadata") or {}
    labels = {**(about.get("labels") or {}), **ours}
    spec = {
        **spec,
        "selector": {"matchLabels": {CONTROLLER_UID: uid}},
        "template": {**template, "metadata": {**about, "labels": labels}},
    }
    return {**job, "spec": spec}


def defaulted(job: Object) -> Object:
    spec = {k: v for k, v in (job.get("spec") or {}).items() if v is not None}
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    defaults = {
        "parallelism": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed",
    }
    return {**job, "spec": {**defaults, **spec}}


def check(job: Object, old: Object | None) -> list[Cause]:
    """What the API server refuses about a Job, as far as a template's author meets it."""
    spec = job["spec"]
    causes = _numbers(spec)
    if old is None:
        return causes + _template(job["metadata"].get("name", ""), spec.get("template"))
    for name in _IMMUTABLE:
        if spec.get(name) != old["spec"].get(name):
            causes.append(invalid_value(f"spec.{name}", spec.get(name), "field is immutable"))
    return causes


def _numbers(spec: Any) -> list[Cause]:
    causes = []
    for name in (
        "parallelism",
        "completions",
        "backoffLimit",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
    ):
        value = spec.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            causes.append(invalid_value(f"spec.{name}", value, "must be an integer"))
        elif value < 0:
            detail = "must be greater than or equal to 0"
            causes.append(invalid_value(f"spec.{name}", value, detail))
    return causes


def _template(name: str, template: Any) -> list[Cause]:
    causes = []
    if len(name) > _LABEL_LIMIT:
        detail = f"must be no more than {_LABEL_LIMIT} characters"
        causes.append(invalid_value("spec.template.labels", name, detail))
    spec = (template or {}).get("spec") or {}
    at = "spec.template.spec"
    if not spec.get("containers"):
        causes.append(required(f"{at}.containers"))
    for i, container in enumerate(spec.get("containers") or []):
        causes += [
            required(f"{at}.containers[{i}].{field}")
            for field in ("name", "image")
            if not container.get(field)
        ]
    policy = spec.get("restartPolicy")
    if policy is None:
        detail = 'valid values: "OnFailure", "Never"'
        causes.append(required(f"{at}.restartPolicy", detail))
    elif policy not in ("OnFailure", "Never"):
        text = f'Unsupported value: "{policy}": supported values: "OnFailure", "Never"'
        causes.append(Cause(f"{at}.restartPolicy", "FieldValueNotSupported", text))
    return causes
