"""Who makes a call: a user of an account, or the session of a role."""

from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from gilder.sandbox.aws.assumed import PARTITION, SESSIONS, Session, role_exists
from gilder.sandbox.aws.policy import Principal
from gilder.sandbox.aws.registry import Call


def session_of(access_key: str) -> Session | None:
    return SESSIONS.find(access_key)


def user_arn(account: str) -> str:
    """The caller behind an access key that is an account id."""
    return f"arn:{PARTITION}:iam::{account}:user/sandbox"


def caller_arn(account: str, access_key: str) -> str:
    """The ARN of the caller: an assumed role's session, else a user of the account."""
    session = session_of(access_key)
    if session is not None:
        return session.arn
    # Roles that were assumed with a web identity or SAML are moto's.
    role = sts_backends[account][PARTITION].get_assumed_role_from_access_key(access_key)
    return role.arn if role else user_arn(account)


def principal_of(call: Call) -> Principal:
    session = session_of(call.access_key)
    arn = caller_arn(call.account, call.access_key)
    if session is None:
        return Principal(call.account, arn)
    return Principal(call.account, arn, session.role_arn, _tags(session))


def _tags(session: Session) -> tuple[tuple[str, str], ...]:
    """aws:PrincipalTag: those of the role, and above them those of the session."""
    tags: dict[str, str] = {}
    if role_exists(session):
        role = iam_backends[session.account][PARTITION].roles[session.role_id]
        tags = {t["Key"].lower(): t["Value"] for t in role.tags or []}
    tags.update({k.lower(): v for k, v in session.tags.items()})
    return tuple(tags.items())
