"""Evaluates key policies and trust policies: the part of IAM's language that they use."""

import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gilder.sandbox.aws.organization import membership


@dataclass(frozen=True)
class Principal:
    """Who asks: an account, the ARN of the caller in it, and for a session its role."""

    account: str
    arn: str
    role: str | None = None
    tags: tuple[tuple[str, str], ...] = ()  # by keys in lower case

    @property
    def root(self) -> str:
        return f"arn:aws:iam::{self.account}:root"


def context_of(principal: Principal, via_service: str | None = None) -> dict[str, list[str]]:
    """Condition keys for a request of `principal`, made directly or through a service.

    https://docs.aws.amazon.com/kms/latest/developerguide/policy-conditions.html
    """
    context = {
        "aws:principalaccount": [principal.account],
        "kms:calleraccount": [principal.account],
        # For sessions it is the role's.
        "aws:principalarn": [principal.role or principal.arn],
        "aws:principaltype": ["AssumedRole" if principal.role else "User"],
    }
    context.update({f"aws:principaltag/{k}": [v] for k, v in principal.tags})
    member = membership(principal.account)
    if member is not None:
        context["aws:principalorgid"] = [member.organization]
        context["aws:principalorgpaths"] = [member.org_path]
    if via_service is not None:
        context["kms:viaservice"] = [via_service]
        context["kms:grantisforawsresource"] = ["true"]
    return context


@functools.lru_cache(maxsize=256)
def parse(text: str) -> dict[str, Any] | None:
    """The policy document, or None when it is not one. It is shared: nobody may change it."""
    try:
        document = json.loads(text)
    except (TypeError, ValueError):
        return None
    if not isinstance(document, dict) or not as_list(document.get("Statement")):
        return None
    for statement in as_list(document["Statement"]):
        if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
            return None
        if not (statement.keys() & {"Principal", "NotPrincipal"}):
            return None
    return document


def effect(
    text: str,
    principal: Principal,
    action: str,
    context: Mapping[str, list[str]],
    *,
    of_key: bool = False,
) -> str | None:
    """`Deny` when one applies to the action, e.g. `kms:Decrypt`, else `Allow` when one does.

    In a key policy a statement without Resource has no effect.
    https://docs.aws.amazon.com/kms/latest/APIReference/API_PutKeyPolicy.html
    """
    document = parse(text)
    if document is None:
        return None
    effects = {
        statement["Effect"]
        for statement in as_list(document["Statement"])
        if not (of_key and not statement.keys() & {"Resource", "NotResource"})
        and _applies(statement, principal, action, context)
    }
    return "Deny" if "Deny" in effects else next(iter(effects), None)


def allows(text: str, principal: Principal, action: str, context: Mapping[str, list[str]]) -> bool:
    """Whether a trust policy allows an action: an Allow and no Deny applies."""
    return effect(text, principal, action, context) == "Allow"


def as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _applies(
    statement: Mapping[str, Any],
    principal: Principal,
    action: str,
    context: Mapping[str, list[str]],
) -> bool:
    named = _names(statement.get("Principal"), principal)
    if "NotPrincipal" in statement:
        named = not _names(statement["NotPrincipal"], principal)
    # A statement without an action covers none.
    covered = _covers(statement.get("Action"), action)
    if "NotAction" in statement:
        covered = not _covers(statement["NotAction"], action)
    return named and covered and _conditions_hold(statement.get("Condition") or {}, context)


def _names(element: Any, principal: Principal) -> bool:
    if element == "*":
        return True
    if not isinstance(element, Mapping):
        return False
    wanted = {principal.arn, principal.role, principal.root, principal.account, "*"}
    return any(p in wanted for p in as_list(element.get("AWS")))


def _covers(patterns: Any, action: str) -> bool:
    return any(_like(str(p).lower(), action.lower()) for p in as_list(patterns))


def _conditions_hold(conditions: Mapping[str, Any], context: Mapping[str, list[str]]) -> bool:
    return all(
        _condition_holds(operator, context.get(key.lower(), []), [str(v) for v in as_list(want)])
        for operator, keys in conditions.items()
        for key, want in keys.items()
    )


def _condition_holds(operator: str, have: list[str], want: list[str]) -> bool:
    quantifier, _, plain = operator.rpartition(":")
    if plain == "Null":
        return (not have) == (want[:1] == ["true"])
    optional = plain.endswith("IfExists")
    plain = plain.removesuffix("IfExists")
    negated = "Not" in plain
    if not have:
        # A key that the request lacks satisfies only negated and optional operators.
        return optional or negated or quantifier == "ForAllValues"
    matches = [_matches(plain.replace("Not", ""), h, want) for h in have]
    if quantifier == "ForAllValues":
        return all(m is not negated for m in matches)
    return any(matches) is not negated


def _matches(operator: str, have: str, want: Iterable[str]) -> bool:
    if operator in ("StringLike", "ArnLike", "ArnEquals"):
        return any(_like(w, have) for w in want)
    if operator in ("StringEqualsIgnoreCase", "Bool"):
        return any(w.lower() == have.lower() for w in want)
    if operator == "StringEquals":
        return have in want
    return False


def _like(pattern: str, value: str) -> bool:
    return bool(_regex(pattern).fullmatch(value))


@functools.lru_cache(maxsize=1024)
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
