"""Validation of Events, which have rules that no schema says."""

from gilder.sandbox.kubernetes.errors import Cause, invalid_value, required
from gilder.sandbox.kubernetes.store import Object

_CLUSTER_NAMESPACES = ("default", "kube-system")
_MESSAGE_LIMIT = 1024


def check(event: Object) -> list[Cause]:
    """What the API server refuses about an Event in its core/v1 form."""
    causes = []
    namespace = event["metadata"].get("namespace", "")
    about = (event.get("involvedObject") or {}).get("namespace") or ""
    if about != namespace and (about or namespace not in _CLUSTER_NAMESPACES):
        detail = "does not match event.namespace"
        causes.append(invalid_value("involvedObject.namespace", about, detail))
    if not event.get("eventTime"):
        return causes
    # An Event with eventTime is one of the new kind, which is checked strictly.
    causes += [
        required(name)
        for name in ("reportingComponent", "reportingInstance", "action", "reason")
        if not event.get(name)
    ]
    if event.get("type") not in ("Normal", "Warning"):
        causes.append(invalid_value("type", event.get("type", ""), "has invalid value"))
    if len(event.get("message") or "") > _MESSAGE_LIMIT:
        detail = f"can have at most {_MESSAGE_LIMIT} characters"
        causes.append(invalid_value("message", "", detail))
    return causes
