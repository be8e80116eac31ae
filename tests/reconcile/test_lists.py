"""Lists of accounts: what is read where, once for all who ask, and how failures are told."""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from gilder.api.imageshare import AccountList, ImageShareSpec
from gilder.core.observed import Problem
from gilder.core.shares import Share
from gilder.reconcile.lists import Lists
from gilder.reconcile.ports import ClusterError

A, B = "222222222222", "333333333333"
ORG = "arn:aws:organizations::123456789012:organization/o-abcde12345"
MAP = {"configMap": {"name": "accounts"}}
PARAMETER = {"ssmParameter": {"name": "/accounts", "region": "eu-west-1"}}
MEMBERS = {"organization": ORG}


class World:
    """What lists are read from, with counts."""

    def __init__(self) -> None:
        self.maps: dict[tuple[str, str], Mapping[str, str]] = {}
        self.parameters: dict[str, str | Problem] = {}
        self.members: frozenset[str] | Exception = frozenset({A})
        self.down = False
        self.clock = 100.0
        self.expanded = 0
        self.lists = Lists(self, self._parameters, self._expand, lambda: self.clock)

    def read(self, namespace: str, name: str) -> Mapping[str, str] | None:
        if self.down:
            raise ClusterError("Kubernetes is away", permanent=False)
        return self.maps.get((namespace, name))

    def _parameters(
        self, region: str, names: frozenset[str], since: float
    ) -> Mapping[str, str | Problem]:
        assert region == "eu-west-1"
        assert since <= self.clock
        return {n: self.parameters.get(n, "") for n in names}

    def _expand(self, arn: str) -> frozenset[str]:
        assert arn == ORG
        self.expanded += 1
        if isinstance(self.members, Exception):
            raise self.members
        return self.members

    def ask(self, *lists: dict[str, Any], since: float = 0.0) -> list[Any]:
        spec = ImageShareSpec.model_validate(
            {"imageRef": {"name": "base"}, "accountsFrom": list(lists)}
        )
        share = Share("team/share", "team", spec)
        found = self.lists.read(share, since, lambda _namespace, _one: None)
        return list(found.values())


def reason(found: Any) -> str:
    assert isinstance(found, Problem)
    assert found.message.startswith("spec.accountsFrom: ")
    return found.reason


def test_each_kind_of_list() -> None:
    world = World()
    world.maps[("team", "accounts")] = {"accounts": f"{B} # shop\n{A}"}
    world.parameters["/accounts"] = f"{A},{B}"
    assert world.ask(MAP, PARAMETER, MEMBERS) == [(A, B), (A, B), (A,)]


def test_a_config_map_of_another_namespace_is_not_read() -> None:
    world = World()
    world.maps[("else", "accounts")] = {"accounts": A}
    assert reason(world.ask(MAP)[0]) == "ListNotFound"


def test_what_is_not_there_is_named() -> None:
    world = World()
    world.maps[("team", "accounts")] = {"other": A}
    key, parameter = world.ask(MAP, PARAMETER)
    assert reason(key) == reason(parameter) == "ListNotFound"
    assert "no key accounts" in key.message
    assert parameter.region == "eu-west-1"


def test_what_cannot_be_read_passes() -> None:
    world = World()
    world.down = True
    world.parameters["/accounts"] = Problem("Throttled", "slower", permanent=False)
    world.members = ClientError({"Error": {"Code": "AccessDeniedException"}}, "ListAccounts")
    for found in world.ask(MAP, PARAMETER, MEMBERS):
        assert reason(found) == "ListUnreadable"
        assert not found.permanent


def test_an_organization_is_read_once_for_all_and_anew_when_it_is_too_old() -> None:
    world = World()
    world.ask(MEMBERS, since=90)
    world.ask(MEMBERS, since=100)
    assert world.expanded == 1
    world.clock = 200
    world.ask(MEMBERS, since=101)
    assert world.expanded == 2
    world.lists.forget_organizations()
    world.ask(MEMBERS, since=0)
    assert world.expanded == 3


def test_what_is_not_permitted_is_not_read() -> None:
    world = World()
    spec = ImageShareSpec.model_validate({"imageRef": {"name": "base"}, "accountsFrom": [MEMBERS]})
    refusal = Problem("ListNotAllowed", "no")

    def permit(namespace: str, one: AccountList) -> Problem | None:
        assert (namespace, one.organization) == ("team", ORG)
        return refusal

    found = world.lists.read(Share("team/share", "team", spec), 0.0, permit)
    assert list(found.values()) == [refusal]
    assert world.expanded == 0
