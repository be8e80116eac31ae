"""Messages of a queue that anybody might have written, and what must not come of them."""

import copy
import json
import threading
from collections.abc import Sequence
from typing import Any

from hostilevalues import nested, parts, texts, wild
from hypothesis import strategies as st
from planworld import CLUSTER, FOREIGN, HOME, HOME_KEY, OWNER, ami

from gilder.aws.events import Message, region_of
from gilder.core.events import API_CALL, LIMIT, Ignored, Touched, parse, user_agent
from gilder.handlers.drift import Drift, Surroundings
from gilder.handlers.store import Key, Store


def _event(kind: str, source: str, detail: Any, **more: Any) -> dict[str, Any]:
    return {
        "detail-type": kind,
        "source": source,
        "account": OWNER,
        "region": HOME,
        "time": "2030-01-01T12:00:00Z",
        "resources": [],
        "detail": detail,
        **more,
    }


def _call(name: str, asked: Any, service: str = "ec2", **more: Any) -> dict[str, Any]:
    return _event(
        API_CALL,
        f"aws.{service}",
        {
            "eventSource": f"{service}.amazonaws.com",
            "eventName": name,
            "userAgent": "aws-cli/2",
            "requestParameters": asked,
            **more,
        },
    )


SAMPLES = (
    _call("ModifyImageAttribute", {"imageId": ami(2), "attributeType": "launchPermission"}),
    _call("DeregisterImage", {"imageId": ami(2)}),
    _call("CreateTags", {"resourcesSet": {"items": [{"resourceId": ami(2)}]}}),
    _call("ModifySnapshotAttribute", {"snapshotId": "snap-00000002"}),
    _call("CreateGrant", {"keyId": HOME_KEY}, "kms", resources=[{"ARN": HOME_KEY}]),
    _call("DeleteSnapshot", {"snapshotId": "snap-00000002"}, userAgent=user_agent("1", CLUSTER)),
    _call("MoveAccount", {}, "organizations"),
    _event("EC2 AMI State Change", "aws.ec2", {"ImageId": ami(2), "State": "available"}),
    _event("Parameter Store Change", "aws.ssm", {"name": "/golden/base", "operation": "Update"}),
    _event(
        "EC2 Image Builder Image State Change",
        "aws.imagebuilder",
        {"state": {"status": "AVAILABLE"}},
        resources=[f"arn:aws:imagebuilder:{HOME}:{OWNER}:image/base/1.0.0/1"],
    ),
)
HOSTILE_BODIES = (
    "",
    "[" * 100_000,
    '{"a":' * 50_000,
    "9" * 100_000,
    "1e" + "9" * 50,
    '{"account": NaN, "detail": Infinity}',
    '{"detail": "\\ud800"}',
    "\x00\x1b[2J",
    '{"Type": "Notification", "Message": {"a": 1}}',
    "x" * (LIMIT + 1),
    json.dumps(_call("CreateTags", nested(200))),
    json.dumps({"Type": "Notification", "Message": json.dumps({"Type": "Notification"})}),
)


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """An event of AWS of which parts are anything; or any text at all."""
    way = draw(st.integers(0, 9))
    if way == 0:
        return draw(st.sampled_from(HOSTILE_BODIES))
    if way == 1:
        return draw(st.binary(max_size=60)).decode("latin-1")
    event = copy.deepcopy(draw(st.sampled_from(SAMPLES)))
    if draw(st.booleans()):
        event["account"] = FOREIGN
    for _ in range(draw(st.integers(0, 3))):
        *path, last = draw(st.sampled_from([p for p in parts(event) if p]))
        at: Any = event
        for spot in path:
            at = at[spot]
        at[last] = draw(texts | wild())
    text = json.dumps(event)
    return text if way > 2 else json.dumps({"Type": "Notification", "Message": text})


class _World:
    """A queue and what hangs on it; it writes down what was touched."""

    def __init__(self) -> None:
        self.deleted: list[Message] = []
        self.touched: list[Any] = []
        self.store = Store(CLUSTER, indexed=True)
        for kind, name, spec in (
            (
                "GoldenImage",
                "base",
                {
                    "region": HOME,
                    "source": {"image": {"id": ami(2)}},
                    "encryption": {"kmsKeyId": HOME_KEY},
                    "publish": {"ssmParameter": {"name": "/golden/base"}},
                },
            ),
            ("ImageShare", "share", {"imageRef": {"images": [{"id": ami(2), "region": HOME}]}}),
        ):
            self.store.put(
                {
                    "apiVersion": "goldenimage.dev/v1alpha1",
                    "kind": kind,
                    "metadata": {"name": name, "namespace": "team", "uid": name},
                    "spec": spec,
                }
            )

    # As gilder.aws.events.EventQueue

    def receive(self, *, at_once: bool = False) -> list[Message]:
        raise AssertionError(f"nobody asks, {at_once}")

    def delete(self, messages: Sequence[Message]) -> None:
        self.deleted += messages

    # As gilder.reconcile.fleet.Fleet

    def forget(self, region: str, **what: Any) -> None:
        self.touched.append((region, what))

    def images_of(self, region: str, snapshots: Any) -> frozenset[str]:
        return frozenset({ami(2)} if region == HOME and "snap-00000002" in snapshots else ())

    def enqueue(self, keys: set[Key]) -> None:
        self.touched.append(keys)

    def drift(self) -> Drift:
        return Drift(
            self,
            Surroundings(
                cluster=CLUSTER,
                knows=lambda account: account == OWNER,
                store=self.store,
                views=self,
                forget_parameters=lambda region, names: self.touched.append((region, set(names))),
                forget_organizations=lambda: self.touched.append("organizations"),
                forget_work=self.touched.append,
                enqueue=self.enqueue,
            ),
        )


_WORLD = _World()
_DRIFT = _WORLD.drift()
_LOCK = threading.Lock()


def check_message(body: str) -> str:
    """Parsed and worked off: `ignored` or `touched`, and always taken from the queue."""
    region_of(body, HOME)
    found = parse(body, CLUSTER)
    assert isinstance(found, Ignored | Touched)
    with _LOCK:
        _WORLD.deleted.clear()
        _WORLD.touched.clear()
        message = Message("receipt", body)
        _DRIFT.take([message])
        assert _WORLD.deleted == [message], "the message stays in the queue, and comes again"
        if isinstance(found, Ignored):
            assert not _WORLD.touched
            return "ignored"
        # A key is known by its ARN, and accounts of an organization by its management account.
        if found.account != OWNER and not (found.keys or found.organization):
            assert not _WORLD.touched, f"account {found.account} is strange"
    return "touched"
