"""CustomResourceDefinitions: from a definition to the kinds it serves."""

from typing import Any

from gilder.sandbox.kubernetes.errors import Cause, forbidden_field
from gilder.sandbox.kubernetes.kinds import AGE, Column, Kind
from gilder.sandbox.kubernetes.objects import now
from gilder.sandbox.kubernetes.store import Object
from gilder.sandbox.kubernetes.structural import check_definition

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


def completed(crd: Object) -> Object:
    """A CRD with the defaults of its own API."""
    spec = dict(crd.get("spec") or {})
    names = dict(spec.get("names") or {})
    kind = names.get("kind", "")
    names.setdefault("singular", kind.lower())
    names.setdefault("listKind", f"{kind}List")
    spec["names"] = names
    spec.setdefault("conversion", {"strategy": "None"})
    return {**crd, "spec": spec}


def check(crd: Object, old: Object | None) -> list[Cause]:
    """What is wrong with a CRD, alone and as a change of another."""
    causes = check_definition(crd)
    if old is None or causes:
        return causes
    for field in ("group", "scope"):
        if crd["spec"][field] != old["spec"][field]:
            causes.append(forbidden_field(f"spec.{field}", "field is immutable"))
    for field in ("plural", "kind"):
        if crd["spec"]["names"][field] != old["spec"]["names"][field]:
            causes.append(forbidden_field(f"spec.names.{field}", "field is immutable"))
    return causes


def established(crd: Object) -> Object:
    """The CRD with the finalizer and status that its controllers would give it."""
    metadata = dict(crd["metadata"])
    finalizers = metadata.get("finalizers") or []
    if "deletionTimestamp" not in metadata and CLEANUP not in finalizers:
        metadata["finalizers"] = [*finalizers, CLEANUP]
    status = dict(crd.get("status") or {})
    storage = next(v["name"] for v in crd["spec"]["versions"] if v.get("storage"))
    stored = status.get("storedVersions") or []
    status["storedVersions"] = stored if storage in stored else [*stored, storage]
    status["acceptedNames"] = crd["spec"]["names"]
    if not status.get("conditions"):
        status["conditions"] = [
            _condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            _condition("Established", "InitialNamesAccepted", "the initial names were accepted"),
        ]
    return {**crd, "metadata": metadata, "status": status}


def terminating(crd: Object) -> Object:
    """A CRD whose objects are being removed."""
    condition = _condition(
        "Terminating", "InstanceDeletionInProgress", "CustomResource deletion is in progress"
    )
    status = crd.get("status") or {}
    others = [c for c in status.get("conditions", []) if c["type"] != "Terminating"]
    return {**crd, "status": {**status, "conditions": [*others, condition]}}


def _condition(kind: str, reason: str, message: str) -> dict[str, str]:
    return {
        "type": kind,
        "status": "True",
        "lastTransitionTime": now(),
        "reason": reason,
        "message": message,
    }


def kinds_of(crd: Object) -> list[Kind]:
    """The kinds that a CRD serves, one a served version."""
    spec = crd["spec"]
    names = spec["names"]
    return [
        Kind(
            group=spec["group"],
            version=version["name"],
            kind=names["kind"],
            plural=names["plural"],
            singular=names["singular"],
            list_kind=names["listKind"],
            namespaced=spec["scope"] == "Namespaced",
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            status="status" in (version.get("subresources") or {}),
            generation=True,
            unconditional_update=False,
            fields=tuple(f["jsonPath"].lstrip(".") for f in version.get("selectableFields") or ()),
            columns=_columns(version),
            schema=version["schema"]["openAPIV3Schema"],
            custom=True,
        )
        for version in spec["versions"]
        if version.get("served")
    ]


def _columns(version: dict[str, Any]) -> tuple[Column, ...]:
    given = version.get("additionalPrinterColumns")
    if not given:
        return (AGE,)
    return tuple(
        Column(
            name=c["name"],
            type=c["type"],
            json_path=c["jsonPath"],
            priority=c.get("priority", 0),
            description=c.get("description", ""),
            format=c.get("format", ""),
        )
        for c in given
    )
