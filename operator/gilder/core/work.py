"""What is under way for a new version: builds, Jobs, test instances, checks, scans; as seen."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gilder.core.observed import Problem

# https://docs.aws.amazon.com/imagebuilder/latest/APIReference/API_ImageState.html
BUILD_FAILED = frozenset({"FAILED", "CANCELLED", "DELETED"})
BUILD_DONE = frozenset({"AVAILABLE", "DEPRECATED", "DISABLED"})


@dataclass(frozen=True, slots=True)
class SeenBuild:
    """A build of Image Builder. `image` is the AMI in the build's own Region, once available."""

    arn: str
    id: str = ""  # build id, from the tag goldenimage.dev/build
    state: str = "PENDING"
    reason: str = ""  # as AWS gives it, once failed
    step: str = ""  # the workflow step that failed, once asked for
    image: str = ""
    leftovers: tuple[tuple[str, tuple[str, ...]], ...] = ()  # AMIs of a failed build: id, snapshots
    log_group: str = ""

    @property
    def failed(self) -> bool:
        return self.state in BUILD_FAILED

    @property
    def done(self) -> bool:
        return self.state in BUILD_DONE

    @property
    def log(self) -> str:
        """Where CloudWatch has the log.

        https://docs.aws.amazon.com/imagebuilder/latest/userguide/monitor-cwlogs.html
        """
        name, version, number = [*self.arn.split(":image/")[-1].split("/"), "", ""][:3]
        group = self.log_group or f"/aws/imagebuilder/{name}"
        return f"CloudWatch log group {group}, stream {version}/{number}"


@dataclass(frozen=True, slots=True)
class SeenJob:
    """A Kubernetes Job of ours."""

    name: str
    build: str  # build id, from its label
    owner: str = ""  # uid of the GoldenImage it belongs to
    state: Literal["running", "succeeded", "failed"] = "running"
    message: str = ""
    log: str = ""  # the end of the failed pod's log
    deleting: bool = False


def job_of(jobs: Iterable[SeenJob], build: str) -> SeenJob | None:
    """The Job of a build, by its id."""
    return next((j for j in jobs if j.build == build), None)


@dataclass(frozen=True, slots=True)
class SeenTest:
    """A test instance of ours; `owner` is `<namespace>/<name>` of the GoldenImage."""

    id: str
    image: str
    owner: str
    state: str
    launched: str = ""  # RFC 3339, UTC
    reason: str = ""  # why it ended
    online: bool = False  # Systems Manager can reach its agent

    @property
    def alive(self) -> bool:
        return self.state in ("pending", "running", "stopping", "stopped")


@dataclass(frozen=True, slots=True)
class SeenCheck:
    """A command on a test instance; `comment` is the name we gave the check."""

    instance: str
    comment: str
    status: str
    details: str = ""
    output: str = ""
    code: int = 0
    command: str = ""  # its id, for where to read more

    @property
    def over(self) -> bool:
        return self.status in ("Success", "Failed", "TimedOut", "Cancelled")


@dataclass(frozen=True, slots=True)
class Scan:
    """Findings in an AMI, counted by severity in lower case."""

    scanned_at: str  # RFC 3339, UTC
    all: Mapping[str, int] = field(default_factory=dict)
    fixable: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkNeeds:
    """What must be read of one Region."""

    names: frozenset[str] = frozenset()  # recipes of ours whose builds are listed
    builds: frozenset[str] = frozenset()  # ARNs of builds that are read one by one
    tests: bool = False  # test instances
    checks: bool = False  # commands on them, and whether they are online
    scans: frozenset[tuple[str, str]] = frozenset()  # AMI, time of its scan

    def __bool__(self) -> bool:
        return bool(self.names or self.builds or self.tests or self.checks or self.scans)


@dataclass(frozen=True, slots=True)
class Work:
    """What is under way in one Region of the account."""

    builds: tuple[SeenBuild, ...] = ()
    tests: tuple[SeenTest, ...] = ()
    checks: tuple[SeenCheck, ...] = ()
    scans: Mapping[str, Scan | Problem] = field(default_factory=dict)  # by AMI
    jobs: tuple[SeenJob, ...] = ()
    problems: tuple[Problem, ...] = ()  # what could not be read, in which case it is empty
    unread: frozenset[str] = frozenset()  # of: builds, tests, checks

    def build(self, id: str, arn: str = "") -> SeenBuild | None:
        """The build with this ARN, or with this id in its tag."""
        if arn:
            return next((b for b in self.builds if b.arn == arn), None)
        return next((b for b in self.builds if b.id == id), None)


NO_WORK = Work()
