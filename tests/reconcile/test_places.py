"""The caps of builds and copies at once."""

from concurrent.futures import ThreadPoolExecutor

from gilder.reconcile.places import PATIENCE, REFUSED, UNSEEN, CopyPlaces, Places


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


def test_copies_are_admitted_up_to_the_cap_of_their_region() -> None:
    copies = CopyPlaces(2)
    assert copies.admit("r", "a", (), (), 0.0)
    assert copies.admit("r", "b", (), (), 0.0)
    assert not copies.admit("r", "c", (), (), 0.0)
    assert copies.admit("other", "c", (), (), 0.0), "each Region has its own cap"


def test_what_a_region_shows_counts_whoever_began_it() -> None:
    copies = CopyPlaces(2)
    shown = ("ami-1", "ami-2", "ami-3")
    assert not copies.admit("r", "a", shown, ("ami-1", "ami-2"), 0.0), "after a restart too"
    assert copies.admit("r", "a", shown, ("ami-1",), 15.0)


def test_a_copy_is_counted_once_before_and_after_it_is_seen() -> None:
    copies = CopyPlaces(2)
    assert copies.admit("r", "a", (), (), 0.0)
    copies.begun("r", "a", "ami-1")
    assert copies.admit("r", "b", (), (), 1.0)
    assert not copies.admit("r", "c", (), (), 1.0), "ami-1 is not seen yet and counts"
    copies.begun("r", "b", "ami-2")
    both = ("ami-1", "ami-2")
    assert not copies.admit("r", "c", both, both, 2.0)
    assert copies.admit("r", "c", both, ("ami-2",), 3.0), "ami-1 is done"


def test_copies_wait_in_the_order_in_which_they_came() -> None:
    copies = CopyPlaces(1)
    full = ("ami-1",)
    assert not copies.admit("r", "first", full, full, 0.0)
    assert not copies.admit("r", "second", full, full, 1.0)
    assert not copies.admit("r", "second", full, (), 15.0), "the place is the first one's"
    assert copies.admit("r", "first", full, (), 16.0)


def test_who_does_not_ask_any_more_loses_the_turn() -> None:
    copies = CopyPlaces(1)
    full = ("ami-1",)
    assert not copies.admit("r", "gone", full, full, 0.0)
    assert not copies.admit("r", "next", full, full, 1.0)
    assert copies.admit("r", "next", full, (), PATIENCE + 1.0)


def test_a_copy_that_was_never_seen_gives_its_place_back() -> None:
    copies = CopyPlaces(1)
    assert copies.admit("r", "lost", (), (), 0.0)
    copies.begun("r", "lost", "ami-1")
    assert not copies.admit("r", "next", (), (), UNSEEN - 1.0)
    assert copies.admit("r", "next", (), (), UNSEEN + 1.0)


def test_a_refused_copy_gives_its_place_back_at_once() -> None:
    copies = CopyPlaces(1)
    assert copies.admit("r", "a", (), (), 0.0)
    copies.refused("r", "a", (), 0.0, full=False)
    assert not copies.admit("r", "b", (), (), 0.0), "its turn is still first"
    assert copies.admit("r", "a", (), (), 30.0)
    copies.begun("r", "a", "ami-1")
    assert copies.admit("r", "b", ("ami-1",), (), 60.0)


def test_when_aws_takes_no_more_nobody_asks_until_a_copy_ends() -> None:
    copies = CopyPlaces(300)
    there = ("ami-1", "ami-2")
    assert copies.admit("r", "a", there, there, 0.0)
    copies.refused("r", "a", there, 0.0, full=True)
    assert not copies.admit("r", "b", there, there, 15.0)
    assert copies.admit("r", "b", there, ("ami-2",), 30.0)


def test_a_refusal_is_believed_for_a_while_only() -> None:
    copies = CopyPlaces(300)
    assert copies.admit("r", "a", (), (), 0.0)
    copies.refused("r", "a", (), 0.0, full=True)
    assert not copies.admit("r", "a", (), (), REFUSED - 1.0)
    assert copies.admit("r", "a", (), (), REFUSED + 1.0), "others may have used the account's quota"


def test_never_more_copies_than_the_cap_whoever_asks_at_once() -> None:
    copies = CopyPlaces(5)
    with ThreadPoolExecutor(16) as pool:
        admitted = list(pool.map(lambda n: copies.admit("r", str(n), (), (), 0.0), range(200)))
    assert sum(admitted) == 5
