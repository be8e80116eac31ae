"""Credentials of assumed roles, one after the other, that renew themselves before they expire."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    DeferredRefreshableCredentials,
    ReadOnlyCredentials,
)

from gilder.api.access import AssumedRole
from gilder.aws.errors import AWS_ERRORS, RoleError
from gilder.aws.permissions import needs

# What STS takes when nothing is said:
# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
LIFETIME = 3600
PAUSE = 15.0  # seconds, at least, after a failure until STS is asked again


def pause(took: float) -> float:
    """Seconds until STS is asked again, after a failure that took so long to come."""
    return max(PAUSE, 2 * took)


class Source(Protocol):
    """Whatever has credentials to begin with."""

    def get_frozen_credentials(self) -> ReadOnlyCredentials: ...


@needs("sts:AssumeRole", "sts:TagSession")
def chain(
    source: Source, roles: Sequence[AssumedRole], session_name: str, make_client: Callable[..., Any]
) -> Source:
    """The credentials of the last role, each assumed with those of the one before.

    Nothing is asked of STS until the credentials are used. Their use raises RoleError, with the
    role that could not be assumed. A failure is remembered for some seconds, and while STS is
    asked again, so that one caller at most waits for a role that fails.
    """
    for role in roles:
        fetcher = _Fetcher(make_client, source, role, session_name)
        source = _Credentials(fetcher, role.duration_seconds or LIFETIME)
    return source


def request(role: AssumedRole, session_name: str) -> dict[str, Any]:
    """What AssumeRole is told besides the role."""
    said: dict[str, Any] = {"RoleSessionName": session_name}
    if role.external_id:
        said["ExternalId"] = role.external_id
    if role.session_tags:
        pairs = sorted(role.session_tags.items())
        said["Tags"] = [{"Key": k, "Value": v} for k, v in pairs]
    if role.transitive_tag_keys:
        said["TransitiveTagKeys"] = list(role.transitive_tag_keys)
    if role.duration_seconds:
        said["DurationSeconds"] = role.duration_seconds
    return said


class _Fetcher(AssumeRoleCredentialFetcher):
    """botocore's, with errors that name the role, and a pause after each."""

    def __init__(
        self, make_client: Callable[..., Any], source: Source, role: AssumedRole, session_name: str
    ) -> None:
        # The credentials are the cache; a second one below them would give out the old ones.
        super().__init__(
            make_client,
            source,
            role.arn,
            extra_args=request(role, session_name),
            expiry_window_seconds=2**31,
        )
        self._role = role.arn
        self._failure: RoleError | None = None
        self._until = 0.0
        self._asking = False

    def failed(self) -> RoleError | None:
        """The last failure, as long as STS is not to be asked again or is being asked."""
        failure = self._failure
        if failure is None or not (self._asking or time.monotonic() < self._until):
            return None
        return RoleError(failure.role, failure.cause)  # each raised with its own traceback

    def _get_credentials(self) -> Any:
        # Below the lock of the credentials, so by one thread at a time.
        if failure := self.failed():
            raise failure  # while this caller waited
        began, self._asking = time.monotonic(), True
        try:
            found = super()._get_credentials()  # type: ignore[misc]
        except RoleError as error:  # of a role before this one
            self._remember(error, began)
            raise
        except AWS_ERRORS as error:
            said = RoleError(self._role, error)
            self._remember(said, began)
            raise said from error
        finally:
            self._asking = False
        self._failure = None
        return found

    def _remember(self, failure: RoleError, began: float) -> None:
        now = time.monotonic()
        self._failure, self._until = failure, now + pause(now - began)


class _Credentials(DeferredRefreshableCredentials):
    """botocore's, renewed in proportion to their lifetime.

    botocore begins 15 minutes before the end, which for 900 seconds would be at every call.
    """

    def __init__(self, fetcher: _Fetcher, lifetime: int) -> None:
        super().__init__(fetcher.fetch_credentials, "assume-role")
        self._fetcher = fetcher
        self._advisory_refresh_timeout = min(900, lifetime // 4)
        self._mandatory_refresh_timeout = min(600, lifetime // 6)

    def _refresh(self) -> None:
        # Before botocore waits for its lock, and logs a failure once per caller.
        if failure := self._fetcher.failed():
            if self.refresh_needed(self._mandatory_refresh_timeout):
                raise failure
            return  # those that are there are good for a while
        super()._refresh()  # type: ignore[misc]
