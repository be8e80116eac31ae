"""Times of the sandbox's clock as moto keeps them and as AWS shows them."""

from datetime import UTC, datetime


def moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def epoch(time: datetime) -> float:
    """Of a time as moto keeps it, in UTC and without a zone."""
    return time.replace(tzinfo=UTC).timestamp()


def whole(time: datetime) -> str:
    """As EC2 writes a time of which it keeps the seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def stamp(at: float) -> str:
    """A time as text, with milliseconds."""
    return moment(at).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
