"""Counts each model's requests, and tells the deploy worker of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from uuid import uuid4

import psycopg

from backend.infra.demand import Demand, forget_old_demand, write_demand
from backend.infra.logging import get_logger
from backend.infra.postgres import TIME_OUTS, KeptConnection

_INTERVAL_SECONDS = 1.0
# Requests that begin to wait at once are told of together.
_PAUSE_SECONDS = 0.1
_TIDY_EVERY = 600
_log = get_logger(__name__)

Publish = Callable[[Mapping[str, Demand], list[str]], None]


class _Count:
    """A number that goes up and down, and its average since it was taken last."""

    __slots__ = ("_area", "_changed", "_taken", "now")

    def __init__(self, moment: float) -> None:
        self.now = 0
        self._area = 0.0
        self._changed = self._taken = moment

    def change(self, by: int, moment: float) -> None:
        self._area += self.now * (moment - self._changed)
        self._changed = moment
        self.now += by

    def take(self, moment: float) -> int:
        """The average, rounded up: what was there for a moment only is more than nothing."""
        self.change(0, moment)
        passed = moment - self._taken
        average = self._area / passed if passed > 0 else float(self.now)
        self._area, self._taken = 0.0, moment
        return math.ceil(round(average, 6))


class DemandMeter:
    """Every model's running and waiting requests in this process. For one event loop."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._running: dict[str, _Count] = {}
        self._waiting: dict[str, _Count] = {}
        self._told: dict[str, Demand] = {}
        self._urgent: set[str] = set()
        self.urgent = asyncio.Event()

    @contextmanager
    def running(self, model_id: str) -> Iterator[None]:
        """A request is at an engine."""
        count = self._count(self._running, model_id)
        count.change(1, self._time())
        try:
            yield
        finally:
            count.change(-1, self._time())

    @contextmanager
    def waiting(self, model_id: str) -> Iterator[None]:
        """A request waits for a replica; the first one is worth a call."""
        count = self._count(self._waiting, model_id)
        if count.now == 0:
            self._urgent.add(model_id)
            self.urgent.set()
        count.change(1, self._time())
        try:
            yield
        finally:
            count.change(-1, self._time())

    def take(self) -> tuple[dict[str, Demand], list[str]]:
        """What has to be told now, and of which models requests have begun to wait."""
        moment = self._time()
        demands: dict[str, Demand] = {}
        for model_id in self._running.keys() | self._waiting.keys():
            running = self._count(self._running, model_id).take(moment)
            waiting = self._count(self._waiting, model_id)
            demand = Demand(running, max(waiting.take(moment), waiting.now))
            if demand != _NOTHING or self._told.get(model_id, _NOTHING) != _NOTHING:
                demands[model_id] = demand
        self._told.update(demands)
        urgent = sorted(self._urgent)
        self._urgent.clear()
        self.urgent.clear()
        return demands, urgent

    def _count(self, counts: dict[str, _Count], model_id: str) -> _Count:
        found = counts.get(model_id)
        if found is None:
            found = counts[model_id] = _Count(self._time())
        return found


_NOTHING = Demand(0, 0)


async def publish_demand(meter: DemandMeter, publish: Publish) -> None:
    """Tells every second, and at once where a request begins to wait; until it is cancelled.

    A request never waits for this, and while PostgreSQL is away nothing is told.
    """
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(_INTERVAL_SECONDS):
                await meter.urgent.wait()
        demands, urgent = meter.take()
        if demands or urgent:
            try:
                await asyncio.to_thread(publish, demands, urgent)
            except psycopg.Error as error:
                _log.warning("the demand could not be told", error=type(error).__name__)
        await asyncio.sleep(_PAUSE_SECONDS)


class DemandRows:
    """This process's rows in PostgreSQL. For one thread at a time."""

    def __init__(self, dsn: str) -> None:
        self._connection = KeptConnection(dsn, options=TIME_OUTS)
        self._gateway = uuid4()
        self._written = 0

    def publish(self, demands: Mapping[str, Demand], urgent: list[str]) -> None:
        """Writes them. Raises `psycopg.Error`."""
        connection = self._connection.get()
        write_demand(connection, self._gateway, demands, urgent)
        if self._written % _TIDY_EVERY == 0:
            forget_old_demand(connection)
        self._written += 1

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()
