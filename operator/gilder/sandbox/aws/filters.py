"""EC2's filter language: wildcards, several values per filter, tags."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from gilder.sandbox.aws.errors import AwsError

T = TypeVar("T")
Values = Callable[[T], Sequence[str]]


def truth(value: bool) -> str:
    return "true" if value else "false"


def parse_filters(filters: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    out = []
    for item in filters:
        name, values = item.get("Name"), item.get("Values") or []
        if not name:
            raise AwsError("InvalidParameterValue", "The filter 'null' is invalid")
        out.append((name, [str(v) for v in values]))
    return out


def apply_filters(
    items: Sequence[T],
    filters: Sequence[Mapping[str, Any]],
    known: Mapping[str, Values[T]],
    tags: Callable[[T], Mapping[str, str]],
) -> list[T]:
    """The items that match every filter; a filter matches when any of its values does."""
    out = list(items)
    for name, patterns in parse_filters(filters):
        values = _values(name, known, tags)
        out = [i for i in out if any(matches(p, v) for v in values(i) for p in patterns)]
    return out


def _values(
    name: str, known: Mapping[str, Values[T]], tags: Callable[[T], Mapping[str, str]]
) -> Values[T]:
    if name.startswith("tag:"):
        key = name[len("tag:") :]
        return lambda item: [v for k, v in tags(item).items() if k == key]
    if name == "tag-key":
        return lambda item: list(tags(item))
    if name not in known:
        raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")
    return known[name]


def matches(pattern: str, value: str) -> bool:
    """`*` is any text, `?` any character, a backslash takes the next character literally."""
    if "*" not in pattern and "?" not in pattern and "\\" not in pattern:
        return pattern == value
    return bool(_regex(pattern).fullmatch(value))


@functools.lru_cache(maxsize=1024)
def _regex(pattern: str) -> re.Pattern[str]:
    out, escaped = [], False
    for char in pattern:
        if escaped or char not in "*?\\":
            out.append(re.escape(char))
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            out.append(".*" if char == "*" else ".")
    return re.compile("".join(out), re.DOTALL)
