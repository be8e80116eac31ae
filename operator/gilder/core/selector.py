"""A Kubernetes label selector as it is written in a command line, such as `team in (a,b),!old`.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
"""

import re
from typing import Literal

from gilder.api.imageshare import LabelRequirement, LabelSelector

_WORD = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_PREFIX = r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?"
_KEY = rf"(?P<key>{_PREFIX}{_WORD})"
_VALUE = re.compile(rf"(?:{_WORD})?")
_SET = re.compile(rf"{_KEY}\s+(?P<how>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUAL = re.compile(rf"{_KEY}\s*(?P<how>==?|!=)\s*(?P<value>[^\s=!]*)")
_EXISTS = re.compile(rf"(?P<no>!?)\s*{_KEY}")
_COMMA = re.compile(r",(?![^(]*\))")  # one between requirements, not between values


def parse(text: str) -> LabelSelector:
    """The selector; raises ValueError that says which part of it is wrong."""
    return LabelSelector(match_expressions=tuple(_requirement(p) for p in _COMMA.split(text)))


def _requirement(part: str) -> LabelRequirement:
    text = part.strip()
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    if found := _SET.fullmatch(text):
        values = tuple(v.strip() for v in found["values"].split(","))
        operator = "In" if found["how"] == "in" else "NotIn"
    elif found := _EQUAL.fullmatch(text):
        values = (found["value"],)
        operator = "NotIn" if found["how"] == "!=" else "In"
    elif found := _EXISTS.fullmatch(text):
        values = ()
        operator = "DoesNotExist" if found["no"] else "Exists"
    else:
        raise ValueError(
            f"{text!r} is no requirement. Write key=value, key!=value, key in (a,b), "
            "key notin (a,b), key or !key, with commas between them"
        )
    for value in values:
        if not _VALUE.fullmatch(value):
            raise ValueError(
                f"{value!r} is no label value. Use up to 63 letters, digits, '-', '_' and '.', "
                "with a letter or digit first and last"
            )
    return LabelRequirement(key=found["key"], operator=operator, values=values)
