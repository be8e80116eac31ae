"""OpenAPI v3 documents, as far as `kubectl apply` and `kubectl explain` read them."""

import hashlib
import json
from typing import Any

from gilder.sandbox.kubernetes.kinds import Kind
from gilder.sandbox.kubernetes.patches import APPLY_PATCH, JSON_PATCH, MERGE_PATCH
from gilder.sandbox.kubernetes.registry import Registry

_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_QUERY = ("dryRun", "fieldManager", "fieldValidation", "pretty")
_OBJECT_META: dict[str, Any] = {
    "type": "object",
    "description": "Metadata that all persisted resources must have.",
    "properties": {
        "name": {"type": "string", "description": "Name must be unique within a namespace."},
        "namespace": {"type": "string", "description": "Namespace within which names are unique."},
        "labels": {
            "type": "object",
            "description": "Keys and values to organize objects with.",
            "additionalProperties": {"type": "string"},
        },
        "annotations": {
            "type": "object",
            "description": "Unstructured keys and values set by tools.",
            "additionalProperties": {"type": "string"},
        },
        "finalizers": {
            "type": "array",
            "description": "Must be empty before the object is deleted.",
            "items": {"type": "string"},
        },
        "generation": {"type": "integer", "format": "int64"},
        "resourceVersion": {"type": "string"},
        "uid": {"type": "string"},
    },
}


def index(registry: Registry) -> dict[str, Any]:
    """The document that lists the documents; the hash changes with their content."""
    paths = {}
    for group, versions in registry.groups().items():
        for version in versions:
            path = f"apis/{group}/{version}" if group else f"api/{version}"
            text = json.dumps(document(registry, group, version), sort_keys=True)
            digest = hashlib.sha256(text.encode()).hexdigest()[:32].upper()
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": paths}


def document(registry: Registry, group: str, version: str) -> dict[str, Any] | None:
    """One group and version."""
    kinds = registry.of(group, version)
    if not kinds:
        return None
    schemas: dict[str, Any] = {_META: _OBJECT_META}
    paths: dict[str, Any] = {}
    for kind in kinds:
        name = _schema_name(kind)
        schemas[name] = _schema(kind)
        schemas[f"{name}List"] = _list_schema(kind, name)
        paths.update(_paths(kind, name))
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.32.4"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _schema_name(kind: Kind) -> str:
    if not kind.custom:
        return f"io.k8s.api.{kind.group.split('.')[0] or 'core'}.{kind.version}.{kind.kind}"
    return f"{'.'.join(reversed(kind.group.split('.')))}.{kind.version}.{kind.kind}"


def _gvk(kind: Kind, suffix: str = "") -> dict[str, str]:
    return {"group": kind.group, "version": kind.version, "kind": f"{kind.kind}{suffix}"}


def _schema(kind: Kind) -> dict[str, Any]:
    schema = dict(kind.schema or {"type": "object"})
    schema["properties"] = {
        **schema.get("properties", {}),
        "apiVersion": {"type": "string", "description": "The versioned schema of this object."},
        "kind": {"type": "string", "description": "The REST resource this object represents."},
        "metadata": {
            "description": "Standard object's metadata.",
            "allOf": [{"$ref": f"#/components/schemas/{_META}"}],
        },
    }
    schema["x-kubernetes-group-version-kind"] = [_gvk(kind)]
    return schema


def _list_schema(kind: Kind, name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "items": {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}},
        },
        "x-kubernetes-group-version-kind": [_gvk(kind, "List")],
    }


def _paths(kind: Kind, schema: str) -> dict[str, Any]:
    base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    if kind.namespaced:
        base += "/namespaces/{namespace}"
    one = f"{base}/{kind.plural}/{{name}}"
    reference = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    response = {"200": {"description": "OK", "content": {"application/json": reference}}}
    parameters = [{"name": n, "in": "query", "schema": {"type": "string"}} for n in _QUERY]

    def operation(action: str, *types: str) -> dict[str, Any]:
        result: dict[str, Any] = {
            "operationId": f"{action}{kind.kind}",
            "parameters": parameters,
            "responses": response,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _gvk(kind),
        }
        if types:
            result["requestBody"] = {"content": dict.fromkeys(types, reference)}
        return result

    # Strategic merge patch is left out: kubectl would look for merge keys in these schemas,
    # and falls back to the types it was built with.
    patch_types = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
    return {
        f"{base}/{kind.plural}": {
            "get": operation("list"),
            "post": operation("post", "application/json"),
        },
        one: {
            "get": operation("get"),
            "put": operation("put", "application/json"),
            "patch": operation("patch", *patch_types),
            "delete": operation("delete"),
        },
    }
