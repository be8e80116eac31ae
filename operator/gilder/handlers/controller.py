"""The loop between the cluster and the engine: what to reconcile, when, and what to write."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import structlog
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from gilder.api import GoldenImage, GoldenImageStatus, ImageShare, ImageShareStatus, SpecError
from gilder.api.conditions import ConditionType
from gilder.api.names import ABANDON, FINALIZER
from gilder.aws.errors import lasting, request_ids
from gilder.aws.events import EventQueue
from gilder.config import Settings
from gilder.core.conditions import Verdict, merge, readable, verdicts_of
from gilder.core.digest import digest
from gilder.core.results import Event
from gilder.core.times import rfc3339
from gilder.handlers import metrics
from gilder.handlers.access import AccessWatch
from gilder.handlers.drift import Drift, Surroundings
from gilder.handlers.joblist import JobList
from gilder.handlers.kube import PLURALS, GoneError, Kube
from gilder.handlers.maplist import NOT_LISTED, MapList
from gilder.handlers.published import PublishedList
from gilder.handlers.queue import WorkQueue
from gilder.handlers.store import Body, Key, Kind, Store, key_of
from gilder.reconcile.engine import utc_now
from gilder.reconcile.fleet import Fleet
from gilder.reconcile.inventory import ImageScope
from gilder.reconcile.outcome import Outcome

log = structlog.get_logger("gilder")

# Most seconds that data may be old when only Kubernetes changed, or when AWS is polled.
FRESH = 5.0

# Most seconds that launch permissions and grants may be old then: drift in them is looked for in
# sweeps, and each AMI costs a call.
ACCESS_AGE = 30.0

# Backoff up to which a change is followed by a look at once. The longest chain of steps that
# follow from one another is short; a plan that never empties must not become a hot loop.
AT_ONCE = 8.0

CONFLICT = 0.1  # seconds until another look, since somebody wrote in between

AWAY = 15.0  # seconds between tries, at most, while the Kubernetes API is out of reach

LONG_AGO = 0.0  # a monotonic time before anything was read

ENQUEUE_SECONDS = 10.0  # that the thread of the events waits for the loop

# Parts of a status that a suspended resource goes on to show as they were.
KEPT_WHILE_SUSPENDED = frozenset(ConditionType) - {
    ConditionType.READY,
    ConditionType.RECONCILING,
    ConditionType.STALLED,
}

START_PAUSE = 2.0  # seconds between tries to list everything at start

Status = GoldenImageStatus | ImageShareStatus


class Controller:
    """Feeds keys to workers. GoldenImages side by side; ImageShares one after the other, since
    several of them add up on one AMI and one key."""

    def __init__(
        self,
        settings: Settings,
        kube: Kube,
        fleet: Fleet,
        jobs: JobList | None = None,
        maps: MapList | None = None,
        published: PublishedList | None = None,
    ) -> None:
        self.settings = settings
        self._selector = settings.label_selector
        self.store = Store(
            settings.cluster_name, indexed=bool(settings.event_queue_url), accounts=fleet.others
        )
        self._kube = kube
        self._fleet = fleet
        self._images: WorkQueue[Key] = WorkQueue(lambda key: key.namespace)
        self._shares: WorkQueue[Key] = WorkQueue(lambda key: key.namespace)
        self._threads = ThreadPoolExecutor(settings.workers + 1, thread_name_prefix="reconcile")
        self._tasks: list[asyncio.Task[None]] = []
        self._seen: dict[Key, _Trigger] = {}
        self._asked: dict[Key, float] = {}  # when drift was looked for last
        self._fresh = min(FRESH, settings.poll_seconds / 2)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drift: Drift | None = None
        self._jobs = jobs if jobs is not None else JobList()
        self._maps = maps if maps is not None else MapList()
        self._published = published if published is not None else PublishedList()
        self._access = AccessWatch(settings)
        self._access.start(fleet.file)
        self._lacking: set[Kind] = set()  # whose CRDs are not there
        self._swept = time.monotonic()  # when the last sweep ended

    async def start(self) -> None:
        """List everything once, so that no plan is made with half of the shares; then work."""
        self._loop = asyncio.get_running_loop()
        while not await self._listed():
            await asyncio.sleep(START_PAUSE)
        for path in self.store.building():
            self._fleet.hold(path)
        since = time.monotonic()
        await asyncio.to_thread(self._fleet.prefetch, self.store.needs(), since)
        for key in self.store.known():
            await self._enqueue(key, since, drift=True)
        workers = self.settings.workers
        self._tasks = [
            *(asyncio.create_task(self._work(self._images)) for _ in range(workers)),
            asyncio.create_task(self._work(self._shares)),
            asyncio.create_task(_kept_up(self._sweep)),
            asyncio.create_task(_kept_up(self._watch_jobs)),
            asyncio.create_task(_kept_up(self._watch_maps)),
            asyncio.create_task(_kept_up(self._watch_published)),
            asyncio.create_task(_kept_up(self._watch_access)),
        ]
        self._swept = time.monotonic()
        self._listen()

    async def stop(self) -> None:
        """Finish the actions under way, start no more, write what came of them."""
        if self._drift is not None:
            self._drift.stop()
        self._fleet.stop()
        await self._images.close()
        await self._shares.close()
        for endless in self._tasks[-5:]:
            endless.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._fleet.close)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def troubles(self, now: float, longest: float) -> list[str]:
        """Why the work does not proceed, by what took longer than `longest` seconds."""
        ended = [t for t in self._tasks if t.done() and not t.cancelled()]
        found = [f"a task has failed: {t.exception()!r}" for t in ended if t.exception()]
        for queue in (self._images, self._shares):
            working, waiting = queue.longest(), queue.waiting()
            if working is not None and now - working[1] > longest:
                found.append(f"{working[0]} has been worked on for {now - working[1]:.0f} s")
            elif working is None and waiting is not None and now - waiting > longest:
                found.append(f"work has waited for {now - waiting:.0f} s")
        late = now - self._swept - self.settings.resync_seconds
        if late > longest:
            found.append(f"the sweep for drift is {late:.0f} s late")
        return found

    # Events from AWS

    def _listen(self) -> None:
        """Have the queue of events consumed, where there is one."""
        if not self.settings.event_queue_url:
            return
        own, loop = self._fleet.own, asyncio.get_running_loop()

        def enqueue(keys: set[Key]) -> None:
            asyncio.run_coroutine_threadsafe(self._touched(keys), loop).result(ENQUEUE_SECONDS)

        around = Surroundings(
            cluster=self.settings.cluster_name,
            knows=self._fleet.knows,
            store=self.store,
            views=self._fleet,
            forget_parameters=self._fleet.forget_parameters,
            forget_organizations=self._fleet.lists.forget_organizations,
            forget_work=self._fleet.forget_work,
            enqueue=enqueue,
        )
        self._drift = Drift(EventQueue(own.sessions, self.settings.event_queue_url), around)
        self._drift.start()

    async def _touched(self, keys: set[Key]) -> None:
        """What was touched is forgotten already; all else may be as old as it is."""
        for key in sorted(keys, key=str):
            await self._enqueue(key, LONG_AGO)

    # Events from the cluster

    async def observed(self, body: Body) -> None:
        """An object was added or changed."""
        if not self._selected(body):
            await self.deleted(body)
        elif self.store.put(body):
            await self._react(key_of(body), body)

    async def deleted(self, body: Body) -> None:
        """An object is gone, or is not one of ours any more: nothing is done about it."""
        key = key_of(body)
        known = self.store.body(key)
        if known is not None and known["metadata"].get("uid") != body["metadata"].get("uid"):
            return  # another one of that name is there already
        related = self._related(key)
        self._forget(key)
        await self._wake(related)

    def _selected(self, body: Body) -> bool:
        """Whether the selector of the settings selects it."""
        labels = body["metadata"].get("labels") or {}
        return self._selector is None or self._selector.matches(labels)

    def _forget(self, key: Key) -> None:
        self.store.drop(key)
        if key.kind == "GoldenImage":
            self._fleet.leave(key.path)
        self._seen.pop(key, None)
        self._asked.pop(key, None)
        metrics.forget(key.kind, key.namespace, key.name)

    async def _react(self, key: Key, body: Body) -> None:
        now = _trigger(body)
        before, self._seen[key] = self._seen.get(key), now
        if before is None or before.own != now.own:
            # Someone asked by annotation: look at AWS as it is now, not as it was read before.
            asked = before is not None and before.request != now.request
            since = time.monotonic() - (0.0 if asked else self._fresh)
            await self._enqueue(key, since, drift=asked)
        if before is None or before.related != now.related:
            await self._wake(self._related(key))

    def _related(self, key: Key) -> list[Key]:
        """Shares follow their images; images that are to go wait for their shares."""
        if key.kind == "GoldenImage":
            return self.store.shares_of(key)
        return self.store.leaving_images()

    async def _wake(self, related: list[Key]) -> None:
        since = time.monotonic() - self._fresh
        for other in related:
            await self._enqueue(other, since)

    async def _enqueue(self, key: Key, since: float, *, drift: bool = False) -> None:
        if drift:
            self._asked[key] = since
        await self._queue(key).add(key, since)

    def _queue(self, key: Key) -> WorkQueue[Key]:
        return self._images if key.kind == "GoldenImage" else self._shares

    # Work

    async def _list(self) -> None:
        """Take in everything; what was known before and is not there any more is gone."""
        before = self.store.known()
        listed: set[Key] = set()
        lacking: set[Kind] = set()
        for kind in PLURALS:
            try:
                listed |= await self._list_kind(kind)
            except ApiException as error:
                # Without its CRD there is nothing of a kind; without any there is nothing to do.
                missing = error.status == HTTPStatus.NOT_FOUND
                if not missing or not await asyncio.to_thread(self._kube.lacks_crd, kind):
                    raise
                lacking.add(kind)
                if lacking == set(PLURALS):
                    raise
        self._lack(lacking)
        if self.settings.jobs:
            await self._list_jobs()
        await self._list_maps()
        await self._list_published()
        for key in before:
            if key not in listed:
                self._forget(key)

    async def _list_kind(self, kind: Kind) -> set[Key]:
        listed: set[Key] = set()
        pages = self._kube.pages(kind, self.settings.namespace_list, self.settings.selector)
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            listed |= await asyncio.to_thread(self.store.take, page)
            for body in page:
                self._seen.setdefault(key_of(body), _trigger(body))
        return listed

    def _lack(self, kinds: set[Kind]) -> None:
        """Log once which CRDs are not there."""
        for kind in sorted(kinds - self._lacking):
            log.error("a CRD is not installed: kubectl apply -k crds", kind=kind)
        self._lacking = kinds

    async def _listed(self) -> bool:
        try:
            await self._list()
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                log.error("the CRDs are not installed: kubectl apply -k crds")
            else:
                log.error("listing failed", error=f"{error.status} {error.reason}")
            return False
        except HTTPError as error:
            log.error("the Kubernetes API is out of reach", error=str(error))
            return False
        return True

    async def _sweep(self) -> None:
        """Look for drift in everything, at the interval of the settings."""
        while True:
            await asyncio.sleep(self.settings.resync_seconds)
            metrics.SWEEPS.inc()
            await self._listed()  # also finds what a broken watch has missed
            since = time.monotonic()
            await asyncio.to_thread(self._fleet.prefetch, self.store.needs(), since)
            for key in self.store.known():
                await self._enqueue(key, since, drift=True)
            await asyncio.to_thread(
                self._fleet.end_strays, self.store.test_regions(), self.store.has_image
            )
            self._swept = time.monotonic()

    async def _watch_jobs(self) -> None:
        """One listing of all Jobs per poll, while some of them run."""
        while self.settings.jobs:
            await asyncio.sleep(self.settings.poll_seconds)
            if not self._jobs.running() and not self.store.building(jobs=True):
                continue
            try:
                changed = await self._list_jobs()
            except (ApiException, HTTPError) as error:
                log.warning("listing Jobs failed", error=str(error))
                continue
            await self._wake(sorted(changed, key=str))

    async def _watch_maps(self) -> None:
        """One listing of the ConfigMaps with account ids per poll, while a share names one."""
        while True:
            await asyncio.sleep(self.settings.poll_seconds)
            if changed := await self._list_maps():
                await self._wake(sorted(self.store.listing(changed), key=str))

    async def _watch_published(self) -> None:
        """One listing of the ConfigMaps that tell versions per poll, while there are such."""
        while True:
            await asyncio.sleep(self.settings.poll_seconds)
            if changed := await self._list_published():
                known = set(self.store.known())
                await self._wake(sorted(changed & known, key=str))

    async def _watch_access(self) -> None:
        """Go by the access file as it is, with a look at everything when it has changed."""
        while self.settings.access_file:
            await asyncio.sleep(self.settings.poll_seconds)
            file = await asyncio.to_thread(self._access.changed)
            if file is None:
                continue
            await asyncio.to_thread(self._fleet.replace, file)
            await asyncio.to_thread(self.store.regroup, self._fleet.others)
            await self._wake(self.store.known())

    async def _list_maps(self) -> set[tuple[str, str]]:
        wanted = self.store.config_maps()
        if not wanted:
            # Nobody looks from now on, so that what is known grows old.
            self._maps.failed(NOT_LISTED)
            return set()
        maps = self._kube.list_config_maps(self.settings.namespace_list)
        try:
            return self._maps.replace(await asyncio.to_thread(list, maps), wanted)
        except (ApiException, HTTPError) as error:
            self._maps.failed(_not_listed(error))
            return set()

    async def _list_published(self) -> set[Key]:
        wanted = self.store.mapped()
        if not wanted:
            self._published.rest()
            return set()
        began = self._published.now()
        maps = self._kube.list_published(self.settings.namespace_list)
        try:
            return self._published.replace(await asyncio.to_thread(list, maps), began, wanted)
        except (ApiException, HTTPError) as error:
            self._published.failed(_not_listed(error))
            return set()

    async def _list_jobs(self) -> set[Key]:
        began = self._jobs.now()
        jobs = self._kube.list_jobs(self.settings.namespace_list)
        return self._jobs.replace(await asyncio.to_thread(list, jobs), began)

    async def _work(self, queue: WorkQueue[Key]) -> None:
        loop = asyncio.get_running_loop()
        while (taken := await queue.take()) is not None:
            key, since = taken
            number = uuid4().hex[:12]
            metrics.QUEUE.set(len(self._images) + len(self._shares))
            try:
                run = partial(self._reconcile, key, since, number)
                again = await loop.run_in_executor(self._threads, run)
                if again is None:
                    queue.forgive(key)
                else:
                    # The sweep looks anyway; what is due in a month need not wait in the queue.
                    again = min(again, self.settings.resync_seconds)
                    pause = self._pause(queue, key, again)
                    # At once after a change: what it touched is stale already, the rest is good.
                    fresh = time.monotonic() + pause - self._fresh
                    await queue.add_later(key, pause, fresh if pause else min(since, fresh))
            except Exception as error:
                log.exception("reconcile failed", resource=str(key), reconcile=number)
                metrics.RECONCILES.labels(key.kind, "error").inc()
                pause = queue.backoff(key)
                if isinstance(error, HTTPError) and pause >= AWAY:
                    # Nor is the key to blame: what follows must not wait as if it had failed.
                    pause = AWAY
                    queue.forgive(key)
                await queue.add_later(key, pause, time.monotonic())
            finally:
                await queue.done(key)

    @staticmethod
    def _pause(queue: WorkQueue[Key], key: Key, again: float) -> float:
        """Seconds to wait. What fails, or changes AWS again and again, waits longer each time."""
        if again > 0:
            queue.forgive(key)
            return again
        pause = queue.backoff(key)
        return pause if again < 0 or pause > AT_ONCE else 0.0

    def _reconcile(self, key: Key, since: float, number: str) -> float | None:
        """One reconcile, in a thread. Returns seconds until the next; negative: back off.

        `number` is in every line of the log that it writes.
        """
        body = self.store.body(key)
        if body is None:
            return None
        bound = {"resource": str(key), "reconcile": number}
        with structlog.contextvars.bound_contextvars(**bound), _timed(key):
            try:
                return self._pass(key, body, since)
            except GoneError:
                self._left(key, body)
                return None
            except ApiException as error:
                if error.status != 409:
                    raise
                # Somebody wrote in between: look at the object as it is now.
                whole = self._whole(key, self._kube.get(key))
                if not self._selected(whole):
                    self._left(key, whole)
                    return None
                self.store.put(whole)
                return CONFLICT

    def _pass(self, key: Key, body: Body, since: float) -> float | None:
        found = self.store.parsed(key)
        if found is None:
            return None
        if isinstance(found, SpecError):
            if _abandoned(body):
                self._release(key, body)
            else:
                self._invalid(key, body, found)
            return None
        meta = found.metadata
        if not meta.deleting and FINALIZER not in meta.finalizers:
            body = self._took(key, self._kube.set_finalizer(key, body, True)) or body
            found = self.store.parsed(key)
            assert found is not None
            assert not isinstance(found, SpecError)
        if meta.deleting and FINALIZER not in meta.finalizers:
            return None
        if (meta.paused or found.spec.suspend) and not meta.deleting:
            again = self._wind_up(key, body, found, since) if found.spec.suspend else None
            self._suspended(key, self.store.body(key) or body, found)
            return again
        outcome: Outcome[Any]
        if isinstance(found, GoldenImage):
            save_image = partial(self._save, key)
            outcome = self._fleet.reconcile_image(found, self._image_scope(key), since, save_image)
        else:
            save = partial(self._save, key)
            access = max(self._asked.get(key, since - ACCESS_AGE), since - ACCESS_AGE)
            outcome = self._fleet.reconcile_share(
                found, self.store.share_scope(key), since, save, access
            )
        self._count(key, outcome)
        if outcome.release:
            self._post(key, body, outcome.events)
            self._release(key, self.store.body(key) or body)
            return None
        self._save(key, outcome.status)
        self._post(key, body, outcome.events)
        if outcome.failed and not any(r.done for r in outcome.results):
            return -1.0
        return outcome.again

    def _image_scope(self, key: Key) -> ImageScope:
        scope = self.store.image_scope(key)
        return replace(scope, jobs=self._jobs.of(key), maps=self._published.of(key))

    def _wind_up(
        self, key: Key, body: Body, found: GoldenImage | ImageShare, since: float
    ) -> float | None:
        """End the build of a suspended GoldenImage; seconds until the next look."""
        if not isinstance(found, GoldenImage):
            return None
        outcome = self._fleet.stop_work(found, self._image_scope(key), since)
        if outcome is None:
            return None
        self._count(key, outcome)
        self._save(key, outcome.status)
        self._post(key, body, outcome.events)
        return -1.0 if outcome.failed else outcome.again

    def _save(self, key: Key, status: Status) -> None:
        body = self.store.body(key)
        if body is None:
            raise GoneError(str(key))
        dumped = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        self._took(key, self._kube.patch_status(key, body, dumped))
        metrics.set_conditions(key.kind, key.namespace, key.name, status.conditions)
        if isinstance(status, GoldenImageStatus):
            metrics.set_image(key.namespace, key.name, status)
            metrics.count_work(body.get("status") or {}, status)
            metrics.BUILDING.set(len(self.store.building()))
        else:
            metrics.set_share(key.namespace, key.name, status)

    def _took(self, key: Key, answer: Body | None) -> Body | None:
        if answer is not None:
            whole = self._whole(key, answer)
            if not self._selected(whole):
                raise GoneError(str(key))
            if self.store.put(whole) and self._loop is not None:
                # The watch will bring it again as old news, so its relatives are woken here.
                asyncio.run_coroutine_threadsafe(self._react(key, whole), self._loop)
        return self.store.body(key)

    def _release(self, key: Key, body: Body) -> None:
        """Take our finalizer off, so that Kubernetes may remove the object."""
        after = self._kube.set_finalizer(key, body, False)
        log.info("released")
        if after is not None and after["metadata"].get("finalizers"):
            self._took(key, after)
        else:
            self._left(key, body)

    def _left(self, key: Key, body: Body) -> None:
        """The object is gone. A watch that began later, or was blind, does not tell of it."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self.deleted(self._whole(key, body)), self._loop)

    @staticmethod
    def _whole(key: Key, body: Body) -> Body:
        return {"kind": key.kind, **body}

    def _post(self, key: Key, body: Body, events: tuple[Event, ...]) -> None:
        now = rfc3339(utc_now())
        for event in events:
            level = log.warning if event.type == "Warning" else log.info
            requests = request_ids(event.message)
            level(event.message, reason=event.reason, **_requests(requests))
            # Without what is new with each try, or no Event would ever be the same again.
            event = replace(event, message=lasting(event.message))
            try:
                self._kube.post_event(key, body, event, now)
            except (ApiException, HTTPError) as error:
                log.warning("event not posted", error=str(error))

    def _invalid(self, key: Key, body: Body, error: SpecError) -> None:
        """A spec that the schema let through and the models do not."""
        message = str(error)
        verdicts = [
            Verdict(ConditionType.READY, "False", "InvalidSpec", message),
            Verdict(ConditionType.STALLED, "True", "InvalidSpec", message),
        ]
        if self._conditions(key, body, verdicts):
            self._post(key, body, (Event("Warning", "InvalidSpec", message),))

    def _suspended(self, key: Key, body: Body, found: GoldenImage | ImageShare) -> None:
        why = "annotation goldenimage.dev/paused" if found.metadata.paused else "spec.suspend"
        known = verdicts_of(found.status.conditions)
        kept = [v for v in known if v.type in KEPT_WHILE_SUSPENDED]
        message = f"nothing is observed or changed in AWS: {why} is set"
        verdicts = [Verdict(ConditionType.READY, "False", "Suspended", message), *kept]
        if self._conditions(key, body, verdicts):
            self._post(key, body, (Event("Normal", "Suspended", message),))

    def _conditions(self, key: Key, body: Body, verdicts: list[Verdict]) -> bool:
        """Write just the conditions, whatever else status holds; whether Ready's reason changed."""
        raw = dict(body.get("status") or {})
        old = readable(raw.get("conditions"))
        generation = int(body["metadata"].get("generation", 0))
        now = merge(old, verdicts, generation, rfc3339(utc_now()))
        raw["conditions"] = [c.model_dump(mode="json", by_alias=True) for c in now]
        raw["observedGeneration"] = generation
        self._took(key, self._kube.patch_status(key, body, raw))
        metrics.set_conditions(key.kind, key.namespace, key.name, now)
        was = next((c.reason for c in old if c.type == ConditionType.READY), None)
        return was != now[0].reason

    @staticmethod
    def _count(key: Key, outcome: Outcome[Any]) -> None:
        metrics.RECONCILES.labels(key.kind, "failed" if outcome.failed else "ok").inc()
        for result in outcome.results:
            kind = result.action.kind
            metrics.ACTIONS.labels(key.kind, kind, "ok" if result.done else "failed").inc()
            if outcome.drift and result.done:
                metrics.DRIFT.labels(key.kind, key.namespace, key.name, kind).inc()


def _not_listed(error: ApiException | HTTPError) -> str:
    told = getattr(error, "reason", None) or str(error)
    log.warning("listing ConfigMaps failed", error=told)
    return f"ConfigMaps cannot be listed: {told}"


def _requests(ids: tuple[str, ...]) -> dict[str, str]:
    return {"aws_request_id": ",".join(ids)} if ids else {}


async def _kept_up(endless: Callable[[], Awaitable[None]]) -> None:
    """Begin again what failed: without it drift, lists or the access file go unseen from then on.

    Each of these tasks rests before it does anything.
    """
    while True:
        try:
            return await endless()
        except Exception:
            log.exception("failed, and begun again", task=getattr(endless, "__name__", ""))


@contextmanager
def _timed(key: Key) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        metrics.DURATION.labels(key.kind).observe(time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class _Trigger:
    """Digests of what asks for a reconcile."""

    own: str  # of the object itself
    request: str  # by annotation
    related: str  # of its relatives


def _trigger(body: Mapping[str, Any]) -> _Trigger:
    meta = body["metadata"]
    annotations = meta.get("annotations") or {}
    request = digest({k: v for k, v in annotations.items() if _ours(k)})
    status = body.get("status") or {}
    deleting = meta.get("deletionTimestamp")
    own = digest(meta.get("uid"), meta.get("generation"), request, deleting)
    if body.get("kind") == "GoldenImage":
        images = [
            (i.get("region"), i.get("imageId"), i.get("state"))
            for v in status.get("versions") or []
            for i in v.get("images") or []
        ]
        spec = body.get("spec") or {}
        who = [spec.get("allowedNamespaces"), spec.get("account")]
        related = [images, status.get("latest"), meta.get("labels"), deleting, meta.get("uid"), who]
    else:
        claimed = [(i.get("region"), i.get("imageId")) for i in status.get("images") or []]
        related = [claimed, meta.get("generation"), deleting]
    return _Trigger(own, request, digest(related))


def _abandoned(body: Body) -> bool:
    """As Metadata.abandoned, for an object that no model reads."""
    meta = body["metadata"]
    wish = str((meta.get("annotations") or {}).get(ABANDON, ""))
    return bool(meta.get("deletionTimestamp")) and wish.lower() == "true"


def _ours(annotation: str) -> bool:
    return annotation.startswith("goldenimage.dev/") or annotation == (
        "reconcile.fluxcd.io/requestedAt"
    )
