"""EventBridge and CloudTrail as far as drift needs them: what is done to AMIs, snapshots and keys
of the default account comes into an SQS queue, in AWS's shapes and with its flaws on demand."""

import contextlib
import heapq
import itertools
import json
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from moto.ec2.models import ec2_backends
from moto.kms.models import kms_backends
from moto.sqs.models import Message as MotoMessage
from moto.sqs.models import Queue as MotoQueue
from moto.sqs.models import SQSBackend, sqs_backends

from gilder.sandbox.aws.counting import CallKey
from gilder.sandbox.aws.imagebuilder import builds
from gilder.sandbox.aws.imagebuilder.store import all_builds
from gilder.sandbox.aws.registry import LOCK
from gilder.sandbox.aws.settings import DEFAULT_ACCOUNT

Json = dict[str, Any]
READS = ("Describe", "Get", "List")
TICK = 0.05  # seconds between looks at the states of AMIs
_CODE = re.compile(rb"<Code>([^<]+)</Code>")
_NUMBERED = re.compile(r"[.]\d+(?=[.]|$)")


class EventBus:
    """Off until `open` is called. The knobs may be turned at any time."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._random = random.Random(11)
        self._number = itertools.count()
        self._due: list[tuple[float, int, str]] = []
        self._queue: tuple[str, str] | None = None  # Region, name
        self._states: dict[tuple[str, str], str] = {}
        self._running = 0
        self.reset()

    def reset(self) -> None:
        """Off, and without flaws."""
        with self._wake:
            self._queue = None
            self._running += 1
            self._builds: dict[str, str] = {}
            self._due.clear()
            self.sent: list[Json] = []  # every event that was made, also those that were dropped
            self.duplicates = 0  # further copies of each event
            self.delay = 0.0  # seconds until an event is in the queue
            self.jitter = 0.0  # up to so many seconds more, which reorders
            self.drop = 0.0  # part of the events that is lost
            self._wake.notify_all()

    @property
    def on(self) -> bool:
        return self._queue is not None

    def open(self, region: str, queue: str) -> None:
        """Send events to this queue of the default account from now on."""
        with self._wake:
            self._queue = (region, queue)
            self._running += 1
            mine = self._running
            self._states = _image_states()
        for work in (self._deliver, self._watch):
            threading.Thread(target=work, args=(mine,), name="events", daemon=True).start()

    def put(self, body: str, delay: float = 0.0) -> None:
        """Put any body into the queue, as it is."""
        with self._wake:
            heapq.heappush(self._due, (time.monotonic() + delay, next(self._number), body))
            self._wake.notify_all()

    def emit(self, event: Json) -> None:
        """Send an event, subject to the knobs."""
        with self._wake:
            if self._queue is None:
                return
            self.sent.append(event)
            lost = self._random.random() < self.drop
            copies = 0 if lost else 1 + self.duplicates
            pauses = [self.delay + self._random.random() * self.jitter for _ in range(copies)]
        for pause in pauses:
            self.put(json.dumps(event), pause)

    # Calls

    def watches(self, key: CallKey) -> bool:
        changing = not key.action.startswith(READS)
        return self.on and key.service in ("ec2", "kms") and changing

    def begin(self, key: CallKey, body: bytes, agent: str) -> Callable[[int, bytes], None]:
        """Before a call; the returned function takes its HTTP status and answer."""
        asked = _form(body) if key.service == "ec2" else _json(body)
        # Looked up before, since a grant that is retired by its token is gone after.
        arn = _key_arn(key, asked) if key.service == "kms" else None
        owner = arn.split(":")[4] if arn else key.account

        def end(status: int, answer: bytes) -> None:
            if owner == DEFAULT_ACCOUNT:
                self.emit(_call_event(key, asked, arn, agent, status, answer))

        return end

    # Threads

    def _deliver(self, mine: int) -> None:
        while True:
            with self._wake:
                if self._running != mine or self._queue is None:
                    return
                pause = self._due[0][0] - time.monotonic() if self._due else None
                if pause is None or pause > 0:
                    self._wake.wait(pause)
                    continue
                region, queue = self._queue
                body = heapq.heappop(self._due)[2]
            with contextlib.suppress(Exception):  # the queue was deleted
                _send(region, queue, body)

    def _tell_builds(self) -> dict[str, str]:
        """Image Builder tells of each state of a build; the states there are now."""
        with LOCK:
            builds.settle()
            now = {b.arn: b.status for b in all_builds() if b.account == DEFAULT_ACCOUNT}
        for arn, status in now.items():
            if status != self._builds.get(arn):
                self.emit(_build_event(arn, self._builds.get(arn, ""), status))
        return now

    def _watch(self, mine: int) -> None:
        """EC2 itself tells of AMIs that become available, fail, are disabled or deregistered."""
        while self._running == mine:
            began = time.monotonic()
            now = _image_states()
            for at, state in now.items():
                if state != self._states.get(at) and state != "pending":
                    self.emit(_state_event(*at, state))
            for at in self._states.keys() - now.keys():
                self.emit(_state_event(*at, "deregistered"))
            self._states = now
            self._builds = self._tell_builds()
            # Thousands of AMIs are looked at less often, so that the server is not kept from work.
            time.sleep(max(TICK, 4 * (time.monotonic() - began)))


def _send(region: str, queue: str, body: str) -> None:
    """What SendMessage does, without moto's look at every message that waits already."""
    message = MotoMessage(str(uuid.uuid4()), body, None)
    message.mark_sent(delay_seconds=0)
    sqs_backends[DEFAULT_ACCOUNT][region].get_queue(queue).add_message(message)


# One per process, because moto's state is one per process.
BUS = EventBus()


def install() -> None:
    """moto swaps the list of messages when one is deleted, and loses what is sent just then."""
    original = MotoQueue.delete_message

    def delete_message(self: Any, receipt_handle: str) -> None:
        with self._messages_lock:
            original(self, receipt_handle)

    patched: Any = MotoQueue
    patched.delete_message = delete_message
    # For each message that is received moto counts all that wait, only to know how long messages
    # are kept. No sandbox lasts for so many days.
    backend: Any = SQSBackend
    backend.is_message_valid_based_on_retention_period = lambda *_: True


def _image_states() -> dict[tuple[str, str], str]:
    """Region and id to the state of every AMI of the default account."""
    with LOCK:
        backends: Mapping[str, Any] = ec2_backends[DEFAULT_ACCOUNT]
        return {
            (region, image.id): image.state
            for region, backend in list(backends.items())
            for image in list(backend.amis.values())
            if image.owner_id == DEFAULT_ACCOUNT
        }


def _envelope(source: str, kind: str, region: str, resources: list[str], detail: Json) -> Json:
    """https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html"""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": kind,
        "source": source,
        "account": DEFAULT_ACCOUNT,
        "time": _now(),
        "region": region,
        "resources": resources,
        "detail": detail,
    }


def _build_event(arn: str, before: str, now: str) -> Json:
    """https://docs.aws.amazon.com/imagebuilder/latest/userguide/integ-eventbridge.html"""
    detail = {"previous-state": {"status": before}, "state": {"status": now}}
    kind = "EC2 Image Builder Image State Change"
    return _envelope("aws.imagebuilder", kind, arn.split(":")[3], [arn], detail)


def _state_event(region: str, image: str, state: str) -> Json:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitor-ami-events.html"""
    detail = {
        "RequestId": str(uuid.uuid4()),
        "ImageId": image,
        "State": state,
        "ErrorMessage": "" if state != "failed" else "The copy failed.",
    }
    arn = f"arn:aws:ec2:{region}::image/{image}"
    return _envelope("aws.ec2", "EC2 AMI State Change", region, [arn], detail)


def _call_event(
    key: CallKey, asked: Json, arn: str | None, agent: str, status: int, answer: bytes
) -> Json:
    """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event-cloudtrail.html"""
    region = arn.split(":")[3] if arn else key.region
    detail: Json = {
        "eventVersion": "1.10",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "AIDASANDBOX",
            "arn": f"arn:aws:iam::{key.account}:user/sandbox",
            "accountId": key.account,
            "accessKeyId": key.account,
            "userName": "sandbox",
        },
        "eventTime": _now(),
        "eventSource": f"{key.service}.amazonaws.com",
        "eventName": key.action,
        "awsRegion": region,
        "sourceIPAddress": "192.0.2.0",
        "userAgent": agent,
        "requestID": str(uuid.uuid4()),
        "eventID": str(uuid.uuid4()),
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": DEFAULT_ACCOUNT,
        "eventCategory": "Management",
    }
    if key.service == "ec2":
        detail["requestParameters"] = _ec2_parameters(key.action, asked)
        detail["responseElements"] = {"_return": True}
    else:
        detail |= _kms_parts(key, asked, arn, answer)
    if status >= 400:
        code = _CODE.search(answer)
        said = code[1].decode() if code else str(_json(answer).get("__type", "Error"))
        detail["errorCode"] = f"Client.{said}" if key.service == "ec2" else said
        detail["responseElements"] = None
    return _envelope(f"aws.{key.service}", "AWS API Call via CloudTrail", region, [], detail)


def _ec2_parameters(action: str, asked: Json) -> Json:
    """The form of a request as CloudTrail shows it."""
    if action in ("CreateTags", "DeleteTags"):
        return {
            "resourcesSet": _list(asked, "ResourceId", "resourceId"),
            "tagSet": {
                "items": [
                    {"key": k, "value": v}
                    for k, v in itertools.zip_longest(
                        _values(asked, "Tag.Key"), _values(asked, "Tag.Value"), fillvalue=""
                    )
                ]
            },
        }
    if action.startswith(("EnableImage", "DisableImage")):
        return {f"{action}Request": {k: v for k, v in asked.items() if "." not in k}}
    out: Json = {_lower(k): v for k, v in asked.items() if "." not in k and k != "Attribute"}
    if action == "ResetImageAttribute":
        out["attributeType"] = asked.get("Attribute")
    if action in ("ModifyImageAttribute", "ModifySnapshotAttribute"):
        image = action == "ModifyImageAttribute"
        name = "launchPermission" if image else "createVolumePermission"
        if "Description.Value" in asked or asked.get("Attribute") == "description":
            out["attributeType"] = "description"
            return out
        out["attributeType"] = name if image else "CREATE_VOLUME_PERMISSION"
        out[name] = _permissions(asked, name[0].upper() + name[1:])
    return out


def _permissions(asked: Json, name: str) -> Json:
    out: Json = {}
    for operation in ("Add", "Remove"):
        items = [
            {_lower(field): value}
            for field in ("UserId", "Group", "OrganizationArn", "OrganizationalUnitArn")
            for value in _values(asked, f"{name}.{operation}.{field}")
        ]
        if items:
            out[operation.lower()] = {"items": items}
    flat = [{"userId": v} for v in _values(asked, "UserId")]
    flat += [{"group": v} for v in _values(asked, "UserGroup")]
    if flat:
        out[str(asked.get("OperationType", "add"))] = {"items": flat}
    return out


def _kms_parts(key: CallKey, asked: Json, arn: str | None, answer: bytes) -> Json:
    """https://docs.aws.amazon.com/kms/latest/developerguide/ct-creategrant.html"""
    parts: Json = {
        "requestParameters": {_lower(k): v for k, v in asked.items() if k != "GrantTokens"},
        "responseElements": None,
        "resources": [],
    }
    if arn:
        owner = arn.split(":")[4]
        parts["resources"] = [{"accountId": owner, "type": "AWS::KMS::Key", "ARN": arn}]
    if key.action == "CreateGrant":
        parts["responseElements"] = {"grantId": _json(answer).get("GrantId"), "keyId": arn}
    if key.action == "RetireGrant":
        parts["requestParameters"] = None
        parts["additionalEventData"] = {"grantId": asked.get("GrantId")}
    return parts


def _key_arn(key: CallKey, asked: Json) -> str | None:
    """The ARN of the key that a KMS request is about, of whatever account."""
    written = asked.get("KeyId")
    region, account = key.region, key.account
    if isinstance(written, str) and written.startswith("arn:"):
        region, account = written.split(":")[3:5]
    with LOCK, contextlib.suppress(Exception):
        if written is None:
            token = asked.get("GrantToken")
            for backends in list(kms_backends.values()):
                there: Any = backends.get(region)
                for found in list(there.keys.values()) if there else []:
                    if any(g.token == token for g in found.grants.values()):
                        return str(found.arn)
            return None
        backend: Any = kms_backends[account][region]
        return str(backend.keys[backend.any_id_to_key_id(written)].arn)
    return None


def _form(body: bytes) -> Json:
    found = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    return {k: v for k, v in found.items() if k not in ("Action", "Version")}


def _json(body: bytes) -> Json:
    with contextlib.suppress(ValueError):
        found = json.loads(body or b"{}")
        if isinstance(found, dict):
            return found
    return {}


def _values(asked: Json, name: str) -> list[str]:
    """Values of a list of a form: `Tag.Key` stands for Tag.1.Key, Tag.2.Key and so on."""
    return [v for k, v in asked.items() if "." in k and _NUMBERED.sub("", k) == name]


def _list(asked: Json, name: str, shown: str) -> Json:
    values: Iterable[str] = _values(asked, name)
    return {"items": [{shown: v} for v in values]}


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
