"""Object metadata: what the server sets, keeps and refuses."""

import copy
import datetime
import random
import re
import uuid
from typing import Any

from gilder.sandbox.kubernetes.errors import Cause, forbidden_field, invalid_value, required
from gilder.sandbox.kubernetes.kinds import Kind
from gilder.sandbox.kubernetes.store import Key, Object

_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
    "'-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', "
    f"regex used for validation is '{_SUBDOMAIN}')"
)
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', "
    f"regex used for validation is '{_LABEL}')"
)
_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or "
    f"'my_value',  or '12345', regex used for validation is '{_VALUE}')"
)
_NAME_PART = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_NAME_PART_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', "
    f"regex used for validation is '{_NAME_PART}')"
)
_ANNOTATIONS_LIMIT = 256 * 1024
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def key_of(obj: Object) -> Key:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def initialised(obj: Object, kind: Kind, namespace: str) -> Object:
    """A new object with the metadata that the server sets."""
    metadata = dict(obj.get("metadata") or {})
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields"):
        metadata.pop(name, None)
    if not metadata.get("name") and metadata.get("generateName"):
        suffix = "".join(random.choice(_SUFFIX) for _ in range(5))
        metadata["name"] = metadata["generateName"][:58] + suffix
    if namespace:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = now()
    metadata.pop("generation", None)
    if kind.generation:
        metadata["generation"] = 1
    _drop_empty(metadata)
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": metadata,
        **{k: v for k, v in obj.items() if k not in ("apiVersion", "kind", "metadata")},
    }


def _drop_empty(metadata: dict[str, Any]) -> None:
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if name in metadata and not metadata[name]:
            del metadata[name]


def carried_over(new: Object, old: Object, kind: Kind) -> Object:
    """An update of the main resource with the metadata that a client cannot change."""
    metadata = dict(new.get("metadata") or {})
    before = old["metadata"]
    for name in ("managedFields", "selfLink"):
        metadata.pop(name, None)
    for name in (
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "generateName",
    ):
        if name in before:
            metadata[name] = before[name]
        else:
            metadata.pop(name, None)
    _drop_empty(metadata)
    result = {**new, "metadata": metadata}
    if kind.status:
        result.pop("status", None)
        if "status" in old:
            result["status"] = old["status"]
    return result


def with_status(new: Object, old: Object) -> Object:
    """An update of the status subresource: nothing but status changes."""
    result = {k: v for k, v in old.items() if k != "status"}
    if "status" in new:
        result["status"] = new["status"]
    return result


def next_generation(new: Object, old: Object, kind: Kind) -> Object:
    """Bump the generation when something beside metadata and status changed."""
    if not kind.generation or _content(new, kind) == _content(old, kind):
        return new
    metadata = {**new["metadata"], "generation": old["metadata"].get("generation", 0) + 1}
    return {**new, "metadata": metadata}


def _content(obj: Object, kind: Kind) -> Object:
    ignored = {"apiVersion", "kind", "metadata"} | ({"status"} if kind.status else set())
    return {k: v for k, v in obj.items() if k not in ignored}


def marked_deleted(obj: Object) -> Object:
    """The object that waits for its finalizers."""
    metadata = {**obj["metadata"], "deletionTimestamp": now(), "deletionGracePeriodSeconds": 0}
    if "generation" in metadata:
        metadata["generation"] += 1
    return {**copy.deepcopy(obj), "metadata": metadata}


def check_metadata(obj: Object, kind: Kind, old: Object | None) -> list[Cause]:
    """What is wrong with the metadata of an object that is to be stored."""
    metadata = obj["metadata"]
    name = metadata.get("name", "")
    causes = []
    if not name:
        causes.append(required("metadata.name", "name or generateName is required"))
    elif old is None:
        causes += _check_name(name, kind)
    causes += _check_labels(metadata.get("labels") or {})
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        causes += _check_key(key.lower(), "metadata.annotations")
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > _ANNOTATIONS_LIMIT:
        text = f"Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes"
        causes.append(Cause("metadata.annotations", "FieldValueTooLong", text))
    if old is not None and "deletionTimestamp" in old["metadata"]:
        known = old["metadata"].get("finalizers") or []
        added = [f for f in metadata.get("finalizers") or [] if f not in known]
        if added:
            listed = ", ".join(f'"{f}"' for f in added)
            detail = (
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{listed}}}"
            )
            causes.append(forbidden_field("metadata.finalizers", detail))
    return causes


def _check_name(name: str, kind: Kind) -> list[Cause]:
    at = "metadata.name"
    if not kind.dns_name:
        if name in (".", "..") or "/" in name or "%" in name:
            return [invalid_value(at, name, "may not contain '/' or '%' nor be '.' or '..'")]
        return []
    limit, pattern, text = 253, _SUBDOMAIN, _SUBDOMAIN_TEXT
    if (kind.group, kind.plural) == ("", "namespaces"):
        limit, pattern, text = 63, _LABEL, _LABEL_TEXT
    causes = []
    if len(name) > limit:
        causes.append(invalid_value(at, name, f"must be no more than {limit} characters"))
    if not re.fullmatch(pattern, name):
        causes.append(invalid_value(at, name, text))
    return causes


def _check_labels(labels: dict[str, str]) -> list[Cause]:
    causes = []
    for key, value in labels.items():
        causes += _check_key(key, "metadata.labels")
        if len(value) > 63:
            causes.append(
                invalid_value("metadata.labels", value, "must be no more than 63 characters")
            )
        if not re.fullmatch(_VALUE, value):
            causes.append(invalid_value("metadata.labels", value, _VALUE_TEXT))
    return causes


def _check_key(key: str, at: str) -> list[Cause]:
    prefix, slash, name = key.rpartition("/")
    causes = []
    if slash and (not re.fullmatch(_SUBDOMAIN, prefix) or len(prefix) > 253):
        causes.append(invalid_value(at, key, f"prefix part {_SUBDOMAIN_TEXT}"))
    if len(name) > 63:
        causes.append(invalid_value(at, key, "name part must be no more than 63 characters"))
    if not re.fullmatch(_NAME_PART, name):
        causes.append(invalid_value(at, key, _NAME_PART_TEXT))
    return causes


def shape_error(metadata: Any) -> str:
    """Why metadata cannot be decoded, as the Go decoder would say; empty when it can."""
    if not isinstance(metadata, dict):
        return "json: cannot unmarshal into Go struct field .metadata of type v1.ObjectMeta"
    for name in ("labels", "annotations"):
        entries = metadata.get(name)
        if entries is None:
            continue
        if not isinstance(entries, dict) or not all(isinstance(v, str) for v in entries.values()):
            return (
                "json: cannot unmarshal value into Go struct field "
                f"ObjectMeta.metadata.{name} of type string"
            )
    for name in ("name", "namespace", "generateName", "resourceVersion", "uid"):
        if not isinstance(metadata.get(name, ""), str | None):
            return (
                "json: cannot unmarshal value into Go struct field "
                f"ObjectMeta.metadata.{name} of type string"
            )
    finalizers = metadata.get("finalizers")
    if finalizers is not None and not (
        isinstance(finalizers, list) and all(isinstance(f, str) for f in finalizers)
    ):
        return (
            "json: cannot unmarshal value into Go struct field "
            "ObjectMeta.metadata.finalizers of type []string"
        )
    return ""
