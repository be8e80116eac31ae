"""What asks for a build."""

from datetime import UTC, datetime

import pytest

from gilder.api.schedule import Schedule
from gilder.core.origin import History, Origin, build_id, due, newest, parse_origin

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
YESTERDAY, TODAY = "2026-11-23T12:00:00+00:00", "2026-11-24T11:00:00Z"
LAST = Origin("initial", "in1", "ami-1")
BUILT = History(LAST, since=TODAY, any=True)
NIGHTLY = Schedule(cron="0 3 * * *")
FOLLOWING = Schedule(rebuild_on=("ParentImageChanged",))

CASES = {
    "nothing was ever built": (None, None, "in1", "ami-1", History(), "initial"),
    "versions of another source are there": (
        None, None, "in1", "ami-1", History(any=True), "spec/in1",
    ),
    "nothing has changed": (None, None, "in1", "ami-1", BUILT, ""),
    "the spec has changed": (None, None, "in2", "ami-1", BUILT, "spec/in2"),
    "a changed spec is not heeded": (FOLLOWING, None, "in2", "ami-1", BUILT, ""),
    "the parent has changed": (FOLLOWING, None, "in1", "ami-2", BUILT, "parent/ami-2"),
    "a changed parent is not heeded": (NIGHTLY, None, "in1", "ami-2", BUILT, ""),
    "a parent that cannot be resolved": (FOLLOWING, None, "in1", "", BUILT, ""),
    "a request": (None, "now", "in1", "ami-1", BUILT, "request/now"),
    "a request that was heeded": (
        None, "now", "in1", "ami-1", History(LAST, TODAY, True, "now"), "",
    ),
    "a request whose status was lost": (
        None, "now", "in1", "ami-1", History(Origin("request/now", "in1"), TODAY, True), "",
    ),
    "a request comes before a changed spec": (None, "x", "in2", "ami-1", BUILT, "request/x"),
    "the schedule came since": (
        NIGHTLY, None, "in1", "ami-1", History(LAST, YESTERDAY, True),
        "schedule/2026-11-24T03:00:00Z",
    ),
    "several missed runs are one": (
        NIGHTLY, None, "in1", "ami-1", History(LAST, "2026-10-01T00:00:00Z", True),
        "schedule/2026-11-24T03:00:00Z",
    ),
    "the schedule was served": (NIGHTLY, None, "in1", "ami-1", BUILT, ""),
    "the schedule of a capture": (
        NIGHTLY, None, "", "", History(None, YESTERDAY, True), "schedule/2026-11-24T03:00:00Z",
    ),
    "a capture that was not made yet": (NIGHTLY, None, "", "", History(), ""),
    "the AMI is gone": (
        None, None, "in1", "ami-1", History(LAST, TODAY, True, lost="ami-9"), "lost/ami-9",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_due(case: tuple[Schedule | None, str | None, str, str, History, str]) -> None:
    schedule, request, inputs, parent, history, want = case
    assert due(schedule, "team/base", request, inputs, parent, history, NOW) == want


def test_an_origin_survives_its_tag() -> None:
    origin = Origin("schedule/2026-11-24T03:00:00Z", "abcdef", "ami-0123456789abcdef0")
    assert parse_origin(str(origin)) == origin
    assert len(str(origin)) <= 256


@pytest.mark.parametrize("text", ["", "inputs=a", "garbage", "trigger="])
def test_what_tells_of_no_origin(text: str) -> None:
    assert parse_origin(text) is None


def test_long_and_strange_requests_become_short() -> None:
    for request in ("x" * 5000, "a b=c", "ünïcode", "a/b"):
        trigger = due(None, "a/b", request, "in1", "", BUILT, NOW)
        assert trigger.startswith("request/")
        assert len(trigger) <= 60
        assert parse_origin(str(Origin(trigger, "in1"))) == Origin(trigger, "in1")


def test_the_newest_origin_counts() -> None:
    pairs = [(1, "trigger=initial inputs=a"), (3, ""), (2, "trigger=spec/b inputs=b")]
    assert newest(pairs) == Origin("spec/b", "b")
    assert newest([]) is None


def test_a_build_id_is_made_of_what_it_is_for() -> None:
    assert build_id("a", 1) == build_id("a", 1)
    assert build_id("a", 1) != build_id("a", 2)
    assert len(build_id("a")) == 20
