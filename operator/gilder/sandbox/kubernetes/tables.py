"""Objects as the tables that `kubectl get` prints."""

import datetime
import json
from typing import Any

from gilder.sandbox.kubernetes.jsonpath import find
from gilder.sandbox.kubernetes.kinds import Column, Kind
from gilder.sandbox.kubernetes.store import Object

_NAME = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": "Name must be unique within a namespace.",
    "priority": 0,
}


def table(
    objects: list[Object], kind: Kind, metadata: dict[str, Any], include: str = "Metadata"
) -> dict[str, Any]:
    """A Table of objects."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [_NAME, *(_definition(c) for c in kind.columns)],
        "rows": [_row(o, kind, include) for o in objects],
    }


def partial(obj: Object) -> Object:
    """Only an object's metadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }


def _definition(column: Column) -> dict[str, Any]:
    description = column.description or f"Custom resource definition column: {column.json_path}"
    return {
        "name": column.name,
        "type": "string" if column.type == "date" else column.type,
        "format": column.format,
        "description": description,
        "priority": column.priority,
    }


def _row(obj: Object, kind: Kind, include: str) -> dict[str, Any]:
    cells = [obj["metadata"]["name"], *(cell(obj, c) for c in kind.columns)]
    row: dict[str, Any] = {"cells": cells}
    if include == "Object":
        row["object"] = obj
    elif include != "None":
        row["object"] = partial(obj)
    return row


def cell(obj: Object, column: Column) -> Any:
    """One cell; None where the object has no such field."""
    found = find(obj, column.json_path)
    if not found or found[0] is None:
        return None
    value = found[0]
    if column.type == "date":
        return age(str(value))
    if column.type == "integer":
        return int(value) if isinstance(value, int | float) else None
    if column.type == "number":
        return float(value) if isinstance(value, int | float) else None
    if column.type == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"))
    return str(value)


def age(timestamp: str) -> str:
    """How long ago a time was, as kubectl writes it."""
    try:
        then = datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    except ValueError:
        return "<invalid>"
    if then.tzinfo is None:
        return "<invalid>"
    return duration(int((datetime.datetime.now(datetime.UTC) - then).total_seconds()))


def duration(seconds: int) -> str:
    """A duration in at most two units, with kubectl's thresholds."""
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    if seconds < 120:
        return f"{seconds}s"
    minutes = seconds // 60
    if minutes < 10:
        return f"{minutes}m" + (f"{seconds % 60}s" if seconds % 60 else "")
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return f"{days}d" + (f"{hours % 24}h" if hours % 24 else "")
    if hours < 24 * 365 * 2:
        return f"{days}d"
    years = days // 365
    if hours < 24 * 365 * 8:
        return f"{years}y" + (f"{days % 365}d" if days % 365 else "")
    return f"{years}y"


def bookmark(obj: Object) -> dict[str, Any]:
    """A bookmark for a client that watches tables: no rows, only a version."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]},
        "columnDefinitions": [],
        "rows": [],
    }
