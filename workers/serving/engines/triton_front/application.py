"""The front's own HTTP server: OpenAI's routes, Triton's protocol, health and load."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import aiohttp
from aiohttp import web

from .generation import Generation
from .proxy import Proxy
from .server import ServerFailed, Start, TritonServer, pending_in

_MAX_BODY_BYTES = 64 << 20
_CONNECT_SECONDS = 5.0
_METRICS_SECONDS = 5.0
_DRAIN_SECONDS = 10.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Front:
    """One model on one Triton server."""

    def __init__(self, server: TritonServer, *, name: str, serves: str) -> None:
        self._server = server
        self._name = name
        self._serves = serves
        self._session: aiohttp.ClientSession
        self._generation: Generation | None = None
        self._proxy: Proxy | None = None
        self._inside = 0
        self.application = web.Application(client_max_size=_MAX_BODY_BYTES)
        self.application.cleanup_ctx.append(self._with_session)
        self.application.add_routes(
            [
                web.get("/health", self._health),
                web.get("/metrics", self._metrics),
                web.get("/v1/models", self._models),
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/completions", self._complete),
                web.route("*", "/v2{path:.*}", self._infer),
                web.route("*", "/{path:.*}", self._nothing),
            ]
        )

    async def open(self) -> None:
        """Begins to answer: the models are loaded."""
        self._proxy = Proxy(
            self._session, port=self._server.ports.http, name=self._name, serves=self._serves
        )
        self._generation = await Generation.of(
            self._server.client, serves=self._serves, name=self._name
        )

    async def _with_session(self, _: web.Application) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            timeout=timeout, connector=connector, auto_decompress=False
        ) as self._session:
            yield

    async def _health(self, _: web.Request) -> web.Response:
        if self._proxy is None:
            return web.json_response({"status": "loading"}, status=503)
        live = await self._server.is_live()
        return web.json_response(
            {"status": "ok" if live else "not live"}, status=200 if live else 503
        )

    async def _metrics(self, _: web.Request) -> web.Response:
        """Triton's own metrics, and how many requests are inside."""
        url = f"http://127.0.0.1:{self._server.ports.metrics}/metrics"
        limit = aiohttp.ClientTimeout(total=_METRICS_SECONDS)
        try:
            async with self._session.get(url, timeout=limit) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError):
            return web.Response(status=503, text="Triton does not report its metrics.\n")
        waiting = min(pending_in(text), self._inside)
        own = (
            "# TYPE triton_front_requests gauge\n"
            f'triton_front_requests{{state="running"}} {self._inside - waiting}\n'
            f'triton_front_requests{{state="waiting"}} {waiting}\n'
        )
        return web.Response(text=text + own, content_type="text/plain")

    async def _models(self, _: web.Request) -> web.Response:
        model = {"id": self._name, "object": "model", "owned_by": "loggia"}
        return web.json_response({"object": "list", "data": [model]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        generation = self._generation
        return await self._counted(request, generation.chat if generation else None)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        generation = self._generation
        return await self._counted(request, generation.complete if generation else None)

    async def _infer(self, request: web.Request) -> web.StreamResponse:
        return await self._counted(request, self._proxy)

    async def _nothing(self, request: web.Request) -> web.StreamResponse:
        return await self._counted(request, None)

    async def _counted(self, request: web.Request, handler: Handler | None) -> web.StreamResponse:
        if self._proxy is None:
            return web.json_response({"error": "The model is being loaded."}, status=503)
        if handler is None:
            # As FastAPI says it, so that whoever relays it need not tell engines apart.
            return web.Response(
                status=404, body=b'{"detail":"Not Found"}', content_type="application/json"
            )
        self._inside += 1
        try:
            return await handler(request)
        except aiohttp.ClientError as error:
            return web.json_response({"error": f"Triton did not answer: {error}"}, status=502)
        finally:
            self._inside -= 1


async def serve(start: Start, *, port: int, name: str, serves: str) -> None:
    """Runs until SIGTERM. Raises `ServerFailed` where Triton does not start or ends."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = TritonServer(start)
    front = Front(server, name=name, serves=serves)
    runner = web.AppRunner(
        front.application,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=_DRAIN_SECONDS,
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    working = asyncio.ensure_future(_work(server, front))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
    finally:
        working.cancel()
        stopping.cancel()
        with suppress(asyncio.CancelledError, ServerFailed):
            await working
        await runner.cleanup()
        await server.end()


async def _work(server: TritonServer, front: Front) -> None:
    await server.start()
    await front.open()
    print("triton_front: serving", flush=True)
    await server.until_end()
