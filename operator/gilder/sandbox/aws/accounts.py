"""The account of a caller: 12-digit access keys, assumed roles, and chosen ids of new accounts."""

import re
from collections import deque
from typing import Any

from moto.iam.models import get_account_id_from
from moto.organizations import utils as organization_ids
from moto.sts.models import STSBackend, sts_backends
from moto.utilities.utils import get_partition

from gilder.sandbox.aws.settings import DEFAULT_ACCOUNT

_ACCOUNT = re.compile(r"\d{12}")
# moto invents account ids; ids queued here are given to the next created accounts.
_next_ids: deque[str] = deque()


def account_of(access_key: str) -> str:
    """The account that an access key id acts as."""
    if _ACCOUNT.fullmatch(access_key):
        return access_key
    if access_key.startswith("ASIA"):
        return str(get_account_id_from(access_key))
    return DEFAULT_ACCOUNT


def caller_arn(account: str, region: str, access_key: str) -> str:
    """The ARN of the caller: an assumed role's session, else a user of the account."""
    partition = get_partition(region)
    role = sts_backends[account][partition].get_assumed_role_from_access_key(access_key)
    return role.arn if role else f"arn:{partition}:iam::{account}:user/sandbox"


def choose_account_ids(*ids: str) -> None:
    """Give these ids to the accounts that Organizations creates next."""
    for account in ids:
        if not _ACCOUNT.fullmatch(account):
            raise ValueError(f"an account id has 12 digits: {account!r}")
    _next_ids.extend(ids)


def reset_accounts() -> None:
    _next_ids.clear()


def install() -> None:
    invented = organization_ids.make_random_account_id

    def make_account_id() -> str:
        return _next_ids.popleft() if _next_ids else invented()

    def get_caller_identity(self: Any, access_key_id: str, region: str) -> tuple[str, str, str]:
        role = self.get_assumed_role_from_access_key(access_key_id)
        if role:
            return role.user_id, role.arn, role.account_id
        arn = caller_arn(self.account_id, region, access_key_id)
        return f"AIDA{self.account_id}0000", arn, self.account_id

    organization_ids.make_random_account_id = make_account_id
    STSBackend.get_caller_identity = get_caller_identity  # type: ignore[method-assign]
