"""State of the extensions that has no place in moto's backends."""

from collections import defaultdict
from dataclasses import dataclass, field

from gilder.sandbox.aws.settings import UNBLOCKED


@dataclass
class RegionState:
    """What one account has in one Region, besides moto's backend."""

    # CopyImage: ClientToken -> (digest of the parameters, AMI id)
    tokens: dict[str, tuple[str, str]] = field(default_factory=dict)
    # RunInstances: ClientToken -> (digest of the parameters, reservation id)
    launches: dict[str, tuple[str, str]] = field(default_factory=dict)
    deregistered: set[str] = field(default_factory=set)
    # None: the setting `image_block_public_access`
    block_public_access: str | None = None
    # The same for snapshots.
    snapshot_block: str = UNBLOCKED


REGIONS: dict[tuple[str, str], RegionState] = defaultdict(RegionState)


def region_state(account: str, region: str) -> RegionState:
    return REGIONS[account, region]
