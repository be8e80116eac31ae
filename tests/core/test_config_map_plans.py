"""The ConfigMap that tells the released version: what is in it, and whose it is."""

from dataclasses import replace
from typing import Any

import pytest
from planworld import DR, HOME, ami, kinds, reasons, wanted, world
from publishworld import config_map, image_plan, publish, remembering, served, told

from gilder.core.actions import DeleteConfigMap, PutConfigMap, ReleaseConfigMap
from gilder.core.published import Maps, SeenMap
from gilder.core.publishing import plan_unpublish
from gilder.core.report import is_work

SPEC: dict[str, Any] = {
    "replicas": [{"region": DR}],
    "publish": {"configMap": {"name": "base-ami"}},
}
DATA = {HOME: ami(20), DR: ami(21), "version": "2"}
BOTH = served(2, HOME, DR)
TOLD = told("ConfigMap", name="base-ami", region="", image_id=ami(20))


def want(*published: Any, **spec: Any) -> Any:
    return replace(wanted(remembering(*published), **{**SPEC, **spec}), uid="u1")


def listed(*maps: SeenMap) -> Maps:
    return Maps(known=True, mine=maps)


def put(plan: Any) -> PutConfigMap:
    (action,) = plan.publishing.plan.actions
    assert isinstance(action, PutConfigMap)
    return action


def test_it_is_made_with_its_owner_and_the_ami_of_each_region() -> None:
    action = put(publish(want(), image_plan(BOTH), world(), maps=listed()))
    meta = action.manifest["metadata"]
    assert action.manifest["data"] == DATA
    assert meta["ownerReferences"][0]["uid"] == "u1"
    assert meta["labels"] == {"goldenimage.dev/image": "base"}
    assert (action.resource_version, action.heals) == ("", False)


def test_one_that_is_right_is_told_and_left() -> None:
    there = config_map(want(), DATA)
    plan = publish(want(), image_plan(BOTH), world(), maps=listed(there))
    assert plan.publishing.plan.settled
    assert [(t.kind, t.image_id, t.version) for t in plan.publishing.seen] == [
        ("ConfigMap", ami(20), 2)
    ]


@pytest.mark.parametrize(
    "there",
    [
        {"data": {**DATA, HOME: ami(99)}},
        {"data": {**DATA, "other": "key"}},
        {"labels": {}},
    ],
    ids=["an AMI", "a key too many", "the label"],
)
def test_a_change_by_hand_is_drift_and_mended(there: dict[str, Any]) -> None:
    found = replace(config_map(want(), DATA), **there)
    action = put(publish(want(TOLD), image_plan(BOTH), world(), maps=listed(found)))
    assert action.heals
    assert not is_work(action)
    assert action.resource_version == "7"
    assert action.gone == (("other",) if "other" in found.data else ())


def test_one_deleted_by_hand_is_drift_and_made_anew() -> None:
    assert put(publish(want(TOLD), image_plan(BOTH), world(), maps=listed())).heals


def test_another_version_is_no_drift() -> None:
    there = config_map(want(), {HOME: ami(10), DR: ami(11), "version": "1"})
    action = put(publish(want(TOLD), image_plan(BOTH), world(), maps=listed(there)))
    assert not action.heals


def test_a_region_without_a_copy_keeps_its_ami_and_one_that_left_goes() -> None:
    before = {HOME: ami(10), DR: ami(11), "us-east-1": ami(12), "version": "1"}
    there = config_map(want(), before)
    action = put(publish(want(), image_plan(served()), world(), maps=listed(there)))
    assert action.manifest["data"] == {HOME: ami(20), DR: ami(11), "version": "2"}
    assert action.gone == ("us-east-1",)


def test_it_stays_as_it_is_while_nothing_is_served_at_home() -> None:
    there = config_map(want(), {HOME: ami(10), DR: ami(11), "version": "1"})
    only_abroad = image_plan({DR: BOTH[DR]})
    plan = publish(want(), only_abroad, world(), maps=listed(there))
    assert not plan.publishing.plan.actions
    assert not publish(want(), image_plan({}, 0), world(), maps=listed()).publishing.plan.actions


def test_a_renamed_one_goes_once_the_new_one_is_there() -> None:
    old = replace(config_map(want(), DATA), name="old", uid="m0")
    first = publish(want(), image_plan(BOTH), world(), maps=listed(old))
    assert kinds(first.publishing.plan.actions) == ["PutConfigMap"]
    both = listed(old, config_map(want(), DATA))
    (action,) = publish(want(), image_plan(BOTH), world(), maps=both).publishing.plan.actions
    assert isinstance(action, DeleteConfigMap)
    assert (action.name, action.uid) == ("old", "m0")


def test_an_old_one_that_somebody_deleted_is_forgotten() -> None:
    old = told("ConfigMap", name="old", region="")
    there = listed(config_map(want(), DATA))
    plan = publish(want(TOLD, old), image_plan(BOTH), world(), maps=there)
    assert plan.publishing.gone == {("ConfigMap", "", "", "old")}


def test_without_the_field_it_goes() -> None:
    there = listed(config_map(want(), DATA))
    plan = publish(want(TOLD, publish=None), image_plan(BOTH), world(), maps=there)
    assert kinds(plan.publishing.plan.actions) == ["DeleteConfigMap"]


def test_what_is_not_listed_is_awaited_or_told_and_not_written() -> None:
    waiting = publish(want(), image_plan(BOTH), world(), maps=Maps(awaited=True))
    assert waiting.publishing.plan.waiting == ("ConfigMaps to be listed",)
    failed = publish(want(), image_plan(BOTH), world(), maps=Maps(failure="403"))
    assert reasons(failed.publishing.plan.problems) == ["KubernetesError"]
    assert not waiting.publishing.plan.actions
    assert not failed.publishing.plan.actions


# The end


@pytest.mark.parametrize(("policy", "whole"), [("Retain", False), ("Orphan", True)])
def test_one_that_is_to_stay_loses_its_owner_first(policy: str, whole: bool) -> None:
    there = config_map(want(), DATA)
    (action,) = plan_unpublish(want(TOLD, deletionPolicy=policy), world(), listed(there)).actions
    assert isinstance(action, ReleaseConfigMap)
    assert (action.name, action.resource_version, action.whole) == ("base-ami", "7", whole)
    let_go = listed(replace(there, owner=""))
    assert plan_unpublish(want(TOLD, deletionPolicy=policy), world(), let_go).settled


def test_one_that_is_to_go_is_left_to_its_owner() -> None:
    there = listed(config_map(want(), DATA))
    assert plan_unpublish(want(TOLD, deletionPolicy="Delete"), world(), there).settled


def test_an_end_without_a_listing_says_how_to_go_on() -> None:
    plan = plan_unpublish(want(TOLD), world(), Maps(failure="403: forbidden"))
    assert reasons(plan.problems) == ["KubernetesError"]
    assert "goldenimage.dev/abandon" in plan.problems[0].message
    assert plan_unpublish(want(), world(), Maps(failure="403: forbidden")).settled
