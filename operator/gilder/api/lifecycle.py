"""From candidate to retirement: promotion, publishing, retention and DR refresh of versions."""

import re
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from gilder.api.base import AccountId, ApiModel, RegionName, configured, rules
from gilder.api.schedule import Timetable

_PARTS = re.compile(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?")

Duration = Annotated[
    str,
    StringConstraints(
        min_length=2, max_length=16, pattern=r"^([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,6}m)?$"
    ),
]

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deprecate.html
LAST_DEPRECATION = 3650 * 24 * 3600.0


def seconds(duration: str) -> float:
    """Seconds of a Duration such as `90d`, `1d12h` or `30m`."""
    found = _PARTS.fullmatch(duration)
    days, hours, minutes = (int(x or 0) for x in found.groups()) if found else (0, 0, 0)
    return timedelta(days=days, hours=hours, minutes=minutes).total_seconds()


class Refresh(Timetable):
    """When a replica Region receives the version that is released by then."""

    model_config = configured(("has(self.cron)", "give cron"))

    @model_validator(mode="after")
    def _when(self) -> "Refresh":
        if self.cron is None:
            raise ValueError("give cron")
        return self


class Retention(ApiModel):
    """What becomes of versions that were superseded, in one Region.

    The released version, the newest good one of the Region, and AMIs in use always stay. With both
    keep and maxAge a version goes when both say so; with neither none goes. Ages count from the
    creation of the AMI in its Region.
    """

    keep: Annotated[
        int | None, Field(ge=1, le=1000, description="This many newest released versions stay.")
    ] = None
    max_age: Annotated[Duration | None, Field(description="Versions up to this age stay.")] = None
    keep_unreleased: Annotated[
        int,
        Field(
            ge=0,
            le=100,
            description="This many newest versions stay that failed their gates or were never "
            "released.",
        ),
    ] = 1
    deprecate_after: Annotated[
        Duration | None,
        Field(
            description="Age at which a superseded version is deprecated: hidden from those who "
            "search, still launched by id. The released version never is."
        ),
    ] = None
    disable_after: Annotated[
        Duration | None,
        Field(
            description="Age at which a superseded version is disabled: nobody can launch it and "
            "its launch permissions go, until a rollback enables it."
        ),
    ] = None
    grace_period: Annotated[
        Duration,
        Field(description="How long status.retiring announces what goes before it goes."),
    ] = "24h"
    delete_snapshots: Annotated[
        bool, Field(description="Delete the snapshots of AMIs that go, and left-over ones.")
    ] = True
    unused_for: Annotated[
        Duration,
        Field(
            description="An AMI that was launched within this time counts as in use; 0m: it does "
            "not matter. AWS tells of launches, by any account, a day late."
        ),
    ] = "7d"
    check_other_accounts: Annotated[
        bool,
        Field(description="Ask which other accounts use an AMI before it goes; they keep it."),
    ] = True
    deregistration_protection: Annotated[
        Literal["Enabled", "EnabledWithCooldown", "Disabled"] | None,
        Field(
            description="Protection of the AMIs that stay against being deregistered by anybody. "
            "It is taken off before one goes, which with a cooldown is 24 hours before. Absent: "
            "protection is left as it is, and AMIs that have it stay."
        ),
    ] = None

    @model_validator(mode="after")
    def _order(self) -> "Retention":
        if self.deprecate_after is not None and seconds(self.deprecate_after) > LAST_DEPRECATION:
            raise ValueError("deprecateAfter: AWS takes ten years (3650d) at most")
        steps = ("deprecate_after", "disable_after", "max_age")
        given = [(s, seconds(v)) for s in steps if (v := getattr(self, s)) is not None]
        for (first, a), (second, b) in pairwise(given):
            if a > b:
                names = [n.split("_")[0] + n.split("_")[1].title() for n in (first, second)]
                raise ValueError(f"{names[0]}: must not be longer than {names[1]}")
        return self

    @property
    def removes(self) -> bool:
        return self.keep is not None or self.max_age is not None


class Promotion(ApiModel):
    """When a version that passed its gates becomes the one that shares and parameters follow."""

    mode: Annotated[
        Literal["Automatic", "Manual", "Soak"],
        Field(
            description="Automatic: once it is good. Soak: soakTime after that. Manual: when the "
            "annotation goldenimage.dev/promote names it, which releases at once in every mode."
        ),
    ] = "Automatic"
    soak_time: Duration | None = None
    replicas: Annotated[
        Literal["Wait", "Follow"],
        Field(
            description="Wait: released once its copies in all replica Regions without a schedule "
            "are available, all Regions together. Follow: each Region once its copy is available."
        ),
    ] = "Wait"
    test_accounts: Annotated[
        tuple[AccountId, ...],
        Field(
            max_length=100,
            json_schema_extra={"x-kubernetes-list-type": "set"},
            description="Accounts that ImageShares with versions.select: Candidate may let launch "
            "versions before they are released.",
        ),
    ] = ()

    model_config = configured(
        ("(self.mode == 'Soak') == has(self.soakTime)", "soakTime goes with mode Soak, and only so")
    )

    @model_validator(mode="after")
    def _soak(self) -> "Promotion":
        if (self.mode == "Soak") != (self.soak_time is not None):
            raise ValueError("soakTime goes with mode Soak, and only so")
        return self


# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
PARAMETER_RULE = (
    "!self.startsWith('aws') && !self.startsWith('ssm') && !self.startsWith('/aws') && "
    "!self.startsWith('/ssm')",
    "names that start with aws or ssm are reserved by AWS",
)


PATH_RULE = (
    "!self.contains('/') || self.startsWith('/')",
    "a name with levels must begin with /",
)


PARAMETER_LIMIT = 1011  # characters, with what AWS puts before it in the ARN
MOST_LEVELS = 15


def parameter_wrong(name: str) -> str:
    """What AWS refuses about the name of a parameter that is to be made; empty: nothing."""
    levels = name.removeprefix("/").split("/")
    if levels[0].lower().startswith(("aws", "ssm")):
        return PARAMETER_RULE[1]
    if "" in levels:
        return "a level between two / must not be empty"
    if len(levels) > MOST_LEVELS:
        return f"it has {len(levels)} levels, and AWS takes {MOST_LEVELS}"
    if len(name) > PARAMETER_LIMIT:
        return f"it has {len(name)} characters, and AWS takes {PARAMETER_LIMIT}"
    return ""


class PublishedParameter(ApiModel):
    """An SSM parameter of data type aws:ec2:image in each Region, with the AMI of that Region."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=900,
            pattern=r"^([a-zA-Z0-9_./-]|\{(namespace|name)\})+$",
            description="May hold {namespace} and {name}, such as /golden/{name}.",
            json_schema_extra=rules(PARAMETER_RULE, PATH_RULE),
        ),
    ]
    accounts: Annotated[
        tuple[AccountId, ...],
        Field(
            max_length=100,
            json_schema_extra={"x-kubernetes-list-type": "set"},
            description="Consumer accounts that get the same parameter, by the role that the "
            "operator's access file has for them. An ImageShare must let them launch the AMI.",
        ),
    ] = ()

    @model_validator(mode="after")
    def _free(self) -> "PublishedParameter":
        if wrong := parameter_wrong(self.name):
            raise ValueError(f"name: {wrong}")
        if "/" in self.name and not self.name.startswith("/"):
            raise ValueError(f"name: {PATH_RULE[1]}")
        return self

    def named(self, namespace: str, name: str) -> str:
        return self.name.replace("{namespace}", namespace).replace("{name}", name)


class PublishedTemplate(ApiModel):
    """A launch template whose default version follows the AMI: exactly one of id and name."""

    region: Annotated[
        RegionName | None, Field(description="Region of the template; absent: the home Region.")
    ] = None
    id: Annotated[str | None, Field(pattern=r"^lt-[0-9a-f]{8,17}$")] = None
    name: Annotated[
        str | None, Field(min_length=3, max_length=128, pattern=r"^[a-zA-Z0-9()./_-]+$")
    ] = None

    model_config = configured(("has(self.id) != has(self.name)", "give exactly one of id and name"))

    @model_validator(mode="after")
    def _one(self) -> "PublishedTemplate":
        if (self.id is None) == (self.name is None):
            raise ValueError("give exactly one of id and name")
        return self


class PublishedConfigMap(ApiModel):
    """A ConfigMap beside the GoldenImage with the AMI by Region."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"),
    ]


class Publish(ApiModel):
    """Where the released version is told to those who launch it."""

    ssm_parameter: PublishedParameter | None = None
    launch_templates: Annotated[
        tuple[PublishedTemplate, ...], Field(max_length=50, description="Each once.")
    ] = ()
    config_map: PublishedConfigMap | None = None
