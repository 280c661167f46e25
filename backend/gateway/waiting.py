"""Where requests wait that have come while no replica of their model could be used."""

from __future__ import annotations

import asyncio

from backend.gateway.errors import GatewayError, unavailable
from backend.gateway.limits import Limits
from backend.gateway.metrics import Metrics
from backend.gateway.routing import ModelRoute

_RETRY_SECONDS = 5


class WaitingRoom:
    """Bounded in number and in time. Make it inside the event loop."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._rooms: dict[str, tuple[ModelRoute, set[asyncio.Future[None]]]] = {}
        self._closed = False

    async def wait(self, route: ModelRoute, until: float) -> None:
        """Returns when it is worth trying again; `until` is a time of the event loop.

        Raises `GatewayError` where too many wait already, or it took too long.
        """
        name = f"The model '{route.name}'"
        _, waiting = self._rooms.setdefault(route.model_id, (route, set()))
        if self._closed or len(waiting) >= self._limits.waiting_requests:
            raise unavailable(
                "too_many_waiting",
                f"{name} has no running replica, and too many requests wait. Try again shortly.",
                _RETRY_SECONDS,
            )
        future = self._loop.create_future()
        waiting.add(future)
        gauge = self._metrics.waiting.labels(route.name)
        gauge.inc()
        try:
            async with asyncio.timeout_at(until):
                await future
        except TimeoutError as error:
            raise no_replica(route) from error
        finally:
            gauge.dec()
            waiting.discard(future)
            if not waiting:
                self._rooms.pop(route.model_id, None)

    def look(self) -> None:
        """Lets those go on whose model can be used again, or will not be."""
        for route, waiting in list(self._rooms.values()):
            if route.serving is None or route.pick() is not None:
                _release(waiting)

    def close(self) -> None:
        """Nobody waits any longer: the process ends."""
        self._closed = True
        for _, waiting in list(self._rooms.values()):
            for future in waiting:
                if not future.done():
                    future.set_exception(
                        unavailable("restarting", "The gateway is being restarted. Try again.", 1)
                    )


def no_replica(route: ModelRoute) -> GatewayError:
    """The model is deployed, and nothing of it runs."""
    return unavailable(
        "model_restarting",
        f"The model '{route.name}' has no running replica yet. Try again shortly.",
        _RETRY_SECONDS,
    )


def _release(waiting: set[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)
