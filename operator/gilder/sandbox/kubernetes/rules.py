"""CEL rules of a schema (`x-kubernetes-validations`)."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import cel

from gilder.sandbox.kubernetes.errors import Cause, internal, invalid_value
from gilder.sandbox.kubernetes.schema import Schema

_RULES = "x-kubernetes-validations"

# What the library evaluates; Kubernetes' own extensions (isSorted, find, quantity...) are not in.
_FUNCTIONS = frozenset(
    """
    size contains startsWith endsWith matches has int uint double string bool bytes type
    duration timestamp getFullYear getMonth getDate getDayOfMonth getDayOfWeek getDayOfYear
    getHours getMinutes getSeconds getMilliseconds
    """.split()  # noqa: SIM905 - reads better than twenty quoted words
)
_MACRO = re.compile(r"\.(?:all|exists|exists_one|filter|map)\(\s*([A-Za-z_]\w*)\s*,")
_STRING = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
_SELECT = re.compile(r"(?<![\w.])(self|oldSelf)\.([A-Za-z_]\w*)(\s*\()?")
_TYPES = {"bool", "bytes", "double", "duration", "int", "list", "map", "null_type", "string"}
_CONVERTED_FORMATS = ("byte", "date", "date-time", "duration")


@lru_cache(maxsize=1024)
def program(rule: str) -> cel.Program:
    """The compiled rule."""
    return cel.compile(rule)


def check_rules(schema: Schema, path: str) -> list[Cause]:
    """Rules that cannot be evaluated, found when a CRD is created."""
    causes = []
    for node, at in nodes(schema, path):
        for i, entry in enumerate(node.get(_RULES, ())):
            why = _refusal(entry, node)
            if why:
                field = f"{at}.{_RULES}[{i}].rule"
                causes.append(invalid_value(field, entry.get("rule"), why))
    return causes


def nodes(schema: Schema, path: str) -> Iterator[tuple[Schema, str]]:
    """A schema with all schemas inside it, and where they are."""
    yield schema, path
    for name, sub in schema.get("properties", {}).items():
        yield from nodes(sub, f"{path}.properties[{name}]")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}.{key}")


def _refusal(entry: dict[str, Any], node: Schema) -> str:
    rule = str(entry.get("rule") or "")
    if not rule.strip():
        return "rule is not specified"
    for unsupported in ("messageExpression", "optionalOldSelf"):
        if entry.get(unsupported):
            return f"{unsupported} is not supported by this emulation"
    try:
        compiled = program(rule)
    except ValueError as error:
        return f"compilation failed: {error}"
    bare = _STRING.sub("''", rule)
    for name in compiled.functions():
        if name[0] not in "_@-!" and name not in _FUNCTIONS:
            return f"compilation failed: undeclared reference to '{name}' (in this emulation)"
    bound = set(_MACRO.findall(bare))
    for name in compiled.variables():
        if name not in bound | _TYPES | {"self", "oldSelf"}:
            return f"compilation failed: undeclared reference to '{name}'"
    if re.search(r"\bsize\(|\.size\(", bare) and node.get("type") == "string":
        return "size() of strings counts bytes in this emulation: use maxLength instead"
    properties = node.get("properties")
    if properties is not None:
        for _, name, call in _SELECT.findall(bare):
            if not call and name not in properties and name not in ("metadata", "apiVersion"):
                return f"compilation failed: undefined field '{name}'"
    for sub, _ in nodes(node, ""):
        if sub.get("format") in _CONVERTED_FORMATS:
            return f"format {sub['format']} under a rule is not supported by this emulation"
    return ""


def evaluate(value: Any, old: Any, schema: Schema, path: str) -> list[Cause]:
    """What the rules of the schema refuse; `old` is None where there is nothing to compare with."""
    causes: list[Cause] = []
    if value is None:
        return causes
    entries = schema.get(_RULES)
    if entries:
        context = {"self": typed(value, schema)}
        if old is not None:
            context["oldSelf"] = typed(old, schema)
        for entry in entries:
            causes += _evaluate(entry, context, schema, path)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        properties = schema.get("properties", {})
        additional = schema.get("additionalProperties")
        for name, item in value.items():
            sub = properties.get(name, additional)
            if isinstance(sub, dict):
                at = f"{path}.{name}" if path else name
                causes += evaluate(item, before.get(name), sub, at)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for i, item in enumerate(value):
            causes += evaluate(item, _partner(item, old, schema), schema["items"], f"{path}[{i}]")
    return causes


def _partner(item: Any, old: Any, schema: Schema) -> Any:
    """The element of the old list that a rule may compare with: only maps have one."""
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list):
        return None
    keys = schema.get("x-kubernetes-list-map-keys", ())
    return next((o for o in old if all(o.get(k) == item.get(k) for k in keys)), None)


def _evaluate(
    entry: dict[str, Any], context: dict[str, Any], schema: Schema, path: str
) -> list[Cause]:
    rule = str(entry["rule"])
    compiled = program(rule)
    if "oldSelf" in compiled.variables() and "oldSelf" not in context:
        return []
    kind = schema.get("type", "object")
    try:
        result = compiled.execute(context)
    except (KeyError, IndexError, ZeroDivisionError) as error:
        detail = f"rule evaluation error: no such key or index: {error} evaluating rule: {rule}"
        return [invalid_value(path, kind, detail)]
    except Exception as error:
        # A rule skipped in silence would let through what a real server refuses.
        raise internal(f"CEL rule {rule!r} at {path}: {error}") from error
    if result is True:
        return []
    if result is not False:
        raise internal(f"CEL rule {rule!r} at {path} is not boolean: {result!r}")
    detail = str(entry.get("message") or f"failed rule: {rule}").strip()
    field = f"{path}{entry['fieldPath']}" if entry.get("fieldPath") else path
    reason = entry.get("reason", "FieldValueInvalid")
    if reason == "FieldValueInvalid":
        return [invalid_value(field, kind, detail)]
    words = {
        "FieldValueForbidden": "Forbidden",
        "FieldValueRequired": "Required value",
        "FieldValueDuplicate": f"Duplicate value: {kind!r}",
    }
    return [Cause(field, reason, f"{words.get(reason, reason)}: {detail}")]


def typed(value: Any, schema: Schema) -> Any:
    """A JSON value with the number types that CEL expects; integers and doubles do not mix."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        additional = schema.get("additionalProperties")
        fallback = additional if isinstance(additional, dict) else {}
        return {k: typed(v, properties.get(k, fallback)) for k, v in value.items()}
    if isinstance(value, list):
        items = schema.get("items")
        return [typed(v, items if isinstance(items, dict) else {}) for v in value]
    if isinstance(value, bool):
        return value
    if schema.get("type") == "number" and isinstance(value, int):
        return float(value)
    if schema.get("type") == "integer" and isinstance(value, float):
        return int(value)
    return value
