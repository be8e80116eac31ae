"""Label selectors as text: what they select, and what is refused with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gilder.core.selector import parse
from gilder.sandbox.kubernetes.selectors import label_predicate

A, B, OLD = {"shard": "a"}, {"shard": "b"}, {"shard": "a", "old": ""}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("shard=a", [A, OLD]),
        ("shard == a", [A, OLD]),
        ("shard!=a", [{}, B]),
        ("shard in (a, b)", [A, B, OLD]),
        ("shard notin (a,c)", [{}, B]),
        ("shard", [A, B, OLD]),
        ("!shard", [{}]),
        ("shard in (a,b),!old", [A, B]),
        ("!old , shard=a", [A]),
        ("old=", [OLD]),
        ("example.com/team=x", []),
    ],
)
def test_what_is_selected(text: str, selected: list[dict[str, str]]) -> None:
    assert [labels for labels in ({}, A, B, OLD) if parse(text).matches(labels)] == selected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (" ", "'' is no requirement"),
        ("shard=a,", "'' is no requirement"),
        ("shard in a", "'shard in a' is no requirement"),
        ("shard in (a", "is no requirement"),
        ("shard>3", "'shard>3' is no requirement"),
        ("a b=c", "'a b=c' is no requirement"),
        ("=a", "'=a' is no requirement"),
        ("shard=a_", "'a_' is no label value"),
        ("shard in (a,ö)", "'ö' is no label value"),
        (f"shard={'x' * 64}", "is no label value"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"Write key=value|Use up to 63 letters") as refused:
        parse(text)
    assert why in str(refused.value)


KEYS = st.sampled_from(["a", "b", "x.io/c"])
VALUES = st.sampled_from(["", "1", "v-2"])
REQUIREMENTS = st.one_of(
    st.builds("{}{}{}".format, KEYS, st.sampled_from(["=", "==", "!=", " = "]), VALUES),
    st.builds(
        lambda k, how, v: f"{k} {how} ({','.join(v)})",
        KEYS,
        st.sampled_from(["in", "notin"]),
        st.lists(VALUES, min_size=1, max_size=3),
    ),
    KEYS,
    st.builds("!{}".format, KEYS),
)


@given(st.lists(REQUIREMENTS, min_size=1, max_size=4), st.dictionaries(KEYS, VALUES))
def test_the_server_selects_the_same(requirements: list[str], labels: dict[str, str]) -> None:
    text = ",".join(requirements)
    there = label_predicate(text)({"metadata": {"labels": labels}})
    assert parse(text).matches(labels) == there
