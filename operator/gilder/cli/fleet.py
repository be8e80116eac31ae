"""The fleet that commands look at AWS with: the credentials at hand, and the access file."""

from pathlib import Path
from typing import Any

from gilder.aws.accounts import Accounts
from gilder.aws.sessions import Sessions
from gilder.config import read_access
from gilder.reconcile.engine import Engine
from gilder.reconcile.fleet import Fleet
from gilder.reconcile.ports import ConfigMaps


def fleet_of(region: str, cluster: str, access: Path | None, maps: ConfigMaps | None) -> Fleet:
    """Raises AccessError when the access file cannot be read."""
    file = read_access(str(access)) if access is not None else None

    def sessions(**way: Any) -> Sessions:
        return Sessions(region, cluster=cluster, **way)

    def engine(of: Sessions) -> Engine:
        return Engine(of, cluster)

    return Fleet(Accounts(file, sessions), engine, maps=maps)
