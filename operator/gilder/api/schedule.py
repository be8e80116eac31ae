"""When a GoldenImage is built anew."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator

from gilder.api.base import ApiModel

RebuildOn = Literal["ParentImageChanged", "SpecChanged"]


class Timetable(ApiModel):
    """Times by cron."""

    cron: Annotated[
        str | None,
        Field(
            pattern=r"^\S+( +\S+){4}$",
            max_length=100,
            description="Five fields: minute, hour, day of month, month, day of week. Runs that "
            "were missed are made up for once.",
        ),
    ] = None
    timezone: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$",
            max_length=64,
            description="IANA name, such as Europe/Berlin.",
        ),
    ] = "UTC"
    jitter_minutes: Annotated[
        int,
        Field(
            ge=0,
            le=1440,
            description="Each GoldenImage begins up to so much later, always by the same amount.",
        ),
    ] = 0

    @field_validator("cron")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                next(CronSim(value, datetime(2026, 1, 1, tzinfo=UTC)))
            except CronSimError as error:
                raise ValueError(f"{error}: give five cron fields, such as 0 3 * * 1") from None
            except StopIteration:
                raise ValueError("it never comes: correct the day or month") from None
        return value

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("no such time zone: use an IANA name, such as Europe/Berlin") from None
        return value


class Schedule(Timetable):
    """Cron, and the changes that ask for a build. The first build needs neither."""

    rebuild_on: Annotated[
        tuple[RebuildOn, ...],
        Field(
            max_length=2,
            description="SpecChanged: what the image is built from changed in spec.source. "
            "ParentImageChanged: the recipe's ssmParameter or newest means another AMI.",
        ),
    ] = ("SpecChanged",)
