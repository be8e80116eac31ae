"""When the cron of a schedule comes; pure, given the time."""

import hashlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from gilder.api.schedule import Timetable


def last_run(schedule: Timetable, key: str, now: datetime) -> datetime | None:
    """The latest time up to now at which the schedule came; None without a cron.

    `key` is `<namespace>/<name>`, which the jitter is made from, so that it is always the same.
    """
    return _run(schedule, key, now, reverse=True)


def next_run(schedule: Timetable, key: str, now: datetime) -> datetime | None:
    """The first time after now at which the schedule comes; None without a cron."""
    return _run(schedule, key, now, reverse=False)


def jitter(schedule: Timetable, key: str) -> timedelta:
    """How much later than the cron this GoldenImage begins, in whole seconds."""
    most = schedule.jitter_minutes * 60
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return timedelta(seconds=number % most if most else 0)


def _run(schedule: Timetable, key: str, now: datetime, *, reverse: bool) -> datetime | None:
    if schedule.cron is None:
        return None
    later = jitter(schedule, key)
    at = (now - later).replace(second=0, microsecond=0)
    if reverse:
        at += timedelta(minutes=1)  # it looks strictly before, and this minute counts
    try:
        found = next(
            CronSim(schedule.cron, at.astimezone(ZoneInfo(schedule.timezone)), reverse=reverse)
        )
    except (CronSimError, StopIteration):
        return None  # the model has refused it, or it never comes
    return found.astimezone(UTC) + later
