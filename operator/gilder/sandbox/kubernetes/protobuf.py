"""Kubernetes protobuf bodies of the few kinds that kubectl never sends as JSON."""

import base64
import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gilder.sandbox.kubernetes.errors import ApiError, bad_request

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"


@dataclass(frozen=True)
class _Field:
    """How one field is written in JSON; `type` is a scalar's name or a message."""

    name: str
    type: "str | _Message" = "string"
    repeated: bool = False


@dataclass(frozen=True)
class _Message:
    fields: dict[int, _Field] = field(default_factory=dict)


def _strings(*names: str) -> _Message:
    return _Message({i: _Field(name) for i, name in enumerate(names, 1)})


_OWNER = _Message(
    {
        1: _Field("kind"),
        3: _Field("name"),
        4: _Field("uid"),
        5: _Field("apiVersion"),
        6: _Field("controller", "bool"),
        7: _Field("blockOwnerDeletion", "bool"),
    }
)
_META = _Message(
    {
        1: _Field("name"),
        2: _Field("generateName"),
        3: _Field("namespace"),
        5: _Field("uid"),
        6: _Field("resourceVersion"),
        7: _Field("generation", "int"),
        8: _Field("creationTimestamp", "time"),
        11: _Field("labels", "map"),
        12: _Field("annotations", "map"),
        13: _Field("ownerReferences", _OWNER, repeated=True),
        14: _Field("finalizers", repeated=True),
    }
)
_ACCESS = _Message(
    {
        1: _Field(
            "resourceAttributes",
            _strings("namespace", "verb", "group", "version", "resource", "subresource", "name"),
        ),
        2: _Field("nonResourceAttributes", _strings("path", "verb")),
    }
)
_KINDS: dict[tuple[str, str], dict[int, _Field]] = {
    ("v1", "Namespace"): {
        2: _Field("spec", _Message({1: _Field("finalizers", repeated=True)})),
        3: _Field("status", _strings("phase")),
    },
    ("v1", "ConfigMap"): {
        2: _Field("data", "map"),
        3: _Field("binaryData", "bytes map"),
        4: _Field("immutable", "bool"),
    },
    ("v1", "Secret"): {
        2: _Field("data", "bytes map"),
        3: _Field("type"),
        4: _Field("stringData", "map"),
        5: _Field("immutable", "bool"),
    },
    ("v1", "ServiceAccount"): {4: _Field("automountServiceAccountToken", "bool")},
    ("authorization.k8s.io/v1", "SelfSubjectAccessReview"): {2: _Field("spec", _ACCESS)},
    ("authorization.k8s.io/v1", "SelfSubjectRulesReview"): {
        2: _Field("spec", _strings("namespace"))
    },
    ("authentication.k8s.io/v1", "SelfSubjectReview"): {},
}


def decode(content: bytes) -> dict[str, Any]:
    """The JSON form of a body."""
    if not content.startswith(_MAGIC):
        raise bad_request("provided data does not appear to be a protobuf message")
    try:
        return _decode(content[len(_MAGIC) :])
    except (IndexError, UnicodeDecodeError) as error:
        raise bad_request(f"malformed protobuf message: {error}") from error


def _decode(content: bytes) -> dict[str, Any]:
    envelope = dict(_wire(content))
    about = dict(_wire(envelope.get(1, b"")))
    version, kind = about.get(1, b"").decode(), about.get(2, b"").decode()
    known = _KINDS.get((version, kind))
    if known is None:
        raise ApiError(
            415,
            "UnsupportedMediaType",
            f"this emulation takes {version} {kind} as JSON or YAML only, not as protobuf: "
            "use kubectl apply -f",
        )
    message = _Message({1: _Field("metadata", _META), **known})
    return {"apiVersion": version, "kind": kind, **_message(envelope.get(2, b""), message)}


def _wire(content: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers with their raw values: int or bytes."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value: Any
            value, at = _varint(content, at)
        elif wire == 2:
            size, at = _varint(content, at)
            if at + size > len(content):
                raise IndexError("truncated field")
            value, at = content[at : at + size], at + size
        else:
            raise bad_request(f"malformed protobuf message: wire type {wire}")
        yield number, value


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7


def _message(content: bytes, message: _Message) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for number, raw in _wire(content):
        known = message.fields.get(number)
        if known is None:
            continue
        if known.type in ("map", "bytes map"):
            key, value = _entry(raw, binary=known.type == "bytes map")
            result.setdefault(known.name, {})[key] = value
            continue
        value = _value(raw, known.type)
        if known.repeated:
            result.setdefault(known.name, []).append(value)
        elif value not in ("", None):
            result[known.name] = value
    return result


def _entry(raw: bytes, *, binary: bool) -> tuple[str, str]:
    parts = dict(_wire(raw))
    value = parts.get(2, b"")
    text = base64.b64encode(value).decode() if binary else value.decode()
    return parts.get(1, b"").decode(), text


def _value(raw: Any, kind: "str | _Message") -> Any:
    if isinstance(kind, _Message):
        return _message(raw, kind)
    if kind == "bool":
        return bool(raw)
    if kind == "int":
        return raw or None
    if kind == "time":
        seconds = dict(_wire(raw)).get(1)
        if not seconds or seconds >> 63:  # Go's zero time is long before 1970
            return None
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return raw.decode()
