"""EventBridge and CloudTrail as far as drift needs them: what is done to AMIs, snapshots, keys,
parameters and organizations comes into an SQS queue, in AWS's shapes, with flaws on demand."""

import contextlib
import heapq
import itertools
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from moto.ec2.models import ec2_backends
from moto.kms.models import kms_backends
from moto.sqs.models import Message as MotoMessage
from moto.sqs.models import Queue as MotoQueue
from moto.sqs.models import SQSBackend, sqs_backends
from moto.ssm.models import ssm_backends

from gilder.sandbox.aws.assumed import Session
from gilder.sandbox.aws.counting import CallKey
from gilder.sandbox.aws.event_shapes import (
    Json,
    build_event,
    call_event,
    form,
    json_of,
    parameter_event,
    state_event,
)
from gilder.sandbox.aws.imagebuilder import builds
from gilder.sandbox.aws.imagebuilder.store import all_builds
from gilder.sandbox.aws.registry import LOCK
from gilder.sandbox.aws.settings import DEFAULT_ACCOUNT

States = dict[tuple[str, str, str], str]
SERVICES = ("ec2", "kms", "organizations", "ssm")
# What a call to Parameter Store is in the event of it; an existing one is updated.
_OPERATIONS = {
    "PutParameter": "Create",
    "DeleteParameter": "Delete",
    "DeleteParameters": "Delete",
    "LabelParameterVersion": "LabelParameterVersion",
}
READS = ("Describe", "Get", "List")
TICK = 0.05  # seconds between looks at the states of AMIs


class EventBus:
    """Off until `open` is called. The knobs may be turned at any time."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._random = random.Random(11)
        self._number = itertools.count()
        self._due: list[tuple[float, int, str]] = []
        self._queue: tuple[str, str] | None = None  # Region, name
        self._accounts = frozenset({DEFAULT_ACCOUNT})
        self._states: States = {}
        self._running = 0
        self.reset()

    def reset(self) -> None:
        """Off, and without flaws."""
        with self._wake:
            self._queue = None
            self._accounts = frozenset({DEFAULT_ACCOUNT})
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

    def open(self, region: str, queue: str, accounts: Iterable[str] = ()) -> None:
        """Send events to this queue of the default account from now on.

        They are those of the default account and of `accounts`, which forward theirs to it.
        """
        with self._wake:
            self._queue = (region, queue)
            self._accounts = frozenset({DEFAULT_ACCOUNT, *accounts})
            self._running += 1
            mine = self._running
            self._states = _image_states(self._accounts)
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
        return self.on and key.service in SERVICES and changing

    def begin(
        self, key: CallKey, body: bytes, agent: str, session: Session | None = None
    ) -> Callable[[int, bytes], None]:
        """Before a call; the returned function takes its HTTP status and answer."""
        if key.service == "ssm":
            return self._begin_parameter(key, json_of(body))
        asked = form(body) if key.service == "ec2" else json_of(body)
        # Looked up before, since a grant that is retired by its token is gone after.
        arn = _key_arn(key, asked) if key.service == "kms" else None
        # Of the use of another account's key both accounts learn, the owner only if it got there.
        # https://docs.aws.amazon.com/kms/latest/developerguide/logging-using-cloudtrail.html
        owner = arn.split(":")[4] if arn else key.account

        def end(status: int, answer: bytes) -> None:
            for account in sorted({owner, key.account} & self._accounts):
                event = call_event(account, key, asked, arn, agent, status, answer, session)
                self.emit(event)

        return end

    def _begin_parameter(self, key: CallKey, asked: Json) -> Callable[[int, bytes], None]:
        """Parameter Store tells of changes by an event of its own, and only when one was made."""
        names = [asked["Name"]] if "Name" in asked else list(asked.get("Names") or [])
        before = {n: _parameter(key, n) for n in names}

        def end(status: int, _: bytes) -> None:
            if status >= 400 or key.account not in self._accounts:
                return
            for name in names:
                old, new = before[name], _parameter(key, name)
                operation = _OPERATIONS.get(key.action)
                if operation == "Create" and old is not None:
                    operation = "Update"
                found = new or old
                if operation is None or found is None:
                    continue
                event = parameter_event(
                    key.account,
                    key.region,
                    operation,
                    name=str(found.name),
                    kind=str(found.parameter_type),
                    description=found.description or "",
                    data_type=found.data_type,
                )
                self.emit(event)

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
            now = {b.arn: b.status for b in all_builds() if b.account in self._accounts}
        for arn, status in now.items():
            if status != self._builds.get(arn):
                self.emit(build_event(arn, self._builds.get(arn, ""), status))
        return now

    def _watch(self, mine: int) -> None:
        """EC2 itself tells of AMIs that become available, fail, are disabled or deregistered."""
        while self._running == mine:
            began = time.monotonic()
            now = _image_states(self._accounts)
            for at, state in now.items():
                if state != self._states.get(at) and state != "pending":
                    self.emit(state_event(*at, state))
            for at in self._states.keys() - now.keys():
                self.emit(state_event(*at, "deregistered"))
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


def _image_states(accounts: Iterable[str]) -> States:
    """Account, Region and id to the state of every AMI of these accounts."""
    with LOCK:
        return {
            (account, region, image.id): image.state
            for account in accounts
            for region, backend in list(_backends(account).items())
            for image in list(backend.amis.values())
            if image.owner_id == account
        }


def _backends(account: str) -> Mapping[str, Any]:
    return ec2_backends[account]


def _parameter(key: CallKey, name: str) -> Any | None:
    """A parameter by its name or ARN."""
    with LOCK, contextlib.suppress(Exception):
        bare = name.partition(":parameter")[2] or name
        found = ssm_backends[key.account][key.region].get_parameters([bare])
        return next(iter(found.values()), None)
    return None


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
