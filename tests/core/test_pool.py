"""Equal values become one object and stay equal."""

from hypothesis import given
from hypothesis import strategies as st

from gilder.core import pool
from gilder.core.observed import Principals

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(JSON)
def test_strings_of_a_value_are_shared_and_the_value_is_as_it_was(value: object) -> None:
    assert pool.strings(value) == value


def test_equal_values_are_one() -> None:
    first, second = (Principals(pool.names([c + "2" * 11])) for c in ("2", "2"))
    assert pool.one(first) is pool.one(second)
    one, other = (pool.strings({"a": ["".join(("x", "-y"))]})["a"][0] for _ in range(2))
    assert one is other
    assert pool.names([]) is pool.names(())
    assert pool.one(1) is not pool.one(True)
