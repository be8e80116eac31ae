"""Sessions of assumed roles: temporary credentials, what they act as, and when they end."""

import hashlib
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from moto.iam.models import iam_backends

from gilder.sandbox.aws.errors import QUERY_SERVICES
from gilder.sandbox.aws.settings import CLOCK

PARTITION = "aws"
_EXPIRED = "The security token included in the request is expired"
_INVALID = "The security token included in the request is invalid."


@dataclass(frozen=True)
class Session:
    """What AssumeRole hands out: credentials, and the role behind them."""

    account: str
    role_arn: str
    role_id: str
    name: str
    expires: float  # by the sandbox's clock
    tags: Mapping[str, str] = field(default_factory=dict)
    transitive: frozenset[str] = frozenset()
    source_identity: str | None = None
    access_key: str = field(default_factory=lambda: f"ASIA{secrets.token_hex(8).upper()}")
    secret: str = field(default_factory=lambda: secrets.token_hex(20))
    token: str = field(default_factory=lambda: secrets.token_hex(64))

    @property
    def arn(self) -> str:
        # A role's path is not part of the ARN of its sessions.
        role = self.role_arn.rpartition("/")[2]
        return f"arn:{PARTITION}:sts::{self.account}:assumed-role/{role}/{self.name}"

    @property
    def user_id(self) -> str:
        return f"{self.role_id}:{self.name}"

    @property
    def expired(self) -> bool:
        return self.expires <= CLOCK.time()


class Sessions:
    """All sessions by their access key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def add(self, session: Session) -> None:
        with self._lock:
            self._sessions[session.access_key] = session

    def find(self, access_key: str) -> Session | None:
        with self._lock:
            return self._sessions.get(access_key)

    def reset(self) -> None:
        with self._lock:
            self._sessions.clear()


# One per process, because moto's state is one per process.
SESSIONS = Sessions()


def role_exists(session: Session) -> bool:
    """Whether the very role is still there; one of the same name made anew is another."""
    return session.role_id in iam_backends[session.account][PARTITION].roles


def unique_id(arn: str) -> str:
    """A made-up unique id of a role that the sandbox does not know."""
    return "AROA" + hashlib.sha256(arn.encode()).hexdigest()[:16].upper()


def refusal(service: str, session: Session, token: str | None) -> tuple[str, str] | None:
    """Code and message for credentials that do not hold any more, in the words of each service.

    https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    """
    if session.expired:
        if service == "ec2":
            return "RequestExpired", "Request has expired."
        if service in QUERY_SERVICES:
            return "ExpiredToken", _EXPIRED
        return "ExpiredTokenException", _EXPIRED
    if token != session.token or not role_exists(session):
        if service == "ec2":
            return "AuthFailure", ("AWS was not able to validate the provided access credentials")
        if service in QUERY_SERVICES:
            return "InvalidClientTokenId", _INVALID
        return "UnrecognizedClientException", _INVALID
    return None
