"""What happens to an object between a client's request and the store: decode, default, validate."""

import base64
import json
from typing import Any

from gilder.sandbox.kubernetes import definitions, events, rules, validation
from gilder.sandbox.kubernetes.errors import (
    ApiError,
    Cause,
    bad_request,
    invalid,
    invalid_value,
    plain,
)
from gilder.sandbox.kubernetes.kinds import CRD, EVENT, Kind
from gilder.sandbox.kubernetes.objects import check_metadata, shape_error
from gilder.sandbox.kubernetes.schema import default, prune
from gilder.sandbox.kubernetes.store import Object

# What etcd takes in one request.
_OBJECT_LIMIT = 1_572_864

_UNCHECKED = Cause(
    "<nil>",
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
)


def decode(
    body: Any, kind: Kind, field_validation: str, *, patched: bool = False
) -> tuple[Object, list[str]]:
    """The pruned and defaulted object, with the warnings about what was dropped."""
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized (must be of type object)")
    named, version = body.get("kind"), body.get("apiVersion")
    if version and version != kind.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({kind.api_version})"
        )
    if named and named != kind.kind:
        raise bad_request(
            f"the kind in the data ({named}) does not match the expected kind ({kind.kind})"
        )
    metadata = body.get("metadata")
    wrong = shape_error({} if metadata is None else metadata)
    if wrong:
        raise bad_request(f"{kind.kind} in version {kind.version} cannot be handled: {wrong}")
    obj = {
        **body,
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {**(metadata or {})},
    }
    if kind == CRD:
        return definitions.completed(obj), []
    if (kind.group, kind.plural) == ("", "secrets"):
        return _secret(obj), []
    if kind.schema is None:
        return obj, []
    obj, dropped = prune(obj, kind.schema)
    obj = default(obj, kind.schema)
    unknown = [f'unknown field "{path}"' for path in dropped]
    if unknown and field_validation == "Strict":
        text = "strict decoding error: " + ", ".join(unknown)
        if patched:
            raise invalid("", "", "", [invalid_value("patch", json.dumps(body), text)])
        raise bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {text}'
        )
    return obj, [] if field_validation == "Ignore" else unknown


def _secret(obj: Object) -> Object:
    """stringData is write-only: it is stored as data."""
    given = {k: base64.b64encode(v.encode()).decode() for k, v in obj.pop("stringData", {}).items()}
    if given:
        obj["data"] = {**(obj.get("data") or {}), **given}
    obj.setdefault("type", "Opaque")
    return obj


def check(obj: Object, old: Object | None, kind: Kind) -> None:
    """Refuse an object that must not be stored."""
    causes = check_metadata(obj, kind, old)
    if kind == CRD:
        causes += definitions.check(obj, old)
    if kind.storage == EVENT.storage:
        causes += events.check(obj)
    if kind.schema is not None:
        found = validation.validate(obj, kind.schema)
        causes += found
        if any(c.blocking for c in found):
            causes.append(_UNCHECKED)
        else:
            causes += rules.evaluate(obj, old, kind.schema, "")
    if causes:
        raise invalid(kind.group, kind.kind, obj["metadata"].get("name", ""), causes)
    if len(json.dumps(obj)) > _OBJECT_LIMIT:
        raise too_large()


def too_large() -> ApiError:
    return plain(500, "etcdserver: request is too large")
