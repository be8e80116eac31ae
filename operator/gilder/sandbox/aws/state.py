"""State of the extensions that has no place in moto's backends."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gilder.sandbox.aws.settings import UNBLOCKED


@dataclass(eq=False)
class Rule:
    """A retention rule of Recycle Bin; `created` is by the sandbox's clock."""

    id: str
    kind: str
    days: int
    created: float
    description: str = ""
    # Of tag-level rules; a Region-level rule has none.
    tags: list[dict[str, str]] = field(default_factory=list)
    exclude: list[dict[str, str]] = field(default_factory=list)
    own_tags: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Binned:
    """An AMI or snapshot in Recycle Bin: since when, and when it goes for good."""

    resource: Any
    entered: float
    leaves: float


@dataclass(eq=False)
class UsageReport:
    """A usage report of an AMI, with what it found when it was asked for."""

    id: str
    image: str
    resource_types: list[dict[str, Any]]
    accounts: list[str]
    created: float
    ready_at: float
    # Account, resource type and count.
    entries: list[tuple[str, str, int]]
    failure: str | None = None


@dataclass
class RegionState:
    """What one account has in one Region, besides moto's backend."""

    # RunInstances: ClientToken -> (digest of the parameters, reservation id)
    launches: dict[str, tuple[str, str]] = field(default_factory=dict)
    deregistered: set[str] = field(default_factory=set)
    rules: dict[str, Rule] = field(default_factory=dict)
    # What is in Recycle Bin, by the id of the AMI or snapshot.
    bin: dict[str, Binned] = field(default_factory=dict)
    reports: dict[str, UsageReport] = field(default_factory=dict)
    # Other calls: (action, ClientToken) -> (digest of the parameters, answer)
    answers: dict[tuple[str, str], tuple[str, Mapping[str, Any] | None]] = field(
        default_factory=dict
    )
    # None: the setting `image_block_public_access`
    block_public_access: str | None = None
    # The same for snapshots.
    snapshot_block: str = UNBLOCKED


REGIONS: dict[tuple[str, str], RegionState] = defaultdict(RegionState)


def region_state(account: str, region: str) -> RegionState:
    return REGIONS[account, region]
