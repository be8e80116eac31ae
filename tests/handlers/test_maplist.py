"""ConfigMaps as last listed: what changed, and what is not to be relied on."""

from typing import Any

import pytest

from gilder.handlers.maplist import MapList
from gilder.reconcile.ports import ClusterError

ONE, TWO = ("n", "one"), ("n", "two")


def body(name: tuple[str, str], text: str) -> dict[str, Any]:
    return {"metadata": {"namespace": name[0], "name": name[1]}, "data": {"accounts": text}}


def test_nothing_is_known_before_the_first_listing() -> None:
    with pytest.raises(ClusterError, match="not listed yet") as caught:
        MapList().read(*ONE)
    assert not caught.value.permanent


def test_the_first_listing_wakes_all_that_wait_for_one_there_or_not() -> None:
    maps = MapList()
    assert maps.replace([body(ONE, "a")], {TWO}) == {ONE, TWO}
    assert maps.read(*ONE) == {"accounts": "a"}
    assert maps.read(*TWO) is None


def test_only_what_differs_is_told() -> None:
    maps = MapList()
    maps.replace([body(ONE, "a"), body(TWO, "b")], ())
    assert maps.replace([body(ONE, "a"), body(TWO, "c")], ()) == {TWO}
    assert maps.replace([body(TWO, "c")], ()) == {ONE}
    assert maps.replace([body(TWO, "c")], ()) == set()


def test_after_a_failure_nothing_counts_until_the_next_listing() -> None:
    maps = MapList()
    maps.replace([body(ONE, "a")], ())
    maps.failed("ConfigMaps cannot be listed: Forbidden")
    with pytest.raises(ClusterError, match="Forbidden"):
        maps.read(*ONE)
    assert maps.replace([body(ONE, "a")], {ONE}) == {ONE}
    assert maps.read(*ONE) == {"accounts": "a"}
