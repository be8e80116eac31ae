"""Structural schemas: pruning of unknown fields and defaulting."""

import copy
from typing import Any

Schema = dict[str, Any]

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_EMBEDDED = "x-kubernetes-embedded-resource"
_TYPE_META = ("apiVersion", "kind", "metadata")
_OBJECT_META = frozenset(
    {
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


def prune(obj: dict[str, Any], schema: Schema) -> tuple[dict[str, Any], list[str]]:
    """The object without fields that the schema does not know, and the paths of those fields."""
    dropped: list[str] = []
    root = {**schema, "properties": {**schema.get("properties", {})}}
    for name in _TYPE_META:
        root["properties"][name] = {_PRESERVE: True}
    result = _prune(obj, root, "", dropped)
    metadata = result.get("metadata")
    if isinstance(metadata, dict):
        for name in [n for n in metadata if n not in _OBJECT_META]:
            del metadata[name]
            dropped.append(f"metadata.{name}")
    return result, dropped


def _prune(value: Any, schema: Schema, path: str, dropped: list[str]) -> Any:
    if isinstance(value, list):
        items = schema.get("items")
        if not isinstance(items, dict):
            return copy.deepcopy(value)
        return [_prune(v, items, f"{path}[{i}]", dropped) for i, v in enumerate(value)]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    additional = schema.get("additionalProperties")
    preserve = schema.get(_PRESERVE, False)
    embedded = schema.get(_EMBEDDED, False)
    result = {}
    for name, item in value.items():
        at = f"{path}.{name}" if path else name
        if name in properties:
            result[name] = _prune(item, properties[name], at, dropped)
        elif isinstance(additional, dict):
            result[name] = _prune(item, additional, at, dropped)
        elif preserve or additional is True or (embedded and name in _TYPE_META):
            result[name] = copy.deepcopy(item)
        else:
            dropped.append(at)
    return result


def default(value: Any, schema: Schema) -> Any:
    """The value with the schema's defaults, nested ones included; the argument is not changed."""
    if isinstance(value, list):
        items = schema.get("items")
        return [default(v, items) for v in value] if isinstance(items, dict) else value
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    additional = schema.get("additionalProperties")
    result = {}
    for name, item in value.items():
        sub = properties.get(name)
        if sub is None and isinstance(additional, dict):
            sub = additional
        if sub is None:
            result[name] = item
        elif item is None and "default" in sub and not sub.get("nullable"):
            continue
        else:
            result[name] = default(item, sub)
    for name, sub in properties.items():
        if name not in result and "default" in sub:
            result[name] = default(copy.deepcopy(sub["default"]), sub)
    return result
