"""The account of a caller: 12-digit access keys, assumed roles, and chosen ids of new accounts."""

import re
from collections import deque

from moto.iam.models import get_account_id_from
from moto.organizations import utils as organization_ids

from gilder.sandbox.aws.assumed import SESSIONS
from gilder.sandbox.aws.settings import DEFAULT_ACCOUNT

_ACCOUNT = re.compile(r"\d{12}")
# moto invents account ids; ids queued here are given to the next created accounts.
_next_ids: deque[str] = deque()


def account_of(access_key: str) -> str:
    """The account that an access key id acts as."""
    if _ACCOUNT.fullmatch(access_key):
        return access_key
    session = SESSIONS.find(access_key)
    if session is not None:
        return session.account
    if access_key.startswith("ASIA"):
        return str(get_account_id_from(access_key))
    return DEFAULT_ACCOUNT


def choose_account_ids(*ids: str) -> None:
    """Give these ids to the accounts that Organizations creates next."""
    for account in ids:
        if not _ACCOUNT.fullmatch(account):
            raise ValueError(f"an account id has 12 digits: {account!r}")
    _next_ids.extend(ids)


def reset_accounts() -> None:
    _next_ids.clear()
    SESSIONS.reset()


def install() -> None:
    invented = organization_ids.make_random_account_id

    def make_account_id() -> str:
        return _next_ids.popleft() if _next_ids else invented()

    organization_ids.make_random_account_id = make_account_id
