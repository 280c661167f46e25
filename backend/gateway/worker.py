"""One process of the gateway: its routes, its server, and their orderly end."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from backend.application.feed import EventFeed
from backend.application.store import EventStore
from backend.gateway.app import Gateway
from backend.gateway.demand import DemandMeter, DemandRows, Publish, publish_demand
from backend.gateway.limits import Limits
from backend.gateway.metering import Answered
from backend.gateway.metrics import Metrics
from backend.gateway.rate_limits import RateLimits
from backend.gateway.routing import RoutingTable
from backend.gateway.server_keys import ServerKeys
from backend.gateway.table import Feed, TableFollower
from backend.gateway.usage import UsagePublisher
from backend.infra.logging import get_logger
from backend.infra.playground_tokens import PlaygroundTokens
from backend.infra.settings import Settings

_BACKLOG = 1024
_LINGER_SECONDS = 5.0
_COLLECT_AFTER_OBJECTS = 10_000
_log = get_logger(__name__)


async def serve(
    settings: Settings, listener: socket.socket, rate_limits: RateLimits, parent: int | None = None
) -> None:
    """Serves until SIGTERM or SIGINT, or until the pipe `parent` is closed at its other end."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if parent is not None:
        loop.add_reader(parent, stop.set)
    store = EventStore(settings)
    demand = DemandRows(settings.dsn)
    try:
        feed = EventFeed(store, settings.dsn)
        tokens = PlaygroundTokens(settings.secret_key)
        # What the imports made stays for good, so that no collection pauses the streams for it;
        # and requests leave few cycles, so that collecting after every few of them is waste.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER_OBJECTS)
        limits = Limits(wait_seconds=settings.gateway_wait_seconds)
        metrics = Metrics()
        usage = UsagePublisher(settings, metrics.usage)
        async with running(
            feed,
            tokens,
            listener,
            rate_limits,
            limits,
            demand.publish,
            keys=ServerKeys.from_settings(settings),
            metrics=metrics,
            answered=usage.publish,
        ):
            _log.info("gateway listening", address=settings.host, port=settings.gateway_port)
            await stop.wait()
            _log.info("gateway ending: running requests are being finished")
        usage.close()
    finally:
        demand.close()
        store.close()


@asynccontextmanager
async def running(
    feed: Feed,
    tokens: PlaygroundTokens,
    listener: socket.socket,
    rate_limits: RateLimits,
    limits: Limits | None = None,
    publish: Publish | None = None,
    *,
    keys: ServerKeys | None = None,
    metrics: Metrics | None = None,
    answered: Callable[[Answered], None] = lambda _: None,
) -> AsyncIterator[TableFollower]:
    """A gateway on this socket; leaving the block ends it, running requests first.

    `publish` is told of the demand, from a thread; `answered`, in the event loop, of every request
    that a replica was asked to answer. `keys` are those of registered servers.
    """
    limits, metrics, keys = limits or Limits(), metrics or Metrics(), keys or ServerKeys()
    loop = asyncio.get_running_loop()
    table, demand = RoutingTable(), DemandMeter(loop.time)

    def applied(position: int) -> None:
        metrics.position.set(position)
        gateway.routes_changed()

    follower = TableFollower(feed, table, keys, applied)
    gateway = Gateway(
        table, follower.ready, tokens, rate_limits, metrics, demand, keys, limits, answered
    )
    server = _server(gateway)
    accepting = await loop.create_server(server, sock=listener, backlog=_BACKLOG)
    telling = loop.create_task(publish_demand(demand, publish)) if publish else None
    follower.start()
    try:
        yield follower
    finally:
        follower.stop()
        if telling is not None:
            telling.cancel()
        accepting.close()
        await asyncio.sleep(0)  # what has been accepted gets its handler first
        server.pre_shutdown()
        await gateway.close()
        with suppress(asyncio.TimeoutError):
            await server.shutdown(timeout=1)


def _server(gateway: Gateway) -> web.Server:
    loop = asyncio.get_running_loop()

    def request(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, loop)

    # What the library would log about malformed requests quotes their headers, keys included.
    silent = logging.Logger("loggia.gateway.http", logging.CRITICAL + 1)
    return web.Server(
        gateway.handle,
        request_factory=request,
        handler_cancellation=True,
        access_log=None,
        logger=silent,
        lingering_time=_LINGER_SECONDS,
    )
