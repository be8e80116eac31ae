"""Gates: what a new version must pass before it is copied, shared or published."""

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from gilder.api.base import ApiModel, configured
from gilder.api.building import Check, InstanceType, Placed, ProfileName

ALL_CHECKS: tuple[Check, ...] = (
    "NoSecrets",
    "NoHostKeys",
    "Patched",
    "AgentHealthy",
    "CloudInitHealthy",
)

Count = Annotated[int, Field(ge=0, le=100_000)]


class MaxFindings(ApiModel):
    """Most findings that are let pass, by severity; a severity that is not named does not count."""

    critical: Count | None = None
    high: Count | None = None
    medium: Count | None = None
    low: Count | None = None

    model_config = configured(
        (
            "has(self.critical) || has(self.high) || has(self.medium) || has(self.low)",
            "name at least one severity",
        )
    )

    @model_validator(mode="after")
    def _any(self) -> "MaxFindings":
        if not self.limits():
            raise ValueError("name at least one severity")
        return self

    def limits(self) -> dict[str, int]:
        """Severity in lower case to the most findings, for those that are named."""
        pairs = (
            ("critical", self.critical),
            ("high", self.high),
            ("medium", self.medium),
            ("low", self.low),
        )
        return {name: count for name, count in pairs if count is not None}


class InspectorGate(ApiModel):
    """What Amazon Inspector found in the AMI."""

    max_findings: MaxFindings
    only_fixable: Annotated[
        bool, Field(description="Count only findings for which there is a fix.")
    ] = False
    max_age_hours: Annotated[
        int, Field(ge=1, le=720, description="A scan that is older does not count.")
    ] = 72
    timeout_minutes: Annotated[
        int, Field(ge=5, le=10_080, description="How long to wait for a scan.")
    ] = 1440


class TestInstance(Placed):
    """The short-lived instance that checks run on."""

    __test__ = False  # no test case, whatever pytest thinks of the name

    profile: Annotated[
        ProfileName,
        Field(description="Instance profile that lets the SSM agent work."),
    ]
    type: InstanceType = "t3.small"


class SsmDocument(ApiModel):
    """A command document of yours that must succeed on the test instance."""

    name: Annotated[
        str,
        Field(
            pattern=r"^[a-zA-Z0-9_.:/-]{3,200}$",
            description="Name, or the ARN of a document that is shared with the account.",
        ),
    ]
    version: Annotated[str | None, Field(pattern=r"^([$]LATEST|[$]DEFAULT|[1-9][0-9]{0,9})$")] = (
        None
    )
    parameters: Annotated[
        dict[
            Annotated[str, StringConstraints(min_length=1, max_length=256)],
            Annotated[tuple[str, ...], Field(min_length=1, max_length=50)],
        ],
        Field(max_length=25, description="Parameters of the document; values are lists."),
    ] = {}


class SsmGate(ApiModel):
    """Checks by SSM Run Command on an instance that is launched from the candidate."""

    instance: TestInstance
    checks: Annotated[
        tuple[Check, ...],
        Field(max_length=5, description="Checks that this operator comes with."),
    ] = ALL_CHECKS
    documents: Annotated[tuple[SsmDocument, ...], Field(max_length=20)] = ()
    timeout_minutes: Annotated[
        int,
        Field(ge=5, le=480, description="For all checks, from the launch; the instance ends then."),
    ] = 60

    @model_validator(mode="after")
    def _any(self) -> "SsmGate":
        if not self.checks and not self.documents:
            raise ValueError("name at least one of checks and documents")
        if len(set(self.checks)) != len(self.checks):
            raise ValueError("checks: each may be named once")
        return self


class Gates(ApiModel):
    """All must be passed."""

    inspector: InspectorGate | None = None
    ssm: SsmGate | None = None
    manual: Annotated[
        bool,
        Field(
            description="Wait until the annotation goldenimage.dev/approve names the version "
            "(or goldenimage.dev/reject does)."
        ),
    ] = False

    @property
    def any(self) -> bool:
        return self.manual or self.inspector is not None or self.ssm is not None
