"""The subset of JSONPath that printer columns use: fields, indexes, wildcards and filters."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

Step = Callable[[Any], Iterable[Any]]

_TOKEN = re.compile(
    r"""
    \.(?P<field>(?:\\.|[^.\[\\])+)
  | \[\s*'(?P<quoted>(?:\\.|[^'])*)'\s*\]
  | \[\s*(?P<index>-?\d+)\s*\]
  | \[(?P<every>\*)\]
  | \[\?\((?P<filter>.*?)\)\]
    """,
    re.VERBOSE,
)
_FILTER = re.compile(
    r"^\s*@(?P<path>[^=!<>\s]*)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>.+?))?\s*$"
)


class PathError(ValueError):
    """A path beyond this subset."""


def find(obj: Any, path: str) -> list[Any]:
    """All values at the path."""
    values = [obj]
    for step in parsed(path):
        values = [found for value in values for found in step(value)]
    return values


@lru_cache(maxsize=512)
def parsed(path: str) -> tuple[Step, ...]:
    """The steps of a path."""
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = text.removeprefix("$")
    if text == ".":
        return ()
    steps, at = [], 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise PathError(f"unrecognized JSONPath {path!r} at {text[at:]!r}")
        steps.append(_step(token))
        at = token.end()
    return tuple(steps)


def _step(token: re.Match[str]) -> Step:
    if token["every"]:
        return _every
    if token["index"] is not None:
        return _indexed(int(token["index"]))
    if token["filter"] is not None:
        return _filtered(token["filter"])
    name = token["field"] if token["field"] is not None else token["quoted"]
    if name == "*":
        return _every
    return _named(re.sub(r"\\(.)", r"\1", name))


def _named(name: str) -> Step:
    return lambda value: [value[name]] if isinstance(value, dict) and name in value else []


def _indexed(index: int) -> Step:
    def step(value: Any) -> list[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            return [value[index]]
        return []

    return step


def _every(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return list(value.values()) if isinstance(value, dict) else []


def _filtered(expression: str) -> Step:
    found = _FILTER.match(expression)
    if found is None:
        raise PathError(f"unrecognized JSONPath filter {expression!r}")
    path, operator = found["path"], found["op"]
    wanted = _literal(found["value"]) if operator else None

    def test(item: Any) -> bool:
        values = find(item, path) if path else [item]
        if not operator:
            return bool(values)
        return any(_compare(v, operator, wanted) for v in values)

    return lambda value: [item for item in _every(value) if test(item)]


def _literal(text: str) -> Any:
    if text[0] in "\"'":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        raise PathError(f"unrecognized JSONPath literal {text!r}") from None


def _compare(value: Any, operator: str, wanted: Any) -> bool:
    if operator in ("==", "!="):
        return (value == wanted) is (operator == "==")
    try:
        return bool(
            {
                "<": value < wanted,
                ">": value > wanted,
                "<=": value <= wanted,
                ">=": value >= wanted,
            }[operator]
        )
    except TypeError:
        return False
