"""Validation of values against a structural schema, in the words of the API server."""

import math
import re
from functools import lru_cache
from typing import Any

from gilder.sandbox.kubernetes.errors import Cause, invalid_value, required, shown
from gilder.sandbox.kubernetes.schema import Schema

_INT_OR_STRING = "x-kubernetes-int-or-string"


def validate(value: Any, schema: Schema, path: str = "") -> list[Cause]:
    """Everything that the schema refuses about the value."""
    if value is None and schema.get("nullable"):
        return []
    wrong = _type_error(value, schema, path)
    if wrong:
        return [wrong]
    causes: list[Cause] = []
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        listed = ", ".join(shown(v) for v in allowed)
        text = f"Unsupported value: {shown(value)}: supported values: {listed}"
        causes.append(Cause(path, "FieldValueNotSupported", text))
    if isinstance(value, str):
        causes += _string(value, schema, path)
    elif isinstance(value, dict):
        causes += _object(value, schema, path)
    elif isinstance(value, list):
        causes += _list(value, schema, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        causes += _number(value, schema, path)
    return causes + _combined(value, schema, path)


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "integer" if math.isfinite(value) and value.is_integer() else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _type_error(value: Any, schema: Schema, path: str) -> Cause | None:
    actual = _type_name(value)
    if schema.get(_INT_OR_STRING):
        if actual in ("integer", "string"):
            return None
        wanted = "integer,string"
    else:
        wanted = schema.get("type", "")
        if not wanted or actual == wanted or (actual, wanted) == ("integer", "number"):
            return None
    where = path or "<nil>"
    detail = f'{path} in body must be of type {wanted}: "{actual}"'
    return Cause(where, "FieldValueTypeInvalid", f'Invalid value: "{actual}": {detail}')


def _string(value: str, schema: Schema, path: str) -> list[Cause]:
    causes = []
    longest = schema.get("maxLength")
    if longest is not None and len(value) > longest:
        causes.append(
            Cause(path, "FieldValueTooLong", f"Too long: may not be more than {longest} bytes")
        )
    shortest = schema.get("minLength")
    if shortest is not None and len(value) < shortest:
        detail = f"{path} in body should be at least {shortest} chars long"
        causes.append(invalid_value(path, value, detail))
    pattern = schema.get("pattern")
    if pattern is not None and not compiled(pattern).search(value):
        causes.append(invalid_value(path, value, f"{path} in body should match '{pattern}'"))
    wanted = schema.get("format")
    if wanted in _FORMATS and not _FORMATS[wanted].search(value):
        detail = f'{path} in body must be of type {wanted}: "{value}"'
        causes.append(invalid_value(path, value, detail))
    return causes


_FORMATS = {
    "date-time": re.compile(
        r"\A\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII
    ),
    "date": re.compile(r"\A\d{4}-\d\d-\d\d\Z", re.ASCII),
    "uuid": re.compile(r"\A[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\Z"),
}


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """A Go pattern for Python, where a final $ would also match before a newline."""
    out, in_class, escaped = "", False, False
    for char in pattern:
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == "[":
            in_class = True
        elif char == "]":
            in_class = False
        elif char == "$" and not in_class:
            out += r"\Z"
            continue
        out += char
    return re.compile(out, re.ASCII)


def _number(value: float, schema: Schema, path: str) -> list[Cause]:
    causes = []
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value <= low if schema.get("exclusiveMinimum") else value < low):
        than = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        causes.append(invalid_value(path, value, f"{path} in body should be {than} {low}"))
    if high is not None and (value >= high if schema.get("exclusiveMaximum") else value > high):
        than = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        causes.append(invalid_value(path, value, f"{path} in body should be {than} {high}"))
    step = schema.get("multipleOf")
    if step and not math.isclose(math.remainder(value, step), 0, abs_tol=1e-9):
        causes.append(invalid_value(path, value, f"{path} in body should be a multiple of {step}"))
    return causes


def _object(value: dict[str, Any], schema: Schema, path: str) -> list[Cause]:
    causes = []
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    if most is not None and len(value) > most:
        text = f"Too many: {len(value)}: must have at most {most} items"
        causes.append(Cause(path, "FieldValueTooMany", text))
    if least is not None and len(value) < least:
        detail = f"{path} in body should have at least {least} properties"
        causes.append(invalid_value(path, value, detail))
    properties = schema.get("properties", {})
    additional = schema.get("additionalProperties")
    for name in schema.get("required", ()):
        if name not in value:
            causes.append(required(f"{path}.{name}" if path else name))
    for name, item in value.items():
        at = f"{path}.{name}" if path else name
        if name in properties:
            causes += validate(item, properties[name], at)
        elif isinstance(additional, dict):
            causes += validate(item, additional, at)
    return causes


def _list(value: list[Any], schema: Schema, path: str) -> list[Cause]:
    causes = []
    most, least = schema.get("maxItems"), schema.get("minItems")
    if most is not None and len(value) > most:
        text = f"Too many: {len(value)}: must have at most {most} items"
        causes.append(Cause(path, "FieldValueTooMany", text))
    if least is not None and len(value) < least:
        detail = f"{path} in body should have at least {least} items"
        causes.append(invalid_value(path, value, detail))
    items = schema.get("items")
    if isinstance(items, dict):
        for i, item in enumerate(value):
            causes += validate(item, items, f"{path}[{i}]")
    return causes + _duplicates(value, schema, path)


def _duplicates(value: list[Any], schema: Schema, path: str) -> list[Cause]:
    kind = schema.get("x-kubernetes-list-type")
    if kind not in ("set", "map"):
        return []
    keys = schema.get("x-kubernetes-list-map-keys", ())
    seen: list[Any] = []
    causes = []
    for i, item in enumerate(value):
        shape = item
        if kind == "map":
            if not isinstance(item, dict):
                continue
            shape = {k: item.get(k) for k in keys}
        if shape in seen:
            text = f"Duplicate value: {shown(shape)}"
            causes.append(Cause(f"{path}[{i}]", "FieldValueDuplicate", text))
        seen.append(shape)
    return causes


def _combined(value: Any, schema: Schema, path: str) -> list[Cause]:
    causes = []
    for sub in schema.get("allOf", ()):
        causes += validate(value, sub, path)
    alternatives = schema.get("anyOf")
    if alternatives and all(validate(value, s, path) for s in alternatives):
        detail = f"{path} in body must validate at least one schema (anyOf)"
        causes.append(invalid_value(path, "", detail))
    exclusive = schema.get("oneOf")
    if exclusive and sum(not validate(value, s, path) for s in exclusive) != 1:
        detail = f"{path} in body must validate one and only one schema (oneOf)"
        causes.append(invalid_value(path, "", detail))
    unwanted = schema.get("not")
    if unwanted is not None and not validate(value, unwanted, path):
        causes.append(invalid_value(path, "", f"{path} in body must not validate the schema (not)"))
    return causes
