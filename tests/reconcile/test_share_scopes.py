"""Scopes of shares over several namespaces and AWS accounts."""

from typing import Any

from gilder.api import GoldenImage, ImageShare, parse_object
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
