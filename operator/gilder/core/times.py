"""Times as text, and how long ago they are."""

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """In seconds, UTC, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime:
    """An RFC 3339 time; one that cannot be read is far away, so that nothing falls due by it."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime(9000, 1, 1, tzinfo=UTC)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def passed(since: str | None, now: datetime) -> float:
    """Seconds since an RFC 3339 time; endless where there is none that can be read."""
    try:
        return (now - datetime.fromisoformat(since or "")).total_seconds()
    except (ValueError, TypeError):
        return float("inf")
