"""Sessions by account."""

import threading
from typing import Any

from gilder.api.access import AccessFile
from gilder.aws.sessions import Sessions
from gilder.core.tenancy import consumer_roles


class Accounts:
    def __init__(self, file: AccessFile | None, *, region: str, **options: Any) -> None:
        self.file = file
        self._region, self._options = region, options
        self._lock = threading.Lock()
        self.own = Sessions(region, **options)
        self._of: dict[str, Sessions] = {}
        self._consumers: dict[str, Sessions] = {}

    def of(self, account: str) -> Sessions:
        entry = next(a for a in self.file.accounts if a.id == account)
        with self._lock:
            return self._of.setdefault(
                account,
                Sessions(
                    self._region,
                    profile=entry.profile,
                    roles=entry.roles,
                    expected=account,
                    **self._options,
                ),
            )

    def consumer(self, account: str) -> Sessions | None:
        roles = consumer_roles(self.file, account)
        if roles is None:
            return None
        with self._lock:
            return self._consumers.setdefault(
                account, Sessions(self._region, roles=roles, expected=account, **self._options)
            )

    def organizations(self) -> Sessions:
        account = self.file.organizations.account if self.file else None
        return self.of(account) if account else self.own

    def replace(self, file: AccessFile | None) -> None:
        self.file = file
        self._of, self._consumers = {}, {}
