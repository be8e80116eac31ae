"""How a stored object looks in the version it is asked for."""

from gilder.sandbox.kubernetes.kinds import Kind
from gilder.sandbox.kubernetes.store import Object

# events.k8s.io calls the same fields of an Event by other names.
_EVENT_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_EVENT_FIELDS = {new: old for old, new in _EVENT_NAMES.items()}


def served(obj: Object, kind: Kind) -> Object:
    """A stored object as a client of this kind sees it."""
    if kind.view_of:
        obj = {_EVENT_NAMES.get(k, k): v for k, v in obj.items()}
    if obj.get("apiVersion") == kind.api_version and obj.get("kind") == kind.kind:
        return obj
    return {**obj, "apiVersion": kind.api_version, "kind": kind.kind}


def stored(obj: Object, kind: Kind) -> Object:
    """A client's object as it is stored."""
    if not kind.view_of:
        return obj
    return {**{_EVENT_FIELDS.get(k, k): v for k, v in obj.items()}, "apiVersion": "v1"}
