"""Times as text, and how long ago they are."""

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """In seconds, UTC, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def passed(since: str | None, now: datetime) -> float:
    """Seconds since an RFC 3339 time; endless where there is none that can be read."""
    try:
        return (now - datetime.fromisoformat(since or "")).total_seconds()
    except (ValueError, TypeError):
        return float("inf")
