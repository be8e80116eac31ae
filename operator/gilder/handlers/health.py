"""What the probes are told: whether the work proceeds (/healthz), and could (/readyz).

Kubernetes restarts what is not healthy, so only what a restart may cure counts there: not that AWS
or the Kubernetes API fail. Calls that hang for as long as work may stand still count, whatever they
wait for.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from aiohttp import web
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from gilder.aws import errors

Ask = Callable[[], object]  # raises what is wrong

ANSWER = 2.0  # seconds until what does not answer counts as out of reach; kubelet waits for five


class Working(Protocol):
    """What gilder.handlers.controller.Controller offers."""

    def troubles(self, now: float, longest: float) -> Sequence[str]: ...


@dataclass
class Health:
    """State of the process, as it goes along."""

    longest: float  # seconds that work may stand still
    kubernetes: Ask | None = None
    aws: Ask | None = None
    standby: bool = False
    controller: Working | None = None
    stopping: bool = False
    _asked: dict[str, Future[object]] = field(default_factory=dict)

    def troubles(self) -> Sequence[str]:
        """Why the process should be restarted."""
        if self.controller is None or self.stopping:
            return ()
        return self.controller.troubles(time.monotonic(), self.longest)

    async def lacks(self) -> Sequence[str]:
        """Why it does not do its work, or could not take it over; asks Kubernetes and AWS."""
        if self.stopping:
            return ("the process is being stopped",)
        found = []
        if self.controller is None and not self.standby:
            found.append("not everything is listed yet")
        both = (("the Kubernetes API", self.kubernetes), ("AWS", self.aws))
        told = await asyncio.gather(*(self._wrong(name, ask) for name, ask in both if ask))
        return (*found, *filter(None, told), *self.troubles())

    async def _wrong(self, name: str, ask: Ask) -> str:
        """What is wrong with an answer; empty when nothing is."""
        asked = self._asked.get(name)
        if asked is None or asked.done():
            asked = self._asked[name] = _begun(ask)
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(asked)), ANSWER)
        except TimeoutError:
            return f"{name} does not answer"
        except ApiException as error:
            return f"{name} answers {error.status} {error.reason}"
        except HTTPError as error:
            return f"{name} is out of reach: {error}"
        except errors.AWS_ERRORS as error:
            return f"{name}: {errors.problem(error, 'asking whose account it is').message}"
        return ""


def _begun(ask: Ask) -> Future[object]:
    """The answer to come, in a thread of its own: what hangs takes none of those of the work, one
    for each at a time, and does not hold up the end of the process."""
    asked: Future[object] = Future()

    def run() -> None:
        try:
            asked.set_result(ask())
        except Exception as error:  # noqa: BLE001 - it is told by who asked
            asked.set_exception(error)

    threading.Thread(target=run, name="probe", daemon=True).start()
    return asked


async def serve(health: Health, address: str, port: int) -> web.AppRunner:
    """/healthz and /readyz: 200, or 503 with a line for each thing that is wrong."""

    async def healthz(_: web.Request) -> web.Response:
        return _answer(health.troubles(), "ok")

    async def readyz(_: web.Request) -> web.Response:
        return _answer(await health.lacks(), "standing by" if health.standby else "ok")

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, address, port).start()
    return runner


def _answer(wrong: Sequence[str], well: str) -> web.Response:
    if not wrong:
        return web.Response(text=f"{well}\n")
    return web.Response(text="\n".join(wrong) + "\n", status=HTTPStatus.SERVICE_UNAVAILABLE)
