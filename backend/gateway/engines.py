"""Sends a request to one of a model's replicas, and to another one where the first is not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from backend.gateway import inference
from backend.gateway.connections import TAKEN_UNREAD, open_patient, open_watched
from backend.gateway.demand import DemandMeter
from backend.gateway.errors import GatewayError, engine_failed, not_opened, unavailable
from backend.gateway.limits import Limits
from backend.gateway.metering import Work
from backend.gateway.metrics import Metrics
from backend.gateway.routing import ModelRoute
from backend.gateway.server_keys import ServerKeys
from backend.gateway.spreading import Replica
from backend.gateway.waiting import WaitingRoom, no_replica
from backend.infra.logging import get_logger

# Engines (uvicorn) close an idle connection after 5 s; a request must not meet that moment.
_KEEP_ALIVE_SECONDS = 3.0
_REFUSED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
# Whatever is answered there proves that somebody is alive.
_PROBE = "/health"
_PROBE_SECONDS = 2.0
_PROBE_INTERVAL = 0.25
_log = get_logger(__name__)


class _Broken(aiohttp.ClientError):
    """The connection broke after something was sent that must not be sent twice."""


async def _once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keeps the client from sending a request again by itself, as it does with PUT and DELETE."""
    try:
        return await handler(request)
    except _REFUSED:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Broken from error


class Engines:
    """The connections to all engines. Make it inside the event loop."""

    def __init__(
        self, limits: Limits, metrics: Metrics, demand: DemandMeter, keys: ServerKeys
    ) -> None:
        self._limits = limits
        self._metrics = metrics
        self._demand = demand
        self._loop = asyncio.get_running_loop()
        self._room = WaitingRoom(limits, metrics)
        self._probes: set[asyncio.Task[None]] = set()
        self._sending_once = (_once, keys.send)
        self._session = _session(open_watched, limits, keys)
        self._patient = _session(open_patient, limits, keys)

    def routes_changed(self) -> None:
        """Replicas have come or gone."""
        self._room.look()

    def stop_waiting(self) -> None:
        """Refuses the requests that wait for a replica, because the process ends."""
        self._room.close()

    async def close(self) -> None:
        """Ends every connection."""
        for probe in self._probes:
            probe.cancel()
        await self._session.close()
        await self._patient.close()

    @asynccontextmanager
    async def send(
        self,
        route: ModelRoute,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        work: Work,
        conversation: int | None = None,
        *,
        method: str = "POST",
        repeatable: bool = True,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The engine's answer, from its headers on; leaving the block early cancels it there.

        Where no replica can be used, the request waits for one. A replica that refuses the
        connection is passed over. One that breaks it may have begun the request, so that it is sent
        only once more: to another one if there is one; what is not `repeatable` is not. One that is
        shared is asked for the route's own model alone. Who answers, and the time that it takes, is
        added to `work`. Raises `GatewayError`.
        """
        session = self._session if len(body) <= TAKEN_UNREAD else self._patient
        broken: Replica | None = None
        until = self._loop.time() + self._limits.wait_seconds
        while True:
            replica = route.pick(conversation, broken) or broken
            if replica is None:
                await self._wait(route, until)
                continue
            if replica.shared and (other := inference.other_model(path, route.name)):
                raise not_opened(other, route.name)
            replica.outstanding += 1
            work.replica_id, work.revision = replica.replica_id, replica.revision
            began = replica.time.begin(self._loop.time())
            try:
                with self._demand.running(route.model_id):
                    try:
                        response = await session.request(
                            method,
                            URL(replica.endpoint + path, encoded=True),
                            data=body,
                            headers=headers,
                            allow_redirects=False,
                            middlewares=None if repeatable else self._sending_once,
                        )
                    except aiohttp.ClientError as error:
                        refused = isinstance(error, _REFUSED)
                        self._eject(route, replica, "connect" if refused else "disconnect", error)
                        if refused and replica is not broken:
                            continue
                        if isinstance(error, _Broken):
                            raise _unsure() from error
                        if broken or not isinstance(error, aiohttp.ClientConnectionError):
                            raise _gone() from error
                        broken = replica
                        continue
                    try:
                        yield response
                    finally:
                        cause = response.content.exception()
                        if isinstance(cause, aiohttp.ClientError):
                            self._eject(route, replica, None, cause)
                        response.close()
                    return
            finally:
                replica.outstanding -= 1
                work.spend(replica.time.end(self._loop.time(), began), replica.accelerators)

    async def _wait(self, route: ModelRoute, until: float) -> None:
        if route.serving is None:
            raise not_serving(route)
        with self._demand.waiting(route.model_id):
            await self._room.wait(route, until)

    def _eject(
        self, route: ModelRoute, replica: Replica, kind: str | None, error: BaseException
    ) -> None:
        """It gets no request until it answers again; it goes for good when it is replaced."""
        if kind is not None:
            self._metrics.engine_errors.labels(route.name, kind).inc()
        if replica.ejected:
            return
        replica.ejected = True
        _log.warning(
            "engine did not answer",
            model_id=route.model_id,
            replica_id=replica.replica_id,
            error=type(error).__name__,
        )
        probe = self._loop.create_task(self._revive(route, replica))
        self._probes.add(probe)
        probe.add_done_callback(self._probes.discard)

    async def _revive(self, route: ModelRoute, replica: Replica) -> None:
        url = URL(replica.endpoint + _PROBE, encoded=True)
        while route.has(replica):
            try:
                async with asyncio.timeout(_PROBE_SECONDS), self._session.get(url):
                    break
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(_PROBE_INTERVAL)
        replica.ejected = False
        self._room.look()


def _session(
    factory: aiohttp.SocketFactoryType, limits: Limits, keys: ServerKeys
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS, socket_factory=factory
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_seconds),
        auto_decompress=False,
        middlewares=(keys.send,),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )


def not_serving(route: ModelRoute) -> GatewayError:
    """Why the model has no replica, and what helps."""
    name = f"The model '{route.name}'"
    if route.stopped:
        return unavailable("model_stopped", f"{name} is stopped. Ask its owner to start it.", 30)
    if route.serving is not None:
        return no_replica(route)
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


def _unsure() -> GatewayError:
    return engine_failed(
        "The engine broke the connection; it may have done what was asked. Ask again only where "
        "that does no harm."
    )
