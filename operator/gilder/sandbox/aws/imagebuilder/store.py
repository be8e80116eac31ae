"""What accounts have in Image Builder, by Region."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gilder.sandbox.aws import times
from gilder.sandbox.aws.imagebuilder import names
from gilder.sandbox.aws.imagebuilder.names import Reference, Version, not_found, version_matches
from gilder.sandbox.aws.registry import Call
from gilder.sandbox.aws.settings import CLOCK


@dataclass(eq=False)
class Resource:
    """A component, recipe, configuration or pipeline; `shown` is what its Get returns."""

    arn: str
    kind: str
    slug: str
    shown: dict[str, Any]
    version: Version = (0, 0, 0)
    build: int = 0
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Step:
    """One step of a workflow as it runs."""

    id: str
    name: str
    action: str
    status: str = "PENDING"
    start: float | None = None
    end: float | None = None
    message: str | None = None
    outputs: dict[str, str] = field(default_factory=dict)
    rolled_back: str | None = None


@dataclass(eq=False)
class Workflow:
    """One workflow of a build as it runs."""

    id: str
    kind: str
    arn: str
    steps: list[Step]
    start: float
    end: float | None = None
    status: str = "RUNNING"
    message: str | None = None


@dataclass(frozen=True)
class Failure:
    """How a build is to fail: in which step, with which words (None: AWS's own)."""

    step: str
    reason: str | None = None


@dataclass(eq=False)
class Build:
    """An image build version, with the snapshots of all that it was made from."""

    arn: str
    account: str
    region: str
    name: str
    slug: str
    version: Version
    number: int
    recipe: Mapping[str, Any]
    infrastructure: Mapping[str, Any]
    distribution: Mapping[str, Any] | None
    pipeline: str | None
    options: Mapping[str, Any]
    tags: dict[str, str]
    # Statuses with the time at which each begins.
    schedule: list[tuple[str, float]]
    failure: Failure | None = None
    position: int = 0
    status: str = "PENDING"
    reason: str | None = None
    context: dict[str, Any] | None = None
    cancel_at: float | None = None
    ended: float | None = None
    workflows: list[Workflow] = field(default_factory=list)
    instances: list[str] = field(default_factory=list)
    image_id: str | None = None
    amis: list[dict[str, Any]] = field(default_factory=list)

    @property
    def started(self) -> float:
        return self.schedule[0][1]

    @property
    def finished(self) -> bool:
        return self.ended is not None

    @property
    def log_group(self) -> str:
        logging = self.options.get("loggingConfiguration") or {}
        return logging.get("logGroupName") or f"/aws/imagebuilder/{self.name}"

    @property
    def log_stream(self) -> str:
        return f"{'.'.join(map(str, self.version))}/{self.number}"


@dataclass
class RegionStore:
    """The Image Builder of one account in one Region."""

    resources: dict[str, Resource] = field(default_factory=dict)
    builds: dict[str, Build] = field(default_factory=dict)
    # Build numbers that were given out, by the ARN that they follow.
    numbers: Counter[str] = field(default_factory=Counter)
    # (action, clientToken) -> (digest of the parameters, answer)
    tokens: dict[tuple[str, str], tuple[str, Mapping[str, Any]]] = field(default_factory=dict)

    def of(self, kind: str) -> list[Resource]:
        return [r for r in self.resources.values() if r.kind == kind]

    def number(self, version_arn: str) -> int:
        self.numbers[version_arn] += 1
        return self.numbers[version_arn]


STORES: dict[tuple[str, str], RegionStore] = defaultdict(RegionStore)


def store(call: Call) -> RegionStore:
    return STORES[call.account, call.region]


def all_builds() -> Iterator[Build]:
    for region in list(STORES.values()):
        yield from list(region.builds.values())


def need(call: Call, kind: str, arn: str) -> Resource:
    found = store(call).resources.get(arn)
    if found is None or found.kind != kind:
        raise not_found(kind, arn)
    return found


def best(candidates: list[Any], wanted: Reference) -> Any | None:
    """The newest of the resources or builds that a reference with wildcards means."""
    found = [
        c
        for c in candidates
        if c.slug == wanted.name
        and (wanted.version is None or version_matches(wanted.version, c.version))
        and wanted.build in (None, c.build if isinstance(c, Resource) else c.number)
    ]
    return max(
        found,
        key=lambda c: (c.version, c.build if isinstance(c, Resource) else c.number),
        default=None,
    )


def find(call: Call, kind: str, text: str, parameter: str) -> Resource:
    """The resource of the caller that an ARN means, whose version may have wildcards."""
    wanted = names.parse(text, kind, parameter)
    own = wanted.owner == call.account and wanted.region == call.region
    found: Resource | None = best(store(call).of(kind), wanted) if own else None
    if found is None:
        raise not_found(kind, text)
    return found


def new_version(call: Call, kind: str, slug: str) -> tuple[Version, str]:
    """The version that semanticVersion asks for, beside those there are, and its ARN."""
    present = [r.version for r in store(call).of(kind) if r.slug == slug]
    version = names.next_version(call.need("semanticVersion"), present)
    return version, names.arn(call, kind, slug, names.dotted(version))


def stamp(at: float | None = None) -> str:
    """A time as Image Builder writes it, which is as text."""
    return times.stamp(CLOCK.time() if at is None else at)
