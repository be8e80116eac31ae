"""One object in place of many equal ones.

Account ids, Regions, keys and whole sets of principals recur in thousands of resources, and what
is parsed is a new object each time. What goes through here is shared, as long as it is in use or
was not long ago. Only for what is never changed.
"""

import sys
from collections.abc import Hashable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T", bound=Hashable)

KEPT = 16384  # values; the least used go first, and then are only not shared
LONGEST = 256  # characters of a string that may recur: a message does not
NONE: frozenset[str] = frozenset()


@lru_cache(KEPT, typed=True)
def _kept(value: Hashable) -> Hashable:
    return value


def one(value: T) -> T:
    """An equal value, the same one for all who ask."""
    return _kept(value)  # type: ignore[return-value]


def names(of: Iterable[str]) -> frozenset[str]:
    """A set of strings."""
    return one(frozenset(of)) or NONE


def strings(value: Any) -> Any:
    """A JSON value with every short string in it shared."""
    if isinstance(value, str):
        return sys.intern(value) if type(value) is str and len(value) <= LONGEST else value
    if isinstance(value, Mapping):
        return {k: strings(v) for k, v in value.items()}
    if isinstance(value, list):
        return [strings(v) for v in value]
    return value
