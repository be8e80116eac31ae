"""Cron in time zones, with daylight saving, jitter and missed runs."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from gilder.api.schedule import Schedule
from gilder.core.schedule import jitter, last_run, next_run


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("cron", "zone", "now", "last", "following"),
    [
        ("0 3 * * *", "UTC", "2026-11-24T03:00:00Z", "2026-11-24T03:00Z", "2026-11-25T03:00Z"),
        ("0 3 * * *", "UTC", "2026-11-24T02:59:59Z", "2026-11-23T03:00Z", "2026-11-24T03:00Z"),
        ("0 3 * * *", "UTC", "2026-11-24T03:00:59Z", "2026-11-24T03:00Z", "2026-11-25T03:00Z"),
        # Berlin is an hour ahead in winter and two in summer.
        ("0 3 * * 1", "Europe/Berlin", "2026-11-24T00:00:00Z", "2026-11-23T02:00Z",
         "2026-11-30T02:00Z"),
        ("0 3 * * *", "Europe/Berlin", "2026-07-01T12:00:00Z", "2026-07-01T01:00Z",
         "2026-07-02T01:00Z"),
        # 02:30 does not exist on this day, so it comes when the clock has jumped.
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-29T01:00Z",
         "2026-03-30T00:30Z"),
        # 02:30 exists twice on this day, and counts once.
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:31:00Z", "2026-10-25T00:30Z",
         "2026-10-26T01:30Z"),
    ],
)  # fmt: skip
def test_runs(cron: str, zone: str, now: str, last: str, following: str) -> None:
    schedule = Schedule(cron=cron, timezone=zone)
    assert last_run(schedule, "a/b", at(now)) == at(last)
    assert next_run(schedule, "a/b", at(now)) == at(following)


def test_no_cron_never_runs() -> None:
    assert last_run(Schedule(), "a/b", at("2026-01-01T00:00:00Z")) is None
    assert next_run(Schedule(), "a/b", at("2026-01-01T00:00:00Z")) is None


def test_jitter_is_steady_spread_and_bounded() -> None:
    schedule = Schedule(cron="0 3 * * *", jitter_minutes=30)
    found = {jitter(schedule, f"team/{n}") for n in range(50)}
    assert len(found) > 40
    assert all(timedelta(0) <= j < timedelta(minutes=30) for j in found)
    one = jitter(schedule, "team/1")
    assert one == jitter(schedule, "team/1")
    came = at("2026-11-24T03:00:00Z") + one
    assert last_run(schedule, "team/1", came) == came
    assert last_run(schedule, "team/1", came - timedelta(seconds=61)) == came - timedelta(days=1)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("cron", "61 * * * *", "five cron fields"),
        ("cron", "* * *", "pattern"),
        ("cron", "0 0 30 2 *", "day-of-month"),
        ("timezone", "Mars/Olympus", "no such time zone"),
        ("timezone", "../etc", "pattern"),
        ("jitter_minutes", 5000, "less than"),
    ],
)
def test_bad_schedules(field: str, value: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Schedule.model_validate({field: value})
