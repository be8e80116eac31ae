"""The in-process API server: an aiohttp application in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from aiohttp import web

from gilder.sandbox.kubernetes.api import Api
from gilder.sandbox.kubernetes.counters import Requests
from gilder.sandbox.kubernetes.faults import Faults
from gilder.sandbox.kubernetes.handler import Handler
from gilder.sandbox.kubernetes.registry import Registry
from gilder.sandbox.kubernetes.store import Store
from gilder.sandbox.kubernetes.watches import Watches

T = TypeVar("T")

_BODY_LIMIT = 3 * 1024 * 1024


class Server:
    """Serves from start() to stop(); its methods may be called from any thread."""

    def __init__(self, *, port: int = 0, host: str = "127.0.0.1", history: int = 5000) -> None:
        self.host = host
        self.port = port
        self.store = Store(history)
        self.registry = Registry()
        self.api = Api(self.store, self.registry)
        self.watches = Watches(self.store, self.registry)
        self.requests = Requests()
        self.faults = Faults(self)
        self._handler = Handler(self.api, self.watches, self.faults, self.requests)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api", daemon=True)
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._resuming: asyncio.TimerHandle | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        self._thread.start()
        self._run(self._start())

    def stop(self) -> None:
        """Stop serving; further calls do nothing."""
        if not self._thread.is_alive():
            return
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def pause(self, seconds: float | None = None) -> None:
        """Take the API down, for a time or until resume(); returns at once."""
        self._run(self._down(seconds))

    def resume(self) -> None:
        """Serve again after a pause."""
        self._run(self._up())

    def call(self, function: Callable[[], T]) -> T:
        """Run a function in the server's event loop, where the store lives."""

        async def run() -> T:
            return function()

        return self._run(run())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=30)

    async def _start(self) -> None:
        app = web.Application(client_max_size=_BODY_LIMIT)
        app.router.add_route("*", "/{path:.*}", self._handler.handle)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await self._up()

    async def _stop(self) -> None:
        if self._resuming is not None:
            self._resuming.cancel()
        self._abort()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _up(self) -> None:
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None
        if self._site is not None or self._runner is None:
            return
        site = web.TCPSite(self._runner, self.host, self.port, reuse_address=True)
        await site.start()
        self._site = site
        self.port = self._runner.addresses[0][1]

    async def _down(self, seconds: float | None) -> None:
        if self._site is not None:
            await self._site.stop()
            self._site = None
        self._abort()
        if self._resuming is not None:
            self._resuming.cancel()
            self._resuming = None
        if seconds is not None:
            self._resuming = self._loop.call_later(
                seconds, lambda: self._loop.create_task(self._up())
            )

    def _abort(self) -> None:
        server = self._runner.server if self._runner is not None else None
        for connection in list(server.connections) if server is not None else []:
            if connection.transport is not None:
                connection.transport.abort()
