"""Label and field selectors."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from gilder.sandbox.kubernetes.errors import bad_request
from gilder.sandbox.kubernetes.kinds import Kind

Predicate = Callable[[Mapping[str, Any]], bool]

_KEY = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?"
_SET = re.compile(rf"^\s*({_KEY})\s+(in|notin)\s*\(([^()]*)\)\s*$")
_EXISTS = re.compile(rf"^\s*(!?)\s*({_KEY})\s*$")
_COMPARE = re.compile(rf"^\s*({_KEY})\s*(==|!=|=|>|<)\s*([-A-Za-z0-9_.]*)\s*$")


def label_predicate(text: str) -> Predicate:
    """A predicate over objects for a labelSelector."""
    tests = [_label_test(part) for part in _split(text)]

    def matches(obj: Mapping[str, Any]) -> bool:
        labels = obj.get("metadata", {}).get("labels") or {}
        return all(test(labels) for test in tests)

    return matches


def _split(text: str) -> list[str]:
    """Requirements at the top level: commas inside parentheses separate values."""
    if not text.strip():
        return []
    parts, depth, current = [], 0, ""
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += char
    return [*parts, current]


def _label_test(part: str) -> Callable[[Mapping[str, str]], bool]:
    if found := _SET.match(part):
        key, operator, listed = found.groups()
        values = {v.strip() for v in listed.split(",")}
        if operator == "in":
            return lambda labels: key in labels and labels[key] in values
        return lambda labels: key not in labels or labels[key] not in values
    if found := _EXISTS.match(part):
        negated, key = found.groups()
        return lambda labels: (key in labels) != bool(negated)
    if found := _COMPARE.match(part):
        key, operator, value = found.groups()
        if operator in ("=", "=="):
            return lambda labels: labels.get(key) == value
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return _order_test(key, operator, value)
    raise bad_request(f"unable to parse requirement: found '{part.strip()}', expected: a selector")


def _order_test(key: str, operator: str, value: str) -> Callable[[Mapping[str, str]], bool]:
    try:
        bound = int(value)
    except ValueError:
        raise bad_request(
            f'unable to parse requirement: values[0]: Invalid value: "{value}": '
            "for 'Gt', 'Lt' operators, the value must be an integer"
        ) from None

    def test(labels: Mapping[str, str]) -> bool:
        try:
            actual = int(labels[key])
        except (KeyError, ValueError):
            return False
        return actual > bound if operator == ">" else actual < bound

    return test


def field_predicate(text: str, kind: Kind) -> Predicate:
    """A predicate over objects for a fieldSelector that this kind supports."""
    supported = {"metadata.name", *kind.fields}
    if kind.namespaced or kind.custom:
        supported.add("metadata.namespace")
    tests: list[tuple[str, bool, str]] = []
    for part in text.split(","):
        if not part.strip():
            continue
        found = re.match(r"^([^=!]+)(!=|==|=)(.*)$", part)
        if not found:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        path, operator, value = (g.strip() for g in found.groups())
        if path not in supported:
            raise bad_request(f'field label not supported: "{path}"')
        tests.append((path, operator != "!=", re.sub(r"\\([\\,=])", r"\1", value)))

    def matches(obj: Mapping[str, Any]) -> bool:
        return all((_field(obj, path) == value) is wanted for path, wanted, value in tests)

    return matches


def _field(obj: Mapping[str, Any], path: str) -> str:
    if path == "reportingComponent":
        return str(obj.get("reportingComponent") or "")
    if path == "source":
        source = obj.get("source") or {}
        return str(source.get("component") or obj.get("reportingComponent") or "")
    node: Any = obj
    for part in path.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    if isinstance(node, bool):
        return str(node).lower()
    return "" if node is None else str(node)
