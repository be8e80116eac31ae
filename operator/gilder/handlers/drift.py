"""Drift by events: what AWS says was touched is looked at again, and nothing else is read."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from gilder.aws import errors
from gilder.aws.events import Message
from gilder.aws.limits import Bucket, Rate
from gilder.core.events import Ignored, Touched, parse
from gilder.handlers import metrics
from gilder.handlers.store import Key

log = structlog.get_logger("gilder")

FIRST_PAUSE = 1.0  # seconds after a failure; doubles with each one in a row
LAST_PAUSE = 60.0

# An event of an AMI has its whole Region read anew. Where hundreds of them change, because so many
# were asked for, only the first batches are worked off at once, and the next ones together.
BURST = 10
REST = 5.0  # seconds between batches then, as often as polls read
MOST = 500  # messages worked off together


class Queue(Protocol):
    """What gilder.aws.events.EventQueue offers."""

    def receive(self, *, at_once: bool = False) -> list[Message]: ...
    def delete(self, messages: Sequence[Message]) -> None: ...


class Forgetful(Protocol):
    """What gilder.reconcile.fleet.Fleet offers."""

    def forget(
        self,
        region: str,
        *,
        images: Iterable[str] = (),
        keys: Iterable[str] = (),
        volumes: Iterable[str] = (),
        whole: Iterable[str] = (),
    ) -> None: ...
    def images_of(self, region: str, snapshots: Iterable[str]) -> frozenset[str]: ...


class Related(Protocol):
    """What gilder.handlers.store.Store offers."""

    def standing_on(self, names: Iterable[str]) -> set[Key]: ...
    def following(self, parameters: Iterable[str]) -> set[Key]: ...
    def of_organizations(self) -> set[Key]: ...


@dataclass(frozen=True)
class Surroundings:
    """What the consumer works with."""

    cluster: str
    knows: Callable[[str], bool]  # whether the operator acts in an account
    store: Related
    views: Forgetful
    forget_parameters: Callable[[str, Iterable[str]], None]
    forget_organizations: Callable[[], None]
    forget_work: Callable[[str], None]  # what is known of builds in a Region
    enqueue: Callable[[set[Key]], None]  # blocks until they wait for their reconcile


class Drift:
    """Consumes the queue in a thread of its own, since a long poll blocks."""

    def __init__(self, queue: Queue, around: Surroundings) -> None:
        self._queue = queue
        self._around = around
        self._stop = threading.Event()
        self._well: bool | None = None
        self._reads = Bucket(Rate(1 / REST, BURST))
        self._rests_until = 0.0
        # A daemon: a long poll under way does not hold up the end of the process, and what it
        # receives then is not deleted.
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more; returns at once."""
        self._stop.set()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            try:
                messages = self._gathered()
                if messages and not self._stop.is_set():
                    self.take(messages)
                self._tell(None)
                pause = FIRST_PAUSE
            except errors.AWS_ERRORS as error:
                self._tell(errors.problem(error, "receiving events").message)
            except Exception as error:  # noqa: BLE001 - sweeps go on, and so must this
                self._tell(repr(error))
            if self._well is False:
                self._stop.wait(pause)
                pause = min(2 * pause, LAST_PAUSE)

    def _gathered(self) -> list[Message]:
        """What came; and all that waits, if Regions had to be read anew too often."""
        messages = self._queue.receive()
        rest = self._rests_until - time.monotonic()
        if messages and rest > 0:
            self._stop.wait(rest)
            while len(messages) < MOST and (more := self._queue.receive(at_once=True)):
                messages += more
        return messages

    def _tell(self, failure: str | None) -> None:
        """Log once when events begin to come, cease to and come again."""
        well = failure is None
        if well is self._well:
            return
        if well:
            log.info("events are received", queue=getattr(self._queue, "url", ""))
        elif not self._stop.is_set():
            log.warning("events are not received; drift is found by sweeps", error=failure)
        self._well = well
        metrics.EVENTS_RECEIVED.set(1 if well else 0)

    def take(self, messages: Sequence[Message]) -> None:
        """Work off one batch: forget what was touched, have it looked at, delete the messages."""
        matched: list[Touched] = []
        concerned: set[Key] = set()
        for message in messages:
            found = parse(message.body, self._around.cluster)
            if isinstance(found, Ignored):
                metrics.EVENTS.labels("other", found.value).inc()
                continue
            keys = self._concerned(found)
            metrics.EVENTS.labels(found.cause, "matched" if keys else "foreign").inc()
            if keys:
                concerned |= keys
                matched.append(found)
        self._forget(matched)
        if concerned:
            self._around.enqueue(concerned)
        now = time.time()
        for touched in matched:
            if touched.at is not None:
                metrics.EVENT_LAG.observe(max(0.0, now - touched.at))
        # Only now: what is not in the queue of reconciles comes again.
        self._queue.delete(messages)

    def _concerned(self, touched: Touched) -> set[Key]:
        """Resources that stand on what was touched; who has access is a matter of shares alone."""
        store = self._around.store
        if touched.organization:
            return store.of_organizations()
        if touched.parameters:
            # A name says nothing of whose it is, and an id or an ARN does.
            known = self._around.knows(touched.account)
            return store.following(touched.parameters) if known else set()
        bare = {k.rsplit("/", 1)[1] for k in touched.keys}  # a spec may name a key by its id
        names = touched.names | bare
        if touched.access and touched.snapshots:
            # Shares name AMIs, and not the snapshots that they let accounts make volumes of.
            names |= self._around.views.images_of(touched.region, touched.snapshots)
        keys = store.standing_on(names)
        if not touched.state:
            keys = {k for k in keys if k.kind == "ImageShare"}
        # AMIs are of our accounts; a key may be of another one, and is known by its ARN.
        if keys and not touched.keys and not self._around.knows(touched.account):
            return set()
        return keys

    def _forget(self, matched: Iterable[Touched]) -> None:
        images: dict[str, set[str]] = {}
        volumes: dict[str, set[str]] = {}
        keys: dict[str, set[str]] = {}
        whole: dict[str, set[str]] = {}  # Region to accounts
        for touched in matched:
            if touched.organization:
                self._around.forget_organizations()
                continue
            if touched.parameters:
                self._around.forget_parameters(touched.region, touched.parameters)
                continue
            if touched.access:
                images.setdefault(touched.region, set()).update(touched.images)
                volumes.setdefault(touched.region, set()).update(touched.snapshots)
            if touched.builds:
                self._around.forget_work(touched.region)
            elif touched.state and not touched.keys:
                whole.setdefault(touched.region, set()).add(touched.account)
            for key in touched.keys:
                keys.setdefault(key.split(":")[3], set()).add(key)
        if whole:
            self._rests_until = time.monotonic() + self._reads.take()
        for region in images.keys() | volumes.keys() | keys.keys() | whole.keys():
            self._around.views.forget(
                region,
                images=images.get(region, ()),
                keys=keys.get(region, ()),
                volumes=volumes.get(region, ()),
                whole=whole.get(region, ()),
            )
