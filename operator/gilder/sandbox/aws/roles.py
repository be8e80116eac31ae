"""AssumeRole: the role must exist, its trust policy must let the caller, and time limits hold."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gilder.sandbox.aws import policy
from gilder.sandbox.aws.assumed import SESSIONS, Session
from gilder.sandbox.aws.callers import principal_of, session_of
from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.organization import find_account
from gilder.sandbox.aws.principals import find_role, role_account
from gilder.sandbox.aws.registry import Call, sts
from gilder.sandbox.aws.settings import CLOCK

_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
_SHORTEST, _LONGEST, _CHAINED = 900, 43_200, 3600


def _invalid(message: str) -> AwsError:
    return AwsError("ValidationError", message)


def _constraint(value: object, field: str, constraint: str) -> AwsError:
    return _invalid(
        f"1 validation error detected: Value '{value}' at '{field}' failed to satisfy "
        f"constraint: {constraint}"
    )


def _validated(call: Call) -> tuple[str, str, int]:
    """The account of the role, the session's name and its length in seconds."""
    written, name = call.need("RoleArn"), call.need("RoleSessionName")
    account = role_account(written)
    if account is None:
        raise _invalid(f"{written} is invalid")
    if not _NAME.fullmatch(name):
        raise _constraint(
            name,
            "roleSessionName",
            "Member must satisfy regular expression pattern: [\\w+=,.@-]*",
        )
    external = call.get("ExternalId")
    if external is not None and not _EXTERNAL_ID.fullmatch(external):
        raise _constraint(
            external,
            "externalId",
            "Member must satisfy regular expression pattern: [\\w+=,.@:\\/-]*",
        )
    seconds = int(call.get("DurationSeconds", _CHAINED))
    if seconds < _SHORTEST:
        raise _constraint(
            seconds,
            "durationSeconds",
            f"Member must have value greater than or equal to {_SHORTEST}",
        )
    if seconds > _LONGEST:
        raise _constraint(
            seconds, "durationSeconds", f"Member must have value less than or equal to {_LONGEST}"
        )
    return account, name, seconds


def _role(arn: str) -> Any | None:
    """The role, unless its account is suspended or closed."""
    account = find_account(role_account(arn) or "")
    if account is not None and account.status != "ACTIVE":
        return None
    return find_role(arn)


def _session_tags(call: Call, caller: Session | None) -> tuple[dict[str, str], frozenset[str]]:
    """The tags of the new session, with those that a chain hands on, and which go further.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html
    """
    given = {t["Key"]: t.get("Value", "") for t in call.get("Tags", [])}
    if len({k.lower() for k in given}) < len(call.get("Tags", [])):
        raise AwsError("InvalidParameterValue", "Duplicate tag keys found.")
    if len(given) > 50:
        raise _constraint(len(given), "tags", "Member must have length less than or equal to 50")
    further = frozenset(call.get("TransitiveTagKeys", []))
    if not further <= given.keys():
        raise AwsError(
            "InvalidParameterValue",
            "The specified transitive tag key must be included in the requested tags.",
        )
    inherited = {k: v for k, v in caller.tags.items() if k in caller.transitive} if caller else {}
    if {k.lower() for k in given} & {k.lower() for k in inherited}:
        raise AwsError(
            "InvalidParameterValue",
            "One of the specified transitive tag keys can't be set because it conflicts with a "
            "transitive tag key from the calling session.",
        )
    return {**inherited, **given}, further | inherited.keys()


def _check_trust(call: Call, role: Any, arn: str, tags: Mapping[str, str]) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_update-role-trust-policy.html"""
    principal = principal_of(call)
    context = policy.context_of(principal)
    context["sts:rolesessionname"] = [call.get("RoleSessionName")]
    if call.get("ExternalId") is not None:
        context["sts:externalid"] = [call.get("ExternalId")]
    if call.get("SourceIdentity") is not None:
        context["sts:sourceidentity"] = [call.get("SourceIdentity")]
    if tags:
        context["aws:tagkeys"] = list(tags)
        context["sts:transitivetagkeys"] = list(call.get("TransitiveTagKeys", []))
        context.update({f"aws:requesttag/{k.lower()}": [v] for k, v in tags.items()})
    actions = ["sts:AssumeRole"]
    actions += ["sts:TagSession"] if tags else []
    actions += ["sts:SetSourceIdentity"] if call.get("SourceIdentity") is not None else []
    for action in actions:
        trusted = role is not None and policy.allows(
            role.assume_role_policy_document, principal, action, context
        )
        if not trusted:
            # A role that is not there is answered in the same words, so that nobody can try names.
            raise AwsError(
                "AccessDenied",
                f"User: {principal.arn} is not authorized to perform: {action} on resource: {arn}",
            )


@sts
def assume_role(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html"""
    account, name, seconds = _validated(call)
    caller, arn = session_of(call.access_key), call.need("RoleArn")
    tags, transitive = _session_tags(call, caller)
    role = _role(arn)
    _check_trust(call, role, arn, tags)
    assert role is not None
    if seconds > int(role.max_session_duration or _CHAINED):
        raise _invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        )
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
    if caller is not None and seconds > _CHAINED:
        raise _invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by "
            "role chaining"
        )
    session = Session(
        account=account,
        role_arn=arn,
        role_id=role.id,
        name=name,
        expires=CLOCK.time() + seconds,
        tags=tags,
        transitive=transitive,
        source_identity=call.get("SourceIdentity") or (caller.source_identity if caller else None),
    )
    SESSIONS.add(session)
    out: dict[str, Any] = {
        "Credentials": {
            "AccessKeyId": session.access_key,
            "SecretAccessKey": session.secret,
            "SessionToken": session.token,
            "Expiration": datetime.fromtimestamp(session.expires, UTC),
        },
        "AssumedRoleUser": {"AssumedRoleId": session.user_id, "Arn": session.arn},
    }
    if tags or call.get("Policy"):
        out["PackedPolicySize"] = 6
    if session.source_identity is not None:
        out["SourceIdentity"] = session.source_identity
    return out


@sts
def get_caller_identity(call: Call) -> Mapping[str, Any]:
    session = session_of(call.access_key)
    return {
        "UserId": session.user_id if session else f"AIDA{call.account}0000",
        "Account": call.account,
        "Arn": principal_of(call).arn,
    }
