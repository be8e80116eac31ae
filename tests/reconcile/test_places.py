"""The cap of builds at once."""

from concurrent.futures import ThreadPoolExecutor

from gilder.reconcile.places import Places


def test_places_run_out_and_come_back() -> None:
    places = Places(2)
    assert places.admit("a")
    assert places.admit("b")
    assert places.admit("a"), "it has its place"
    assert not places.admit("c")
    places.leave("a")
    assert places.admit("c")
    assert not places.admit("a")


def test_what_is_under_way_has_a_place_beyond_the_cap() -> None:
    places = Places(1)
    places.hold("a")
    places.hold("b")
    assert len(places) == 2
    assert not places.admit("c")
    places.leave("a")
    assert not places.admit("c")


def test_no_more_than_the_cap_whoever_asks_at_once() -> None:
    places = Places(5)
    with ThreadPoolExecutor(16) as pool:
        admitted = list(pool.map(lambda n: places.admit(str(n)), range(200)))
    assert sum(admitted) == len(places) == 5
