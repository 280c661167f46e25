"""Sends a request to one of a model's replicas, and to another one where the first is not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from backend.gateway.errors import GatewayError, engine_failed, unavailable
from backend.gateway.limits import Limits
from backend.gateway.metrics import Metrics
from backend.gateway.routing import ModelRoute, Replica
from backend.infra.logging import get_logger

# Engines (uvicorn) close an idle connection after 5 s; a request must not meet that moment.
_KEEP_ALIVE_SECONDS = 3.0
_ATTEMPTS = 2
_REFUSED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_log = get_logger(__name__)


class Engines:
    """The connections to all engines. Make it inside the event loop."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_seconds),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    async def close(self) -> None:
        """Ends every connection."""
        await self._session.close()

    @asynccontextmanager
    async def send(
        self,
        route: ModelRoute,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        method: str = "POST",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The engine's answer, from its headers on; leaving the block early cancels it there.

        A request whose answer has not begun is sent once more, to another replica if there is one:
        the connection was refused, or a kept one turned out to be closed, or the engine died.
        Raises `GatewayError`.
        """
        failed: Replica | None = None
        refused = False
        for attempt in range(1, _ATTEMPTS + 1):
            replica = route.pick(self._loop.time(), exclude=failed)
            if replica is None and not refused:
                replica = failed
            if replica is None:
                raise _gone() if failed else not_serving(route)
            replica.outstanding += 1
            try:
                try:
                    response = await self._session.request(
                        method,
                        URL(replica.endpoint + path, encoded=True),
                        data=body,
                        headers=headers,
                        allow_redirects=False,
                    )
                except aiohttp.ClientError as error:
                    failed = replica
                    refused = isinstance(error, _REFUSED)
                    self._note(route, replica, error, refused)
                    if attempt < _ATTEMPTS and isinstance(error, aiohttp.ClientConnectionError):
                        continue
                    raise _gone() from error
                try:
                    yield response
                finally:
                    response.close()
                return
            finally:
                replica.outstanding -= 1

    def _note(
        self, route: ModelRoute, replica: Replica, error: aiohttp.ClientError, refused: bool
    ) -> None:
        if refused:
            replica.avoid_until = self._loop.time() + self._limits.avoid_seconds
        kind = "connect" if refused else "disconnect"
        self._metrics.engine_errors.labels(route.name, kind).inc()
        _log.warning(
            "engine did not answer",
            model_id=route.model_id,
            replica_id=replica.replica_id,
            error=type(error).__name__,
        )


def not_serving(route: ModelRoute) -> GatewayError:
    """Why the model has no replica, and what helps."""
    name = f"The model '{route.name}'"
    if route.stopped:
        return unavailable("model_stopped", f"{name} is stopped. Ask its owner to start it.", 30)
    if route.serving is not None:
        return unavailable("model_restarting", f"{name} is being restarted. Try again shortly.", 5)
    if route.desired_revision is None:
        return unavailable("model_not_deployed", f"{name} is not deployed. Deploy it first.", 30)
    if route.desired_revision in route.revisions:
        return unavailable("model_deploying", f"{name} is being deployed. Try again shortly.", 10)
    return unavailable(
        "model_failed",
        f"{name} could not be deployed. Its deployment history says why; deploy it again.",
        30,
    )


def _gone() -> GatewayError:
    return engine_failed("The engine broke the connection or refused it. Try again shortly.")
