"""A status as the first version wrote it, before builds and the lifecycle, is read and kept up."""

from typing import Any

import pytest
from planworld import (
    CLUSTER,
    DR,
    DR_KEY,
    HOME,
    HOME_KEY,
    LONG_AGO,
    NOW,
    OWNER,
    A,
    B,
    accounts,
    ami,
    grant,
    image,
    key,
    ours,
    print_of,
    reasons,
    view,
    world,
)

from gilder.api import GoldenImage, ImageShare, parse_object
from gilder.api.names import API_VERSION
from gilder.core.actions import ModifyLaunchPermission
from gilder.core.sharing import SharePlan
from gilder.core.versions import ImagePlan, plan_image
from gilder.core.wanted import Source, wanted
from gilder.reconcile.engine import plan_scope
from gilder.reconcile.inventory import Inventory

OPERATIONS = ["Decrypt"]
FINGERPRINT = print_of(ami(1), key_arn=HOME_KEY)
READY = {
    "type": "Ready",
    "status": "True",
    "reason": "Available",
    "message": "",
    "observedGeneration": 1,
    "lastTransitionTime": "2029-12-01T00:00:00Z",
}


def regional(number: int, region: str, arn: str, role: str) -> dict[str, Any]:
    return {
        "region": region,
        "imageId": ami(number),
        "name": f"base-{number}",
        "role": role,
        "state": "available",
        "encrypted": True,
        "kmsKeyId": arn,
        "snapshotIds": [f"snap-{number:08x}"],
    }


IMAGE: dict[str, Any] = {
    "apiVersion": API_VERSION,
    "kind": "GoldenImage",
    "metadata": {"name": "base", "namespace": "team", "generation": 1},
    "spec": {
        "region": HOME,
        "source": {"image": {"id": ami(1)}},
        "encryption": {"kmsKeyId": HOME_KEY},
        "replicas": [{"region": DR, "kmsKeyId": DR_KEY}],
    },
    "status": {
        "observedGeneration": 1,
        "conditions": [READY],
        "account": OWNER,
        "latest": {"version": 1, "imageId": ami(2)},
        "versions": [
            {
                "version": 1,
                "source": ami(1),
                "fingerprint": FINGERPRINT,
                "createdAt": LONG_AGO,
                "current": True,
                "images": [
                    regional(2, HOME, HOME_KEY, "home"),
                    regional(3, DR, DR_KEY, "replica"),
                ],
            }
        ],
        "sourceId": ami(1),
        "rootDeviceType": "ebs",
        "replicasReady": "1/1",
        "managedTagKeys": ["team"],
        "syncedDigest": "0123456789abcdef",
        "driftCorrected": 2,
        "lastDrift": "2029-12-01T00:00:00Z: copy",
    },
}
SHARE: dict[str, Any] = {
    "apiVersion": API_VERSION,
    "kind": "ImageShare",
    "metadata": {"name": "share", "namespace": "team", "generation": 1},
    "spec": {"imageRef": {"name": "base"}, "accounts": [A], "kms": {"operations": OPERATIONS}},
    "status": {
        "observedGeneration": 1,
        "conditions": [{**READY, "reason": "Shared"}],
        "account": OWNER,
        "images": [
            {
                "region": region,
                "imageId": ami(number),
                "image": "team/base",
                "version": 1,
                "state": "Shared",
                "accounts": [A],
                "kmsKeyId": arn,
            }
            for region, number, arn in ((HOME, 2, HOME_KEY), (DR, 3, DR_KEY))
        ],
        "grants": [
            {
                "region": HOME,
                "keyId": HOME_KEY,
                "principal": f"arn:aws:iam::{A}:root",
                "grantId": "g",
            }
        ],
        "shared": "2/2",
        "principals": 1,
        "syncedDigest": "fedcba9876543210",
        "driftCorrected": 1,
        "lastHandledReconcileAt": "1",
    },
}
HOME_IMAGE = ours(2, fingerprint=FINGERPRINT, asked_key=HOME_KEY, key=HOME_KEY)
DR_IMAGE = ours(3, DR, fingerprint=FINGERPRINT, role="replica", asked_key=DR_KEY, key=DR_KEY)
SOURCE = image(1)


def seen() -> Any:
    return world(
        view(
            HOME,
            [SOURCE, HOME_IMAGE],
            keys=[key(HOME_KEY)],
            permissions={ami(2): accounts(A)},
            grants={HOME_KEY: [grant(A, HOME_KEY)]},
        ),
        view(
            DR,
            [DR_IMAGE],
            keys=[key(DR_KEY)],
            permissions={ami(3): accounts(A)},
            grants={DR_KEY: [grant(A, DR_KEY)]},
        ),
    )


def golden_image(**spec: Any) -> GoldenImage:
    parsed = parse_object({**IMAGE, "spec": {**IMAGE["spec"], **spec}})
    assert isinstance(parsed, GoldenImage)
    return parsed


def image_share(**spec: Any) -> ImageShare:
    parsed = parse_object({**SHARE, "spec": {**SHARE["spec"], **spec}})
    assert isinstance(parsed, ImageShare)
    return parsed


def image_plan(**spec: Any) -> ImagePlan:
    return plan_image(wanted(CLUSTER, golden_image(**spec)), Source(image=SOURCE), seen(), NOW)


def share_plan(**spec: Any) -> SharePlan:
    inventory = Inventory(CLUSTER)
    inventory.put_image(golden_image())
    inventory.put_share(image_share(**spec))
    return plan_scope(inventory.share_scope("team/share"), seen(), CLUSTER)


@pytest.mark.parametrize("body", [IMAGE, SHARE], ids=lambda b: str(b["kind"]))
def test_nothing_of_it_is_lost(body: dict[str, Any]) -> None:
    read = parse_object(body).status.model_dump(mode="json", by_alias=True)
    assert kept(body["status"], read)


def kept(written: Any, read: Any) -> bool:
    if isinstance(written, dict):
        return all(k in read and kept(v, read[k]) for k, v in written.items())
    if isinstance(written, list):
        return len(written) == len(read) and all(map(kept, written, read))
    return bool(written == read)


def test_an_image_that_is_in_place_stays_as_it_is() -> None:
    result = image_plan()
    assert (list(result.plan.actions), reasons(result.plan.problems)) == ([], [])
    assert (result.version, result.replicas) == (1, {DR: DR_IMAGE})


def test_its_version_counts_as_released_also_once_there_is_a_promotion() -> None:
    result = image_plan(promotion={"mode": "Manual"}, retention={"keep": 1})
    assert list(result.plan.actions) == []
    assert (result.version, result.home) == (1, HOME_IMAGE)
    assert result.hold is None
    assert result.retirement.retiring == ()


def test_a_pin_of_it_is_understood() -> None:
    assert reasons(image_plan(pinnedVersion=1).plan.problems) == []


def test_a_share_that_is_in_place_stays_as_it_is() -> None:
    result = share_plan()
    assert (list(result.plan.actions), reasons(result.plan.problems)) == ([], [])


def test_what_a_share_gave_is_known_to_be_its_own() -> None:
    """An additive share takes back what its status says it gave, and nothing else."""
    result = share_plan(accounts=[B], mode="Additive")
    changed = {
        a.image: (a.add.accounts, a.remove.accounts)
        for a in result.plan.actions
        if isinstance(a, ModifyLaunchPermission)
    }
    assert changed == {ami(2): ({B}, {A}), ami(3): ({B}, {A})}
