"""The Sessions of each account that the access file leads to, made on use and kept."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from gilder.api.access import AccessFile, AssumedRole
from gilder.aws.errors import UnknownAccountError
from gilder.aws.sessions import Sessions
from gilder.core.tenancy import consumer_roles

# Consumer accounts whose clients are kept; those of one take about 2 MB.
CONSUMERS = 100

# Where an account's credentials come from: profile and roles.
_Way = tuple[str | None, tuple[AssumedRole, ...]]


class Make(Protocol):
    """Makes the Sessions of one account, with limits of its own."""

    def __call__(
        self,
        *,
        profile: str | None,
        roles: Sequence[AssumedRole],
        expected: str | None,
        base: Sessions | None,
    ) -> Sessions: ...


class Accounts:
    """All accounts of the operator. Nothing is asked of AWS to make the Sessions of one."""

    def __init__(self, file: AccessFile | None, make: Make) -> None:
        self.own = make(profile=None, roles=(), expected=None, base=None)
        self._make = make
        self._lock = threading.Lock()
        self._file = file
        self._kept: dict[str, tuple[_Way, Sessions]] = {}
        self._consumers: OrderedDict[str, tuple[_Way, Sessions]] = OrderedDict()

    @property
    def file(self) -> AccessFile | None:
        """The access file as it counts now."""
        return self._file

    def replace(self, file: AccessFile | None) -> None:
        """Go by another file. Accounts with the same profile and roles as before keep their
        Sessions; those of others are let go of, and end with the calls that use them now."""
        with self._lock:
            self._file = file
            ways = _ways(file)
            self._kept = {a: k for a, k in self._kept.items() if ways.get(a) == k[0]}
            for account, (way, _) in list(self._consumers.items()):
                if way != (None, consumer_roles(file, account)):
                    del self._consumers[account]

    def of(self, account: str) -> Sessions:
        """The Sessions of an account where AMIs live.

        An account of the file, else the operator's own. Raises UnknownAccountError for any other,
        and what GetCallerIdentity raises when the own one is not known yet.
        """
        with self._lock:
            way = _ways(self._file).get(account)
            if way is not None:
                found = self._kept.get(account)
                if found is None:
                    found = self._kept[account] = (way, self._new(way, account))
                return found[1]
        if self.own.account() == account:
            return self.own
        raise UnknownAccountError(account)

    def consumer(self, account: str) -> Sessions | None:
        """The Sessions of the role in a consumer account; None when the file has none."""
        with self._lock:
            roles = consumer_roles(self._file, account)
            if roles is None:
                return None
            found = self._consumers.get(account)
            if found is None:
                way: _Way = (None, roles)
                found = self._consumers[account] = (way, self._new(way, account))
            self._consumers.move_to_end(account)
            while len(self._consumers) > CONSUMERS:
                self._consumers.popitem(last=False)
            return found[1]

    def organizations(self) -> Sessions:
        """The Sessions that may read AWS Organizations: of organizations.account, else own."""
        file = self._file
        if file is None or file.organizations is None:
            return self.own
        return self.of(file.organizations.account)

    def _new(self, way: _Way, account: str) -> Sessions:
        profile, roles = way
        base = self.own if profile is None else None
        return self._make(profile=profile, roles=roles, expected=account, base=base)


def _ways(file: AccessFile | None) -> dict[str, _Way]:
    return {t.id: (t.profile, t.roles) for t in file.accounts} if file else {}
