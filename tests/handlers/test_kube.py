"""Merge patches for status: what they change, and that nothing is sent for nothing."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gilder.handlers.kube import merge_patch
from gilder.sandbox.kubernetes.patches import merge


@pytest.mark.parametrize(
    ("before", "after", "want"),
    [
        pytest.param({}, {}, {}, id="nothing"),
        pytest.param({"a": 1}, {"a": 1}, {}, id="same"),
        pytest.param({"a": 1}, {}, {"a": None}, id="a key that goes is null"),
        pytest.param({}, {"a": {"b": 1}}, {"a": {"b": 1}}, id="a new key is whole"),
        pytest.param(
            {"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": None}}, id="only what differs"
        ),
        pytest.param({"a": [1, 2]}, {"a": [2]}, {"a": [2]}, id="a list is replaced"),
    ],
)
def test_merge_patch(before: dict, after: dict, want: dict) -> None:  # type: ignore[type-arg]
    assert merge_patch(before, after) == want


VALUES = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(OBJECTS, OBJECTS)
def test_applying_the_patch_gives_the_wanted_object(before: dict, after: dict) -> None:  # type: ignore[type-arg]
    assert _without_empty(merge(before, merge_patch(before, after))) == _without_empty(after)


def _without_empty(value: object) -> object:
    """RFC 7386 cannot tell an emptied object from one that stays; neither matters to a status."""
    if isinstance(value, dict):
        return {k: _without_empty(v) for k, v in value.items() if v != {}}
    return value
