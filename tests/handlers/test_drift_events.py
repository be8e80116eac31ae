"""The consumer of events: whom an event concerns, what is forgotten, and when it is deleted."""

import json
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from prometheus_client import REGISTRY

from gilder.aws.events import Message
from gilder.handlers import drift
from gilder.handlers.drift import Drift, Surroundings
from gilder.handlers.standing import Standing
from gilder.handlers.store import Key, Store

ACCOUNT, REGION, DR = "123456789012", "eu-west-1", "eu-central-1"
AMI, COPY, SNAP = "ami-0000000000000000a", "ami-0000000000000000b", "snap-0000000000000000a"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
IMAGE, SHARE = Key("GoldenImage", "images", "base"), Key("ImageShare", "images", "team")


def golden() -> dict[str, Any]:
    copies = [
        {"region": REGION, "imageId": AMI, "kmsKeyId": KEY, "snapshotIds": [SNAP]},
        {"region": DR, "imageId": COPY},
    ]
    return {
        "apiVersion": "goldenimage.dev/v1alpha1",
        "kind": "GoldenImage",
        "metadata": {"namespace": "images", "name": "base", "uid": "1", "resourceVersion": "1"},
        "spec": {
            "region": REGION,
            "source": {"image": {"ssmParameter": "/golden/base"}},
            "encryption": {"kmsKeyId": KEY.rsplit("/", 1)[1]},
        },
        "status": {"versions": [{"version": 1, "images": copies}]},
    }


def share() -> dict[str, Any]:
    return {
        "apiVersion": "goldenimage.dev/v1alpha1",
        "kind": "ImageShare",
        "metadata": {"namespace": "images", "name": "team", "uid": "2", "resourceVersion": "1"},
        "spec": {"imageRef": {"name": "base"}, "accounts": ["222222222222"]},
        "status": {
            "images": [{"region": REGION, "imageId": AMI, "kmsKeyId": KEY}],
            "grants": [{"region": REGION, "keyId": KEY, "principal": "x", "grantId": "g"}],
        },
    }


class Queue:
    """A queue of prepared batches; whatever is an exception is raised."""

    def __init__(self, *batches: list[Message] | Exception) -> None:
        self.batches = list(batches)
        self.deleted: list[Message] = []
        self.at_once: list[bool] = []
        self.empty = threading.Event()

    def receive(self, *, at_once: bool = False) -> list[Message]:
        self.at_once.append(at_once)
        if not self.batches:
            self.empty.set()
            time.sleep(0.01)
            return []
        found = self.batches.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def delete(self, messages: Sequence[Message]) -> None:
        self.deleted += messages


class Views:
    def __init__(self) -> None:
        self.forgotten: dict[str, tuple[set[str], set[str], bool]] = {}
        self.volumes: dict[str, set[str]] = {}
        self.whole: dict[str, set[str]] = {}

    def forget(
        self, region: str, *, images: Any = (), keys: Any = (), volumes: Any = (), whole: Any = ()
    ) -> None:
        self.forgotten[region] = (set(images), set(keys), bool(whole))
        self.volumes[region] = set(volumes)
        self.whole[region] = set(whole)

    def images_of(self, region: str, snapshots: Any) -> frozenset[str]:
        return frozenset({AMI} if region == REGION and SNAP in snapshots else ())


class World:
    def __init__(self, *batches: list[Message] | Exception) -> None:
        self.store = Store("default", indexed=True)
        self.store.put(golden())
        self.store.put(share())
        self.queue, self.views = Queue(*batches), Views()
        self.enqueued: list[set[Key]] = []
        self.builds_forgotten: list[str] = []
        self.parameters: list[tuple[str, set[str]]] = []
        self.organizations: list[bool] = []
        self.drift = Drift(self.queue, self.around())

    def around(self) -> Surroundings:
        return Surroundings(
            cluster="default",
            knows=lambda account: account == ACCOUNT,
            store=self.store,
            views=self.views,
            forget_parameters=lambda region, names: self.parameters.append((region, set(names))),
            forget_organizations=lambda: self.organizations.append(True),
            forget_work=self.builds_forgotten.append,
            enqueue=self.enqueued.append,
        )

    def take(self, *events: Any) -> set[Key]:
        before = len(self.enqueued)
        self.drift.take([message(e) for e in events])
        assert len(self.enqueued) <= before + 1
        return self.enqueued[-1] if len(self.enqueued) > before else set()


def message(event: Any) -> Message:
    body = event if isinstance(event, str) else json.dumps(event)
    return Message(f"receipt-{body[:40]}", body)


def call(
    name: str, parameters: Any, *, service: str = "ec2", region: str = REGION, **more: Any
) -> Any:
    detail = {
        "eventSource": f"{service}.amazonaws.com",
        "eventName": name,
        "requestParameters": parameters,
        "userAgent": "aws-cli/2",
    }
    return {
        "detail-type": "AWS API Call via CloudTrail",
        "source": f"aws.{service}",
        "account": ACCOUNT,
        "region": region,
        "time": "2025-06-11T09:14:18Z",
        "detail": detail,
        **more,
    }


def permission(image: str = AMI, **more: Any) -> Any:
    asked = {"imageId": image, "attributeType": "launchPermission"}
    return call("ModifyImageAttribute", asked, **more)


def counted(result: str) -> float:
    found = REGISTRY.get_sample_value(
        "gilder_events_total", {"kind": "ModifyImageAttribute", "result": result}
    )
    return found or 0.0


def test_a_launch_permission_concerns_the_shares_of_the_ami() -> None:
    world = World()
    before = counted("matched")
    assert world.take(permission()) == {SHARE}
    assert world.views.forgotten == {REGION: ({AMI}, set(), False)}
    assert counted("matched") == before + 1
    assert len(world.queue.deleted) == 1


def test_an_ami_that_goes_concerns_its_golden_image_and_its_shares() -> None:
    world = World()
    assert world.take(call("DeregisterImage", {"imageId": COPY}, region=DR)) == {IMAGE}
    assert world.views.forgotten == {DR: ({COPY}, set(), True)}
    assert world.take(call("DeregisterImage", {"imageId": AMI})) == {IMAGE, SHARE}
    assert world.take(call("DeleteSnapshot", {"snapshotId": SNAP})) == {IMAGE}
    # A share names the AMI of the snapshot that it shares.
    volumes = call("ModifySnapshotAttribute", {"snapshotId": SNAP})
    assert world.take(volumes) == {IMAGE, SHARE}
    assert world.views.volumes[REGION] == {SNAP}
    assert world.take(call("ModifySnapshotAttribute", {"snapshotId": "snap-0123456789"})) == set()


def test_tags_leave_launch_permissions_alone() -> None:
    world = World()
    assert IMAGE in world.take(
        call("CreateTags", {"resourcesSet": {"items": [{"resourceId": AMI}]}})
    )
    assert world.views.forgotten == {REGION: (set(), set(), True)}


def test_a_grant_concerns_shares_and_a_disabled_key_all_that_use_it() -> None:
    world = World()
    assert world.take(call("RevokeGrant", {"keyId": KEY}, service="kms")) == {SHARE}
    assert world.views.forgotten == {REGION: (set(), {KEY}, False)}
    # The GoldenImage names it by its id alone.
    assert world.take(call("DisableKey", {"keyId": KEY}, service="kms")) == {IMAGE, SHARE}
    other = KEY[:-1] + "0"
    assert world.take(call("RevokeGrant", {"keyId": other}, service="kms")) == set()


def test_a_batch_is_looked_at_once() -> None:
    world = World()
    found = world.take(
        "garbage",
        permission(),
        permission(),
        permission("ami-0123456789abcdef0"),
        call("DeregisterImage", {"imageId": COPY}, region=DR),
    )
    assert found == {IMAGE, SHARE}
    assert world.views.forgotten == {REGION: ({AMI}, set(), False), DR: ({COPY}, set(), True)}
    assert len(world.queue.deleted) == 5


def test_strange_amis_and_strange_accounts_cost_nothing() -> None:
    world = World()
    before = counted("foreign")
    assert world.take(permission("ami-0123456789abcdef0")) == set()
    assert world.take(permission(account="999999999999")) == set()
    assert world.views.forgotten == {}
    assert counted("foreign") == before + 2
    assert len(world.queue.deleted) == 2


def test_a_message_stays_if_its_reconcile_could_not_be_asked_for() -> None:
    world = World()

    def refuse(_: set[Key]) -> None:
        raise TimeoutError

    around = world.around()
    world.drift = Drift(world.queue, Surroundings(**{**vars(around), "enqueue": refuse}))
    with pytest.raises(TimeoutError):
        world.take(permission())
    assert world.queue.deleted == []


def test_the_index_follows_the_store() -> None:
    world = World()
    moved = golden()
    moved["metadata"]["resourceVersion"] = "2"
    moved["status"]["versions"][0]["images"] = []
    world.store.put(moved)
    assert world.store.standing_on([AMI, COPY]) == {SHARE}
    world.store.drop(SHARE)
    assert world.store.standing_on([AMI]) == set()
    assert world.store.standing_on([KEY.rsplit("/", 1)[1]]) == {IMAGE}
    assert Store("default").standing_on([AMI]) == set()  # off: no index


def test_odd_bodies_are_indexed_without_harm() -> None:
    standing: Standing[str] = Standing()
    for body in ({}, {"spec": None}, {"spec": [1, {"id": 5}, {"id": {"id": "x"}}], "status": "y"}):
        standing.put("a", body)
    assert standing.on(["x"]) == {"a"}
    standing.drop("a")
    standing.drop("a")
    assert standing.on(["x"]) == set()


def test_failures_are_waited_out_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "FIRST_PAUSE", 0.01)
    said: list[str] = []
    for level in ("info", "warning"):
        monkeypatch.setattr(drift.log, level, lambda text, **_: said.append(text))
    down = EndpointConnectionError(endpoint_url="https://sqs.eu-west-1.amazonaws.com")
    world = World([], down, down, ValueError("a bug"), [message(permission())])
    world.drift.start()
    assert world.queue.empty.wait(5)
    world.drift.stop()
    assert said == [
        "events are received",
        "events are not received; drift is found by sweeps",
        "events are received",
    ]
    assert world.enqueued == [{SHARE}]
    assert len(world.queue.deleted) == 1


def test_where_regions_are_forgotten_again_and_again_events_are_taken_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drift, "REST", 0.05)
    monkeypatch.setattr(drift, "BURST", 0)
    gone = call("DeregisterImage", {"imageId": COPY}, region=DR)
    world = World([message(gone)], [message(permission())], [message(gone)], [message(gone)], [])
    world.drift.start()
    assert world.queue.empty.wait(5)
    world.drift.stop()
    # The first at once; the others in one go, and each is deleted.
    assert world.enqueued == [{IMAGE}, {IMAGE, SHARE}]
    assert world.queue.at_once[:5] == [False, False, True, True, True]
    assert len(world.queue.deleted) == 4
