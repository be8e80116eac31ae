"""The three patch formats."""

from typing import Any

import pytest

from gilder.sandbox.kubernetes.errors import ApiError
from gilder.sandbox.kubernetes.patches import json_patch, merge, strategic


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_follows_the_examples_of_rfc_7386(
    target: Any, patch: Any, expected: Any
) -> None:
    before = repr(target)
    assert merge(target, patch) == expected
    assert repr(target) == before


def test_json_patch_applies_all_operations_and_leaves_its_argument_alone() -> None:
    target = {"a": {"b": [1, 2]}}
    operations = [
        {"op": "test", "path": "/a/b/0", "value": 1},
        {"op": "add", "path": "/a/b/-", "value": 3},
        {"op": "remove", "path": "/a/b/0"},
        {"op": "replace", "path": "/a/b/0", "value": 9},
    ]
    assert json_patch(target, operations) == {"a": {"b": [9, 3]}}
    assert target == {"a": {"b": [1, 2]}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "remove", "path": "/missing"},
        {"op": "replace", "path": "/missing", "value": 1},
    ],
)
def test_json_patch_that_does_not_fit_is_unprocessable(operation: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refusal:
        json_patch({"a": 1}, [operation])
    assert refusal.value.code == 422


@pytest.mark.parametrize("patch", [{}, [{"op": "no", "path": "/a"}]])
def test_malformed_json_patch_is_a_bad_request(patch: Any) -> None:
    with pytest.raises(ApiError) as refusal:
        json_patch({"a": 1}, patch)
    assert refusal.value.code == 400


def test_strategic_patch_merges_containers_by_name() -> None:
    target = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}
    patch = {
        "$setElementOrder/containers": [{"name": "a"}, {"name": "c"}],
        "containers": [
            {"name": "a", "image": "2"},
            {"name": "b", "$patch": "delete"},
            {"name": "c", "image": "1"},
        ],
    }
    assert strategic(target, patch) == {
        "containers": [{"name": "a", "image": "2"}, {"name": "c", "image": "1"}]
    }


def test_strategic_patch_honours_its_directives() -> None:
    target = {"finalizers": ["a", "b"], "data": {"x": "1", "y": "2"}, "strategy": {"a": 1}}
    patch = {
        "$deleteFromPrimitiveList/finalizers": ["a"],
        "data": {"x": None},
        "strategy": {"$patch": "replace", "b": 2},
    }
    assert strategic(target, patch) == {
        "finalizers": ["b"],
        "data": {"y": "2"},
        "strategy": {"b": 2},
    }
