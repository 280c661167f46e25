"""How far the other roles are behind, among the API's metrics: PostgreSQL knows it of all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from backend.infra.logging import get_logger
from backend.readmodels.backlog import Backlog

_KEPT_SECONDS = 1.0
# Always told, so that an alert never waits for a series that is not there.
_JOB_KINDS = ("import", "import-cleanup", "import-dry-run")
_JOB_STATES = ("queued", "running", "parked")
_log = get_logger(__name__)


class BacklogMetrics(Collector):
    """Figures that are read again when somebody asks, at most once a second.

    While the database does not answer there is nothing but `loggia_store_up 0`.
    """

    def __init__(self, read: Callable[[], Awaitable[Backlog]]) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._read_at = -_KEPT_SECONDS
        self._backlog: Backlog | None = None

    async def refresh(self) -> None:
        """Reads them unless they are fresh."""
        async with self._lock:
            if time.monotonic() - self._read_at < _KEPT_SECONDS:
                return
            try:
                self._backlog = await self._read()
            except Exception as error:
                _log.warning("the backlog cannot be read", error=repr(error))
                self._backlog = None
            self._read_at = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        backlog = self._backlog
        yield _gauge("loggia_store_up", "1 while the database answers.", int(backlog is not None))
        if backlog is None:
            return
        yield _gauge("loggia_store_position", "Position of the newest event.", backlog.stored)
        yield _gauge("loggia_relay_position", "Last event that is on the topic.", backlog.relayed)
        yield _gauge(
            "loggia_relay_lag_events",
            "Events that are not on the topic yet.",
            max(0, backlog.stored - backlog.relayed),
        )
        position = GaugeMetricFamily(
            "loggia_consumer_position", "Last event a consumer has seen.", labels=["consumer"]
        )
        lag = GaugeMetricFamily(
            "loggia_consumer_lag_events", "Events a consumer is behind.", labels=["consumer"]
        )
        parked = GaugeMetricFamily(
            "loggia_parked_events", "Events a consumer could not apply.", labels=["consumer"]
        )
        waiting = GaugeMetricFamily(
            "loggia_waiting_events", "Events that wait behind a parked one.", labels=["consumer"]
        )
        for name, consumer in sorted(backlog.consumers.items()):
            position.add_metric([name], consumer.position)
            lag.add_metric([name], max(0, backlog.stored - consumer.position))
            parked.add_metric([name], consumer.parked)
            waiting.add_metric([name], consumer.waiting)
        yield from (position, lag, parked, waiting)
        jobs = GaugeMetricFamily(
            "loggia_jobs", "Jobs that wait, run or are parked.", labels=["kind", "state"]
        )
        kinds = sorted({*_JOB_KINDS, *(kind for kind, _ in backlog.jobs)})
        for kind in kinds:
            for state in _JOB_STATES:
                jobs.add_metric([kind, state], backlog.jobs.get((kind, state), 0))
        yield jobs


def _gauge(name: str, meaning: str, value: int) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value=value)
