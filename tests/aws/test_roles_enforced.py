"""Trust policies count: what keeps a role from being assumed, and what lets it be."""

from typing import Any

import pytest
from trust import HUB, PROD, make_role

from gilder.api.access import AssumedRole
from gilder.aws import errors
from gilder.aws.sessions import Sessions
from gilder.sandbox.aws.server import SandboxAws

HOME = "eu-west-1"


def role(arn: str, **more: Any) -> AssumedRole:
    return AssumedRole(arn=arn, **more)


def refused(*chain: AssumedRole) -> str:
    with pytest.raises(errors.RoleError) as caught:
        Sessions(HOME, roles=chain).account()
    problem = errors.problem(caught.value, "reading AMIs")
    assert (problem.reason, problem.permanent) == ("RoleNotAssumable", False)
    return caught.value.role


def test_the_external_id_must_be_right(aws: SandboxAws) -> None:
    arn = make_role(aws, PROD, external_id="abc")
    assert refused(role(arn)) == arn
    assert refused(role(arn, external_id="wrong")) == arn
    assert Sessions(HOME, roles=[role(arn, external_id="abc")]).account() == PROD


def test_a_role_that_is_not_there_or_lasts_less(aws: SandboxAws) -> None:
    arn = make_role(aws, PROD)
    assert refused(role(arn + "-gone")) == arn + "-gone"
    assert refused(role(arn, duration_seconds=7200)) == arn
    assert Sessions(HOME, roles=[role(arn, duration_seconds=900)]).account() == PROD


def test_only_who_is_trusted_gets_in(aws: SandboxAws) -> None:
    hub = make_role(aws, HUB, "hub")
    last = make_role(aws, PROD, trusts=hub)
    assert refused(role(last)) == last
    assert Sessions(HOME, roles=[role(hub), role(last)]).account() == PROD
    tags: dict[str, Any] = {"session_tags": {"team": "a"}, "transitive_tag_keys": ("team",)}
    assert Sessions(HOME, roles=[role(hub, **tags), role(last)]).account() == PROD
