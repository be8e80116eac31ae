"""Each trouble with one story, as `python reliability/faults.py` has it with all of them."""

import pytest
from faults import TROUBLES, deny, endure
from scenarios import STORIES

LASTS = 3.0


@pytest.mark.parametrize(
    ("trouble", "story"), [(t, list(STORIES)[n % len(STORIES)]) for n, t in enumerate(TROUBLES)]
)
def test_what_is_over_has_done_no_harm(trouble: str, story: str) -> None:
    run = endure(story, trouble, LASTS)
    assert run.violations == []
    assert run.struck > 0


@pytest.mark.parametrize(
    ("story", "action"),
    [
        ("copy", "ec2:CopyImage"),
        ("share", "kms:CreateGrant"),
        ("unshare", "ec2:DescribeImageAttribute"),
        ("retire", "ec2:DeregisterImage"),
        ("delete", "ec2:DeregisterImage"),
    ],
)
def test_what_is_denied_is_told_and_nothing_is_half_done(story: str, action: str) -> None:
    run = deny(story, [action])
    assert run.violations == []
    assert (run.told, run.struck > 0) == (1, True)
