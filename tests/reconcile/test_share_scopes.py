"""Scopes of shares over several namespaces and AWS accounts."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gilder.api import GoldenImage, ImageShare, parse_object
from gilder.api.imageshare import DEFAULT_OPERATIONS
from gilder.core.grants import grant_name, principal_of
from gilder.core.observed import (
    Grant,
    Image,
    ImageIndex,
    Key,
    Observed,
    Principals,
    Problem,
    RegionView,
)
from gilder.core.report_share import report_share
from gilder.reconcile.engine import plan_scope
from gilder.reconcile.inventory import Inventory

HOME, DR = "eu-west-1", "us-east-1"
PROD = "111111111111"
A, B = "222222222222", "333333333333"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-0000-0000-0000-000000000000"


def golden(name: str, ami: str, *, namespace: str = "images", **spec: Any) -> GoldenImage:
    found = parse_object(
        {
            "apiVersion": "goldenimage.dev/v1alpha1",
            "kind": "GoldenImage",
            "metadata": {"name": name, "namespace": namespace, "labels": {"all": "yes"}},
            "spec": {"region": HOME, "source": {"image": {"id": ami}}, **spec},
            "status": {
                "latest": {"version": 1, "imageId": ami},
                "versions": [
                    {
                        "version": 1,
                        "fingerprint": name,
                        "images": [{"region": HOME, "imageId": ami, "role": "home"}],
                    }
                ],
            },
        }
    )
    assert isinstance(found, GoldenImage)
    return found


def share(
    name: str, ref: dict[str, Any], *amis: tuple[str, str], namespace: str = "images", **spec: Any
) -> ImageShare:
    """`amis` are those on record, each with its account."""
    who = spec.get("accounts", [])
    found = parse_object(
        {
            "apiVersion": "goldenimage.dev/v1alpha1",
            "kind": "ImageShare",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"imageRef": ref, **spec},
            "status": {
                "images": [
                    {
                        "region": HOME,
                        "imageId": ami,
                        "accounts": who,
                        "kmsKeyId": KEY,
                        **({"account": account} if account else {}),
                    }
                    for ami, account in amis
                ]
            },
        }
    )
    assert isinstance(found, ImageShare)
    return found


def inventory(*objects: GoldenImage | ImageShare) -> Inventory:
    found = Inventory("test", [PROD])
    for one in objects:
        if isinstance(one, GoldenImage):
            found.put_image(one)
        else:
            found.put_share(one)
    return found


ONE, TWO = "ami-00000001", "ami-00000002"
ALL = {"selector": {"matchLabels": {"all": "yes"}}}


def test_who_is_shut_out_and_acts_no_more_does_not_hold_up_a_deletion() -> None:
    there = {"name": "base", "namespace": "images"}
    acting = share("acting", there, (ONE, ""), namespace="shop", accounts=[A])
    idle = share("idle", there, (ONE, ""), namespace="shop", accounts=[A], suspend=True)
    closed = inventory(golden("base", ONE), acting, idle)
    assert closed.image_scope("images/base").sharers == ("shop/acting",)
    let_in = inventory(golden("base", ONE, allowedNamespaces=["shop"]), acting, idle)
    assert let_in.image_scope("images/base").sharers == ("shop/acting", "shop/idle")


def world(account: str, *amis: tuple[str, str, str], grants: tuple[Grant, ...] = ()) -> Observed:
    """AMIs of one account: id, GoldenImage, who may launch; all under KEY."""
    images = {
        ami: Image(
            id=ami,
            region=HOME,
            owner=account,
            encrypted=True,
            kms_keys=frozenset({KEY}),
            tags={
                "goldenimage.dev/image": owner,
                "goldenimage.dev/cluster": "test",
                "goldenimage.dev/version": "1",
                "goldenimage.dev/role": "home",
            },
        )
        for ami, owner, _ in amis
    }
    who = {ami: Principals(frozenset({one})) for ami, _, one in amis}
    view = RegionView(HOME, ImageIndex(images), permissions=who, grants={KEY: grants},
                      keys={KEY: Key(KEY, HOME)})  # fmt: skip
    return Observed(account, {HOME: view, DR: RegionView(DR)})


def grant(account: str) -> Grant:
    some = frozenset[str](DEFAULT_OPERATIONS)
    name, principal = grant_name("test", account, some), principal_of(account, KEY)
    return Grant(account, KEY, name, principal, some)


def test_regions_of_images_in_other_accounts_count_as_replicated() -> None:
    both = inventory(
        golden("base", ONE, replicas=[{"region": DR}]),
        golden("payments", TWO, account=PROD),
        share("both", ALL, accounts=[A], regions=[HOME, DR]),
    )
    part = both.share_scope("images/both").part(PROD)
    assert part.regions_in(PROD) == {HOME}
    plan = plan_scope(part, world(PROD, (TWO, "images/payments", A), grants=(grant(A),)), "test")
    assert not plan.plan.problems


def test_an_image_that_moved_to_another_account_is_let_go_of_in_the_first() -> None:
    moved = inventory(
        golden("base", ONE),
        share("one", {"name": "base"}, (TWO, PROD), accounts=[A], regions=[HOME]),
    )
    part = moved.share_scope("images/one").part(PROD)
    plan = plan_scope(part, world(PROD, (TWO, "images/base", A), grants=(grant(A),)), "test")
    assert [a.kind for a in plan.plan.actions] == ["ModifyLaunchPermission", "RevokeGrant"]


def test_a_key_that_serves_two_accounts_keeps_the_grants_of_both() -> None:
    both = inventory(
        golden("base", ONE),
        golden("payments", TWO, account=PROD),
        share("both", ALL, (ONE, ""), (TWO, PROD), accounts=[A]),
        share("theirs", {"name": "payments"}, (TWO, PROD), accounts=[B]),
    )
    scope = both.share_scope("images/both")
    grants = (grant(A), grant(B))
    for account, ami, owner in (("", ONE, "images/base"), (PROD, TWO, "images/payments")):
        seen = world(account or "123456789012", (ami, owner, A), grants=grants)
        assert not [a for a in plan_scope(scope.part(account), seen, "test").plan.actions
                    if a.kind == "RevokeGrant"]  # fmt: skip


def test_while_a_region_is_out_of_reach_its_grants_stay_claimed() -> None:
    one = share("one", {"name": "base"}, (ONE, ""), accounts=[A])
    other = share("other", {"name": "other"}, (TWO, ""), accounts=[A])
    both = inventory(golden("base", ONE), golden("other", TWO), one, other)
    claimed = both.share_scope("images/other").claims
    assert A in claimed[(HOME, KEY)]
    scope = both.share_scope("images/one")
    away = RegionView(HOME, problem=Problem("AWSUnavailable", "away", False, HOME))
    for mine in (scope.mine, replace(scope.mine, leaving=True)):
        plan = plan_scope(replace(scope, mine=mine), Observed("123456789012", {HOME: away}), "test")
        status, _ = report_share(one, mine, plan, (), datetime.now(UTC))
        both.put_share(one.model_copy(update={"status": status}))
        assert both.share_scope("images/other").claims == claimed


def test_every_key_of_an_image_is_claimed() -> None:
    one = share("one", {"name": "base"}, (ONE, ""), accounts=[A])
    found = inventory(golden("base", ONE), golden("other", TWO), one)
    found.put_share(share("other", {"name": "other"}, (TWO, ""), accounts=[A]))
    seen = world("123456789012", (ONE, "images/base", A), grants=(grant(A),))
    second = KEY.replace("1111", "2222", 1)
    view = seen.regions[HOME]
    image = replace(view.images[ONE], kms_keys=frozenset({KEY, second}))
    seen = Observed("123456789012", {HOME: replace(view, images=ImageIndex({ONE: image}))})
    scope = found.share_scope("images/one")
    status, _ = report_share(
        one, scope.mine, plan_scope(scope, seen, "test"), (), datetime.now(UTC)
    )
    found.put_share(one.model_copy(update={"status": status}))
    assert found.share_scope("images/other").claims.keys() == {(HOME, KEY), (HOME, second)}


def test_what_was_handed_out_stays_as_it_was() -> None:
    one = share("one", {"name": "base"}, (ONE, ""), accounts=[A])
    other = share("other", {"name": "other"}, (TWO, ""), accounts=[A])
    found = inventory(golden("base", ONE), golden("other", TWO), one, other)
    scope = found.share_scope("images/other")
    claimed = dict(scope.claims)
    found.put_share(share("one", {"name": "base"}, (ONE, ""), accounts=[B]))
    assert scope.claims == claimed
    assert found.share_scope("images/other").claims[(HOME, KEY)].keys() == {B}
    found.drop_share("images/one")
    assert not found.share_scope("images/other").claims
    assert scope.claims == claimed
