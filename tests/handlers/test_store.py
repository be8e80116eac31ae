"""The store of custom resources: versions, unreadable specs, listings."""

from typing import Any

from gilder.api import GoldenImage, SpecError
from gilder.handlers.store import Key, Store

IMAGE = Key("GoldenImage", "images", "base")
SHARE = Key("ImageShare", "images", "team")


def body(key: Key, version: str, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    meta = {"name": key.name, "namespace": key.namespace, "uid": "u1", "resourceVersion": version}
    return {
        "apiVersion": "goldenimage.dev/v1alpha1",
        "kind": key.kind,
        "metadata": meta,
        "spec": spec,
        **more,
    }


GOOD = {"region": "eu-west-1", "source": {"image": {"id": "ami-0123456789abcdef0"}}}


def test_old_news_is_refused_and_a_new_object_of_the_name_is_not() -> None:
    store = Store("test")
    assert store.put(body(IMAGE, "10", GOOD))
    assert not store.put(body(IMAGE, "10", GOOD))
    assert not store.put(body(IMAGE, "9", GOOD))
    assert store.put(body(IMAGE, "11", GOOD))
    remade = body(IMAGE, "5", GOOD)
    remade["metadata"]["uid"] = "u2"
    assert store.put(remade)
    assert store.body(IMAGE) == remade


def test_scopes_follow_what_is_put_and_dropped() -> None:
    store = Store("test")
    store.put(body(IMAGE, "1", GOOD))
    assert store.image_scope(IMAGE).want.key == "images/base"
    assert isinstance(store.parsed(IMAGE), GoldenImage)
    store.put(body(SHARE, "2", {"imageRef": {"name": "base"}, "accounts": ["222222222222"]}))
    assert store.shares_of(IMAGE) == [SHARE]
    assert store.image_scope(IMAGE).sharers == ("images/team",)
    assert [g.key for g in store.share_scope(SHARE).goldens] == ["images/base"]
    store.drop(IMAGE)
    assert store.share_scope(SHARE).goldens == ()
    assert store.shares_of(IMAGE) == []


def test_a_share_that_no_model_reads_keeps_what_its_status_claims() -> None:
    claimed = {"region": "eu-west-1", "imageId": "ami-1", "accounts": ["222222222222"]}
    status = {"images": [claimed], "grants": []}
    store = Store("test")
    store.put(body(SHARE, "1", {"imageRef": {"name": "a", "nonsense": 1}}, status=status))
    assert isinstance(store.parsed(SHARE), SpecError)
    held = store.share_scope(SHARE).mine
    assert held.principals.accounts == {"222222222222"}
    assert "nonsense" in held.unreadable


def test_a_share_that_no_model_reads_goes_on_to_need_its_grants() -> None:
    key = "arn:aws:kms:eu-west-1:123456789012:key/1"
    place = {"region": "eu-west-1", "accounts": ["222222222222"], "kmsKeyId": key}
    store = Store("test")
    for one, ami, spec in (
        (SHARE, "ami-1", {"imageRef": {"name": "a", "nonsense": 1}}),
        (Key("ImageShare", "images", "other"), "ami-2", {"imageRef": {"name": "b"}}),
    ):
        status = {"images": [{**place, "imageId": ami}]}
        store.put(body(one, "1", spec, status=status))
        last = one
    assert "222222222222" in store.share_scope(last).claims[("eu-west-1", key)]


def test_a_listing_is_taken_in_and_says_what_it_named() -> None:
    store = Store("test")
    store.put(body(IMAGE, "3", GOOD))
    older, other = body(IMAGE, "2", GOOD), Key("GoldenImage", "images", "other")
    assert store.take([older, body(other, "2", GOOD)]) == {IMAGE, other}
    assert store.known() == [IMAGE, other]
    known = store.body(IMAGE)
    assert known is not None
    assert known["metadata"]["resourceVersion"] == "3"
