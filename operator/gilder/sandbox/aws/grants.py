"""KMS grants: idempotent names, validation, pagination, filters, dry runs and limits."""

import re
import time
from collections.abc import Mapping
from typing import Any

from botocore.session import get_session
from moto.kms.models import Grant, kms_backends

from gilder.sandbox.aws.assumed import unique_id
from gilder.sandbox.aws.callers import principal_of
from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.key_calls import dry_run
from gilder.sandbox.aws.keys import allowed_by_policy, authorize, grants_of, need_enabled, need_key
from gilder.sandbox.aws.pagination import page
from gilder.sandbox.aws.principals import role_gone, role_id, role_missing
from gilder.sandbox.aws.registry import Call, kms
from gilder.sandbox.aws.settings import SETTINGS

_PRINCIPAL = re.compile(r"arn:aws[\w-]*:(?:iam|sts)::\d{12}:.+")
_NAME = re.compile(r"[a-zA-Z0-9:/_-]{1,256}")
_SHAPE: Any = get_session().get_service_model("kms").shape_for("GrantOperation")
_OPERATIONS = frozenset(_SHAPE.enum)
# https://docs.aws.amazon.com/kms/latest/APIReference/API_ListGrants.html
_LIST_DEFAULT, _LIST_MAXIMUM = 50, 100


def _dry_run(call: Call) -> None:
    dry_run(call.get("DryRun"))


def _invalid(value: Any, field: str, constraint: str) -> AwsError:
    return AwsError(
        "ValidationException",
        f"1 validation error detected: Value '{value}' at '{field}' failed to satisfy "
        f"constraint: {constraint}",
    )


def _principal(value: str | None, field: str) -> None:
    if value is not None and not _PRINCIPAL.fullmatch(value):
        raise AwsError("InvalidArnException", f"{field} {value} is not a valid principal ARN")


@kms
def create_grant(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateGrant.html"""
    key = need_key(call, call.need("KeyId"))
    operations = list(call.get("Operations") or [])
    unknown = [o for o in operations if o not in _OPERATIONS]
    if not operations or unknown:
        raise _invalid(
            operations,
            "operations",
            f"Member must satisfy enum value set: [{', '.join(sorted(_OPERATIONS))}]",
        )
    grantee = call.get("GranteePrincipal") or call.get("GranteeServicePrincipal")
    if not grantee:
        raise _invalid(grantee, "granteePrincipal", "Member must not be null")
    _principal(call.get("GranteePrincipal"), "GranteePrincipal")
    _principal(call.get("RetiringPrincipal"), "RetiringPrincipal")
    name = call.get("Name")
    if name is not None and not _NAME.fullmatch(name):
        raise _invalid(
            name, "name", "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"
        )
    if key.key_manager == "AWS":
        raise AwsError(
            "AccessDeniedException",
            f"The key policy of the AWS managed key {key.arn} does not allow kms:CreateGrant",
        )
    authorize(call, key, "CreateGrant")
    _within_own_grant(call, key, operations)
    need_enabled(key)
    if role_missing(grantee):
        raise AwsError("InvalidArnException", f"ARN does not refer to a valid principal: {grantee}")
    wanted = (
        grantee,
        call.get("RetiringPrincipal") or call.get("RetiringServicePrincipal"),
        sorted(operations),
        call.get("Constraints") or {},
    )
    # "When the grant name and all other parameters are the same, KMS returns the same grant."
    if name is not None:
        for known in key.grants.values():
            if known.name == name and _identity(known) == wanted and not _gone(known):
                _dry_run(call)
                return {"GrantId": known.id, "GrantToken": known.token}
    if len(key.grants) >= SETTINGS.grants_per_key:
        raise AwsError(
            "LimitExceededException",
            f"The number of grants of {key.arn} has reached the limit of {SETTINGS.grants_per_key}",
        )
    _dry_run(call)
    grant: Any = Grant(
        key.id,
        name,
        grantee,
        operations,
        constraints=call.get("Constraints") or {},
        retiring_principal=wanted[1],
    )
    grant.creation_date = time.time()
    grant.issuing_account = call.account
    # KMS keeps the unique id of a role, so that one made anew under its name has no access.
    grant.grantee_id = role_id(grantee)
    key.grants[grant.id] = grant
    return {"GrantId": grant.id, "GrantToken": grant.token}


def _within_own_grant(call: Call, key: Any, operations: list[str]) -> None:
    """Who may create grants only by a grant can hand on no more than that grant gives.

    https://docs.aws.amazon.com/kms/latest/developerguide/grants.html
    """
    principal = principal_of(call)
    if allowed_by_policy(key, principal, "CreateGrant"):
        return
    parents = [g for g in grants_of(key, principal) if "CreateGrant" in g.operations]
    if not any(set(operations) <= set(p.operations) for p in parents):
        raise AwsError(
            "AccessDeniedException",
            f"User: {principal.arn} is not authorized to perform: kms:CreateGrant on resource: "
            f"{key.arn} with operations that its own grant does not have",
        )


def _gone(grant: Any) -> bool:
    return role_gone(grant.grantee_principal, getattr(grant, "grantee_id", None))


def _identity(grant: Any) -> tuple[Any, ...]:
    return (
        grant.grantee_principal,
        grant.retiring_principal,
        sorted(grant.operations),
        grant.constraints,
    )


def _shown(grant: Any, key: Any) -> dict[str, Any]:
    entry = {
        "KeyId": key.arn,
        "GrantId": grant.id,
        "Name": grant.name or "",
        "CreationDate": getattr(grant, "creation_date", key.creation_date),
        "GranteePrincipal": grant.grantee_id
        if _gone(grant)
        else shown_principal(grant.grantee_principal),
        "IssuingAccount": f"arn:aws:iam::{getattr(grant, 'issuing_account', key.account_id)}:root",
        "Operations": grant.operations,
    }
    if grant.retiring_principal:
        entry["RetiringPrincipal"] = shown_principal(grant.retiring_principal)
    if grant.constraints:
        entry["Constraints"] = grant.constraints
    return entry


def _named(grant: Any) -> str:
    """By what ListGrants finds the grants of a principal."""
    found: str = grant.grantee_id if _gone(grant) else grant.grantee_principal
    return found


def shown_principal(arn: str) -> str:
    """As listed: the ARN, or the unique id that KMS shows once the role was deleted."""
    if not SETTINGS.grantee_as_unique_id:
        return arn
    return unique_id(arn)


def _listed(call: Call, entries: list[dict[str, Any]]) -> Mapping[str, Any]:
    limit = call.get("Limit", _LIST_DEFAULT)
    if not 1 <= limit <= _LIST_MAXIMUM:
        raise _invalid(
            limit, "limit", f"Member must have value less than or equal to {_LIST_MAXIMUM}"
        )
    grants, marker = page(
        entries,
        lambda e: e["GrantId"],
        limit,
        call.get("Marker"),
        AwsError("InvalidMarkerException", "The marker is not valid"),
    )
    out: dict[str, Any] = {"Grants": grants, "Truncated": marker is not None}
    if marker is not None:
        out["NextMarker"] = marker
    return out


@kms
def list_grants(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_ListGrants.html"""
    key = need_key(call, call.need("KeyId"))
    authorize(call, key, "ListGrants")
    wanted, principal = call.get("GrantId"), call.get("GranteePrincipal")
    if wanted is not None and wanted not in key.grants:
        raise AwsError("NotFoundException", f"Grant ID {wanted} not found")
    return _listed(
        call,
        [
            _shown(grant, key)
            for grant in key.grants.values()
            if wanted in (None, grant.id) and principal in (None, _named(grant))
        ],
    )


@kms
def list_retirable_grants(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_ListRetirableGrants.html"""
    principal = call.need("RetiringPrincipal")
    backend: Any = kms_backends[call.account][call.region]
    return _listed(
        call,
        [
            _shown(grant, key)
            for key in backend.keys.values()
            for grant in key.grants.values()
            if grant.retiring_principal == principal
        ],
    )


@kms
def revoke_grant(call: Call) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_RevokeGrant.html"""
    key = need_key(call, call.need("KeyId"))
    authorize(call, key, "RevokeGrant")
    _drop(call, key, call.need("GrantId"))


@kms
def retire_grant(call: Call) -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_RetireGrant.html"""
    token = call.get("GrantToken")
    if token is not None:
        for backends in list(kms_backends.values()):
            backend: Any = backends.get(call.region)
            for key in list(backend.keys.values()) if backend else []:
                for grant in list(key.grants.values()):
                    if grant.token == token:
                        _dry_run(call)
                        del key.grants[grant.id]
                        return
        raise AwsError("NotFoundException", "The grant token matches no grant")
    key = need_key(call, call.need("KeyId"))
    grant = key.grants.get(call.need("GrantId"))
    if grant is not None:
        retiring = f"::{call.account}:" in (grant.retiring_principal or "")
        grantee = "RetireGrant" in grant.operations and (
            f"::{call.account}:" in grant.grantee_principal
        )
        if not (retiring or grantee or key.account_id == call.account):
            raise AwsError("AccessDeniedException", f"Not authorized to retire grant {grant.id}")
    _drop(call, key, call.need("GrantId"))


def _drop(call: Call, key: Any, grant_id: str) -> None:
    if grant_id not in key.grants:
        raise AwsError("NotFoundException", f"Grant ID {grant_id} not found")
    _dry_run(call)
    del key.grants[grant_id]
