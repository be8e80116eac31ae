"""What the API server refuses about a CustomResourceDefinition before it serves it."""

from typing import Any

from gilder.sandbox.kubernetes.errors import (
    Cause,
    forbidden_field,
    invalid_value,
    required,
)
from gilder.sandbox.kubernetes.rules import check_rules, evaluate, nodes
from gilder.sandbox.kubernetes.schema import Schema, default, prune
from gilder.sandbox.kubernetes.validation import compiled, validate

_FORBIDDEN = (
    "$ref",
    "definitions",
    "dependencies",
    "deprecated",
    "discriminator",
    "id",
    "patternProperties",
    "readOnly",
    "writeOnly",
    "xml",
)
_ROOT_FIELDS = ("apiVersion", "kind", "metadata")


def check_definition(crd: dict[str, Any]) -> list[Cause]:
    """Everything wrong with a CRD."""
    spec = crd.get("spec") or {}
    names = spec.get("names") or {}
    causes = [
        required(f"spec.{field}") for field in ("group", "scope", "versions") if not spec.get(field)
    ]
    causes += [required(f"spec.names.{f}") for f in ("plural", "kind") if not names.get(f)]
    if causes:
        return causes
    wanted = f"{names['plural']}.{spec['group']}"
    if crd["metadata"].get("name") != wanted:
        detail = 'must be spec.names.plural+"."+spec.group'
        causes.append(invalid_value("metadata.name", crd["metadata"].get("name"), detail))
    if spec["scope"] not in ("Namespaced", "Cluster"):
        text = f'Unsupported value: "{spec["scope"]}": supported values: "Cluster", "Namespaced"'
        causes.append(Cause("spec.scope", "FieldValueNotSupported", text))
    versions = spec["versions"]
    if sum(bool(v.get("storage")) for v in versions) != 1:
        detail = "must have exactly one version marked as storage version"
        causes.append(invalid_value("spec.versions", [v.get("name") for v in versions], detail))
    if spec.get("conversion", {}).get("strategy", "None") != "None":
        detail = "only the strategy None is supported by this emulation"
        causes.append(
            invalid_value("spec.conversion.strategy", spec["conversion"]["strategy"], detail)
        )
    for i, version in enumerate(versions):
        at = f"spec.versions[{i}].schema.openAPIV3Schema"
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if not isinstance(schema, dict):
            causes.append(required(at, "schemas are required"))
            continue
        if schema.get("type") != "object":
            causes.append(
                invalid_value(f"{at}.type", schema.get("type", ""), "must be object at the root")
            )
        causes += _check_node(schema, at, root=True)
        if not causes:
            causes += check_rules(schema, at)
        if not causes:
            causes += _check_defaults(schema, at)
    return causes


def _check_node(schema: Schema, at: str, *, root: bool = False) -> list[Cause]:
    causes = []
    free = schema.get("x-kubernetes-int-or-string") or schema.get(
        "x-kubernetes-preserve-unknown-fields"
    )
    if not schema.get("type") and not free:
        causes.append(required(f"{at}.type", "must not be empty for specified object fields"))
    for name in _FORBIDDEN:
        if name in schema:
            causes.append(forbidden_field(f"{at}.{name}", f"{name} is not supported"))
    if schema.get("uniqueItems"):
        causes.append(forbidden_field(f"{at}.uniqueItems", "uniqueItems cannot be set to true"))
    if schema.get("additionalProperties") is False:
        causes.append(
            forbidden_field(f"{at}.additionalProperties", "additionalProperties cannot be false")
        )
    if "properties" in schema and "additionalProperties" in schema:
        detail = "additionalProperties and properties are mutual exclusive"
        causes.append(forbidden_field(f"{at}.additionalProperties", detail))
    if schema.get("type") == "array" and "items" not in schema:
        causes.append(required(f"{at}.items", "must be specified"))
    causes += _check_pattern(schema, at) + _check_list(schema, at) + _check_default(schema, at)
    for name, sub in schema.get("properties", {}).items():
        if not (root and name in _ROOT_FIELDS):
            causes += _check_node(sub, f"{at}.properties[{name}]")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            causes += _check_node(schema[key], f"{at}.{key}")
    return causes


def _check_pattern(schema: Schema, at: str) -> list[Cause]:
    pattern = schema.get("pattern")
    if pattern is None:
        return []
    try:
        compiled(pattern)
    except Exception as error:  # noqa: BLE001 - re raises several types
        detail = f"must be a valid regular expression, but isn't: {error}"
        return [invalid_value(f"{at}.pattern", pattern, detail)]
    return []


def _check_list(schema: Schema, at: str) -> list[Cause]:
    kind = schema.get("x-kubernetes-list-type")
    if kind is None:
        return []
    items = schema.get("items") or {}
    if kind == "set" and items.get("type") in ("object", "array"):
        if items.get("x-kubernetes-map-type") == "atomic":
            return []
        detail = "items must be scalar or atomic when x-kubernetes-list-type is set"
        return [invalid_value(f"{at}.items.type", items.get("type"), detail)]
    if kind != "map":
        return []
    keys = schema.get("x-kubernetes-list-map-keys")
    if not keys:
        detail = "must not be empty if x-kubernetes-list-type is map"
        return [required(f"{at}.x-kubernetes-list-map-keys", detail)]
    causes = []
    properties = items.get("properties", {})
    for key in keys:
        field = f"{at}.items.properties[{key}]"
        if key not in properties:
            detail = "entries must all be names of item properties"
            causes.append(invalid_value(f"{at}.x-kubernetes-list-map-keys", keys, detail))
        elif key not in items.get("required", ()) and "default" not in properties[key]:
            detail = (
                "this property is in x-kubernetes-list-map-keys, so it must have a default "
                "or be a required property"
            )
            causes.append(required(f"{field}.default", detail))
    return causes


def _check_default(schema: Schema, at: str) -> list[Cause]:
    if "default" not in schema:
        return []
    value = schema["default"]
    field = f"{at}.default"
    pruned, dropped = prune({"v": value}, {"type": "object", "properties": {"v": schema}})
    if dropped:
        detail = f"must not have unknown fields: found {', '.join(d[2:] for d in dropped)}"
        return [invalid_value(field, value, detail)]
    return validate(default(pruned["v"], schema), schema, field)


def _check_defaults(schema: Schema, at: str) -> list[Cause]:
    """Defaults that the rules would refuse."""
    return [
        cause
        for node, path in nodes(schema, at)
        if "default" in node
        for cause in evaluate(default(node["default"], node), None, node, f"{path}.default")
    ]
