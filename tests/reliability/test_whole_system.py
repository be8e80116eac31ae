"""Some random histories, of those that `python reliability/whole.py` goes through."""

from whole import COUNTS, run


def test_whatever_happens_all_is_as_declared_in_the_end() -> None:
    before = dict(COUNTS)
    assert run(examples=3, steps=10, number=3) == []
    assert COUNTS["examples"] - before["examples"] >= 3
    assert COUNTS["settled"] - before["settled"] >= 6
