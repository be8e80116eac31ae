"""Retention rules of Recycle Bin, as the service `rbin` keeps them.

https://docs.aws.amazon.com/recyclebin/latest/APIReference/Welcome.html
"""

import secrets
import string
from collections.abc import Mapping, Sequence
from typing import Any

from moto.core.responses import BaseResponse

from gilder.sandbox.aws import rest
from gilder.sandbox.aws.errors import AwsError
from gilder.sandbox.aws.pagination import answer, page
from gilder.sandbox.aws.registry import Call, Handler, plain_method
from gilder.sandbox.aws.settings import CLOCK, SETTINGS
from gilder.sandbox.aws.state import Rule, region_state

IMAGE, SNAPSHOT = "EC2_IMAGE", "EBS_SNAPSHOT"
# https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin.html#recycle-bin-quotas
_LONGEST, _RULES = 365, 250
_LETTERS = string.ascii_letters + string.digits


class RecycleBinResponse(BaseResponse):
    """moto's reading of requests and writing of answers by botocore's model."""

    def __init__(self) -> None:
        super().__init__(service_name="rbin")
        self.automated_parameter_parsing = True


def operation(handler: Handler) -> Handler:
    """Serve an operation by its name: `create_rule` serves CreateRule."""
    setattr(RecycleBinResponse, handler.__name__, plain_method(handler))
    return handler


def create_app() -> Any:
    """The WSGI application that moto's server runs for this service."""
    return rest.create_app("rbin", RecycleBinResponse)


def days_for(account: str, region: str, kind: str, tags: Mapping[str, str]) -> int | None:
    """For how long the rules keep a resource that is deleted now; None: it is gone at once.

    "If a resource matches more than one retention rule upon deletion, then the retention rule with
    the longest retention period takes precedence."
    https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-factors.html
    """
    found = [
        rule.days
        for rule in region_state(account, region).rules.values()
        if rule.kind == kind and _status(rule) == "available" and _matches(rule, tags)
    ]
    return max(found, default=None)


def _matches(rule: Rule, tags: Mapping[str, str]) -> bool:
    """One pair is enough for a tag-level rule; one exclusion tag is too for the others."""
    if rule.tags:
        return any(_has(tags, pair) for pair in rule.tags)
    return not any(_has(tags, pair) for pair in rule.exclude)


def _has(tags: Mapping[str, str], pair: Mapping[str, str]) -> bool:
    key, value = pair["ResourceTagKey"], pair.get("ResourceTagValue")
    return key in tags and value in (None, tags[key])


def _status(rule: Rule) -> str:
    working = CLOCK.time() >= rule.created + SETTINGS.retention_rule_delay
    return "available" if working else "pending"


def _shown(call: Call, rule: Rule) -> dict[str, Any]:
    return {
        "Identifier": rule.id,
        "Description": rule.description,
        "ResourceType": rule.kind,
        "RetentionPeriod": {"RetentionPeriodValue": rule.days, "RetentionPeriodUnit": "DAYS"},
        "ResourceTags": rule.tags,
        "ExcludeResourceTags": rule.exclude,
        "Status": _status(rule),
        "LockState": "unlocked",
        "RuleArn": f"arn:aws:rbin:{call.region}:{call.account}:rule/{rule.id}",
    }


def _invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)


def _days(period: Mapping[str, Any]) -> int:
    days = period.get("RetentionPeriodValue")
    if period.get("RetentionPeriodUnit") != "DAYS" or not isinstance(days, int):
        raise _invalid("The retention period must be a number of DAYS.")
    if not 1 <= days <= _LONGEST:
        raise _invalid(f"The retention period must be between 1 and {_LONGEST} days.")
    return days


def _check_levels(tags: Sequence[Any], exclude: Sequence[Any]) -> None:
    if tags and exclude:
        raise _invalid("You can't specify exclusion tags for tag-level retention rules.")
    if len(tags) > 50 or len(exclude) > 5:
        raise _invalid("A rule has at most 50 resource tags or 5 exclusion tags.")


def _kind(call: Call) -> str:
    kind = call.need("ResourceType")
    if kind not in (IMAGE, SNAPSHOT):
        raise _invalid(f"The resource type {kind} is not supported here.")
    return str(kind)


@operation
def create_rule(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/recyclebin/latest/APIReference/API_CreateRule.html"""
    tags, exclude = call.get("ResourceTags", []), call.get("ExcludeResourceTags", [])
    _check_levels(tags, exclude)
    if call.get("LockConfiguration"):
        raise _invalid("Locks of retention rules are not supported here.")
    rules = region_state(call.account, call.region).rules
    if len(rules) >= _RULES:
        raise AwsError(
            "ServiceQuotaExceededException", f"There are {_RULES} retention rules in this Region."
        )
    rule = Rule(
        id="".join(secrets.choice(_LETTERS) for _ in range(11)),
        kind=_kind(call),
        days=_days(call.get("RetentionPeriod", {})),
        created=CLOCK.time(),
        description=call.get("Description", ""),
        tags=[dict(t) for t in tags],
        exclude=[dict(t) for t in exclude],
        own_tags=[dict(t) for t in call.get("Tags", [])],
    )
    rules[rule.id] = rule
    return {**_shown(call, rule), "Tags": rule.own_tags}


def _need(call: Call) -> Rule:
    identifier = call.need("Identifier")
    found = region_state(call.account, call.region).rules.get(identifier)
    if found is None:
        raise AwsError("ResourceNotFoundException", f"Rule {identifier} was not found.")
    return found


@operation
def get_rule(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/recyclebin/latest/APIReference/API_GetRule.html"""
    return _shown(call, _need(call))


@operation
def update_rule(call: Call) -> Mapping[str, Any]:
    """What is in the bin already keeps its time.

    https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin-update-rule.html
    """
    rule = _need(call)
    if call.get("ResourceType") not in (None, rule.kind):
        raise _invalid("You can't update a retention rule's resource type after creation.")
    tags, exclude = (
        call.get("ResourceTags", rule.tags),
        call.get("ExcludeResourceTags", rule.exclude),
    )
    _check_levels(tags, exclude)
    period = call.get("RetentionPeriod")
    days = rule.days if period is None else _days(period)
    rule.days, rule.description = days, call.get("Description", rule.description)
    rule.tags, rule.exclude = [dict(t) for t in tags], [dict(t) for t in exclude]
    return _shown(call, rule)


@operation
def delete_rule(call: Call) -> None:
    """https://docs.aws.amazon.com/recyclebin/latest/APIReference/API_DeleteRule.html"""
    del region_state(call.account, call.region).rules[_need(call).id]


@operation
def list_rules(call: Call) -> Mapping[str, Any]:
    """https://docs.aws.amazon.com/recyclebin/latest/APIReference/API_ListRules.html"""
    kind, tags = _kind(call), call.get("ResourceTags", [])
    exclude, lock = call.get("ExcludeResourceTags", []), call.get("LockState")
    found = [
        rule
        for rule in region_state(call.account, call.region).rules.values()
        if rule.kind == kind
        and all(dict(t) in rule.tags for t in tags)
        and all(dict(t) in rule.exclude for t in exclude)
        and lock in (None, "unlocked")
    ]
    problem = _invalid("The pagination token is not valid.")
    limit = call.get("MaxResults", 1000)
    chosen, token = page(found, lambda r: r.id, limit, call.get("NextToken"), problem)
    keys = ("Identifier", "Description", "RetentionPeriod", "LockState", "RuleArn")
    shown = [{k: v for k, v in _shown(call, r).items() if k in keys} for r in chosen]
    return answer("Rules", shown, token)
