"""Printed columns and the JSONPath subset behind them."""

import datetime
from typing import Any

import pytest

from gilder.sandbox.kubernetes.jsonpath import PathError, find
from gilder.sandbox.kubernetes.kinds import Column
from gilder.sandbox.kubernetes.tables import cell, duration

OBJECT: dict[str, Any] = {
    "metadata": {"name": "x", "annotations": {"a.b/c": "dotted"}},
    "spec": {"n": 3, "on": True, "list": ["a", "b"], "f": 1.5},
    "status": {
        "conditions": [
            {"type": "Ready", "status": "True", "n": 1},
            {"type": "Synced", "status": "False", "n": 2},
        ]
    },
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".spec.n", [3]),
        ("{.spec.n}", [3]),
        (".spec.missing.deeper", []),
        (".spec.list[1]", ["b"]),
        (".spec.list[-1]", ["b"]),
        (".spec.list[7]", []),
        (".spec.list[*]", ["a", "b"]),
        (r".metadata.annotations.a\.b/c", ["dotted"]),
        (".metadata.annotations['a.b/c']", ["dotted"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type=='Synced')].status", ["False"]),
        ('.status.conditions[?(@.type!="Ready")].type', ["Synced"]),
        (".status.conditions[?(@.n>1)].type", ["Synced"]),
        (".status.conditions[?(@.missing)].type", []),
        ('.status.conditions[?(@.type=="No")].status', []),
    ],
)
def test_paths(path: str, expected: list[Any]) -> None:
    assert find(OBJECT, path) == expected


@pytest.mark.parametrize("path", ["spec", ".spec[", "..n", ".a[?(@.b=~'c')]"])
def test_paths_beyond_the_subset_are_refused(path: str) -> None:
    with pytest.raises(PathError):
        find(OBJECT, path)


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("string", ".spec.n", "3"),
        ("string", ".spec.on", "true"),
        ("string", ".spec.list", '["a","b"]'),
        ("string", ".spec.missing", None),
        ("integer", ".spec.n", 3),
        ("integer", ".metadata.name", None),
        ("number", ".spec.f", 1.5),
        ("boolean", ".spec.on", True),
        ("date", ".metadata.name", "<invalid>"),
        ("date", ".spec.missing", None),
    ],
)
def test_cells(kind: str, path: str, expected: Any) -> None:
    assert cell(OBJECT, Column("C", kind, path)) == expected


def test_a_date_column_shows_an_age() -> None:
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=30)
    obj = {"metadata": {"creationTimestamp": then.strftime("%Y-%m-%dT%H:%M:%SZ")}}
    assert cell(obj, Column("Age", "date", ".metadata.creationTimestamp")) == "30m"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (3600, "60m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (9 * 3600 + 60, "9h"),
        (49 * 3600, "2d1h"),
        (9 * 86400, "9d"),
        (3 * 365 * 86400, "3y"),
        (-5, "<invalid>"),
    ],
)
def test_durations_have_kubectls_thresholds(seconds: int, expected: str) -> None:
    assert duration(seconds) == expected
