"""kopf's part: watching, login, start, stop and probes. Nothing else imports kopf."""

import asyncio
import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import kopf
import structlog
from prometheus_client import start_http_server

from gilder.api.names import GROUP, VERSION
from gilder.aws.accounts import Accounts
from gilder.aws.limits import Limits
from gilder.aws.sessions import Sessions
from gilder.config import Settings
from gilder.handlers import health, metrics
from gilder.handlers.controller import Controller
from gilder.handlers.joblist import JobList, ListedJobs
from gilder.handlers.kube import PAGE, PLURALS, Kube
from gilder.handlers.leader import Leader
from gilder.handlers.maplist import MapList
from gilder.handlers.published import ListedMaps, PublishedList
from gilder.reconcile.engine import Engine
from gilder.reconcile.fleet import Fleet
from gilder.reconcile.places import Places

log = structlog.get_logger("gilder")

STOP_SECONDS = 25.0  # of the pod's 30 seconds of grace
IDLE_SECONDS = 0.2  # that kopf keeps a task per object waiting for its next event


class Backoffs:
    """Seconds between tries of kopf's own requests, for as long as the Kubernetes API is away: kopf
    ends the process when they are used up."""

    def __iter__(self) -> Iterator[float]:
        yield from (1, 2, 4, 8, 16)
        while True:
            yield 30


def registry_of(settings: Settings) -> kopf.OperatorRegistry:
    """A kopf registry with everything the operator does."""
    registry = kopf.OperatorRegistry()
    running: dict[str, Any] = {}

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> Any:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    # kopf would try again what fails, for ever, in a process that is half started.
    @kopf.on.startup(registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False  # Events are posted by the controller, deduplicated
        settings.watching.server_timeout = 270
        settings.watching.reconnect_backoff = 1.0
        # As small as the controller's own pages; and tasks that wait for more events of an object
        # that was listed are ended before those of all objects have been made.
        settings.watching.chunk_size = PAGE
        settings.queueing.idle_timeout = IDLE_SECONDS
        settings.networking.error_backoffs = Backoffs()
        mine: Settings = running["settings"]
        if mine.selector:
            for plural in PLURALS.values():
                settings.watching.label_selectors[GROUP, VERSION, plural] = mine.selector
        if mine.metrics_port:
            start_http_server(mine.metrics_port, addr=mine.listen)
        told = running["health"] = health.Health(mine.stuck_seconds)
        if mine.health_port:
            running["probe"] = await health.serve(told, mine.listen, mine.health_port)
        kube = await asyncio.to_thread(Kube)
        told.kubernetes = partial(kube.probe, mine.namespace_list)
        if mine.lease:
            identity = f"{os.uname().nodename}-{uuid4()}"
            leader = Leader(kube, mine.lease, identity, duration=mine.lease_seconds)
            told.standby = True
            await _lead(leader)
            told.standby = False
            running["leader"] = leader
        jobs = JobList()
        maps = MapList()
        published = PublishedList()
        fleet = _fleet(mine, kube, jobs, maps, published)
        told.aws = fleet.own.sessions.account
        metrics.VIEW_AGES.source = fleet.ages
        if mine.lease:
            running["leader"].keep(lambda: _lost(fleet))
        controller = Controller(mine, kube, fleet, jobs, maps, published)
        await controller.start()
        running["controller"] = controller
        told.controller = controller
        metrics.LEADING.set(1)

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        if (told := running.get("health")) is not None:
            told.stopping = True
        if (controller := running.pop("controller", None)) is not None:
            await asyncio.wait_for(controller.stop(), STOP_SECONDS)
        if (leader := running.pop("leader", None)) is not None:
            await asyncio.to_thread(leader.release)
        if (probe := running.pop("probe", None)) is not None:
            await probe.cleanup()

    async def on_event(event: Any, body: kopf.Body, **_: Any) -> None:
        controller: Controller = running["controller"]
        whole = dict(body)
        if event["type"] == "DELETED":
            await controller.deleted(whole)
        else:
            await controller.observed(whole)

    for kind, plural in PLURALS.items():
        kopf.on.event(GROUP, VERSION, plural, registry=registry, id=kind)(on_event)
    running["settings"] = settings
    return registry


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT. The exit code, which is 1 where what is watched is gone."""
    namespaces = settings.namespace_list
    try:
        kopf.run(
            registry=registry_of(settings),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=list(namespaces),
        )
    except Exception as error:
        # kopf gives up a watch that is not found. Whoever starts the process anew finds it listing,
        # and waiting for the CRDs.
        if type(error).__name__ != "APINotFoundError":
            raise
        log.error("the CRDs are gone, or being replaced: ended, to be started anew", error=error)
        return 1
    return 0


async def _lead(leader: Leader) -> None:
    """Stand by until the lease is ours."""
    told = False
    while not await asyncio.to_thread(leader.attempt):
        if not told:
            log.info("standing by")
            told = True
        await asyncio.sleep(leader.retry)
    log.info("leading", identity=leader.identity)


def _fleet(
    settings: Settings, kube: Kube, jobs: JobList, maps: MapList, published: PublishedList
) -> Fleet:
    """Engines for the operator's own account and for those of its access file."""
    places = Places(settings.max_builds)

    def sessions(**way: Any) -> Sessions:
        return Sessions(
            settings.region,
            metrics.count_call,
            metrics.count_throttle,
            Limits(settings.api_rate),
            settings.cluster_name,
            **way,
        )

    def engine(of: Sessions) -> Engine:
        return Engine(
            of,
            settings.cluster_name,
            poll=settings.poll_seconds,
            jobs=ListedJobs(kube, jobs) if settings.jobs else None,
            maps=ListedMaps(kube, published),
            places=places,
            copies=settings.max_copies,
        )

    return Fleet(Accounts(settings.access(), sessions), engine, maps=maps)


def _lost(fleet: Fleet) -> None:
    """Another replica may act now: begin no further action, and end the process in order."""
    fleet.stop()
    os.kill(os.getpid(), signal.SIGTERM)
