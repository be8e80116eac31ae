"""Killed at some of the points that `python reliability/crash.py` goes through one by one."""

import pytest
from crash import Point, kill_at
from scenarios import STORIES

POINTS = (
    ("aws", "before", 2),
    ("aws", "after", 5),
    ("aws", "before", 8),
    ("aws", "after", 11),
    ("kubernetes", "before", 2),
    ("kubernetes", "after", 3),
)


@pytest.mark.parametrize("story", STORIES)
def test_a_story_that_is_cut_off_comes_to_the_same_end(story: str) -> None:
    struck = [kill_at(Point(story, *point))[0] for point in POINTS]
    assert len([s for s in struck if s]) >= 4, struck
