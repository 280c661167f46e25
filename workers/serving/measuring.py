"""Reads this machine, and how busy the replicas on it and on registered servers are."""

from __future__ import annotations

import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import httpx
import psutil
import psycopg
from psycopg.rows import DictRow
from psycopg_pool import PoolTimeout

from backend.infra.logging import get_logger
from backend.infra.postgres import Pool
from backend.infra.readings import MachineReport, Readings
from workers.serving.engine import Engine
from workers.serving.environments import EngineEnvironments
from workers.serving.launchers.launcher import Launchers
from workers.serving.launchers.local import LocalProcesses

_REPORT_SECONDS = 2.0
_READING_SECONDS = 10.0
_THINNING_SECONDS = 60.0
_AT_ONCE = 8
_log = get_logger(__name__)


class Measuring:
    """A worker's readings, in a thread of its own.

    `watches` says whether this worker also reads the registered servers.
    """

    def __init__(
        self,
        pool: Pool,
        local: LocalProcesses,
        launchers: Launchers,
        engines: Mapping[str, Engine],
        environments: EngineEnvironments,
        client: httpx.Client,
        *,
        watches: Callable[[], bool],
    ) -> None:
        self._pool = pool
        self._local = local
        self._launchers = launchers
        self._engines = engines
        self._environments = environments
        self._client = client
        self._watches = watches
        self._readings = Readings(pool)

    def run(self, stop: threading.Event) -> None:
        """Reads until `stop` is set."""
        psutil.cpu_percent()  # the first call begins the first interval
        read_at = thinned_at = -_THINNING_SECONDS
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="load") as executor:
            while True:
                now = time.monotonic()
                try:
                    self._readings.report(self._machine())
                    if now - read_at >= _READING_SECONDS:
                        read_at = now
                        self._read(executor)
                    if now - thinned_at >= _THINNING_SECONDS:
                        thinned_at = now
                        self._readings.thin()
                except (psycopg.Error, PoolTimeout) as error:
                    _log.warning("readings are not written", error=str(error))
                if stop.wait(_REPORT_SECONDS):
                    return

    def _machine(self) -> MachineReport:
        machine = self._local.machine()
        return MachineReport(
            server=self._local.server,
            host=socket.gethostname(),
            cpu_count=psutil.cpu_count() or 1,
            memory_gib=machine.memory_gib,
            gpus=[asdict(gpu) for gpu in machine.gpus],
            driver=self._local.gpus.driver(),
            engines=self._environments.installed(),
            bounds=self._local.limits.words,
        )

    def _read(self, executor: ThreadPoolExecutor) -> None:
        with self._pool.connection() as connection:
            rows = connection.execute(
                "SELECT replica_id, server, engine, endpoint FROM loggia.replicas "
                "WHERE state IN ('ready', 'draining') AND (server = %s OR (%s AND server IN "
                "(SELECT name FROM loggia.servers WHERE lost_at IS NULL)))",
                (self._local.server, self._watches()),
            ).fetchall()
        replicas: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row, load in zip(rows, executor.map(self._load, rows), strict=True):
            if load is not None:
                replicas[row["server"]].append(load)
        self._readings.add(
            self._local.server,
            {
                "cpu_percent": psutil.cpu_percent(),
                "memory_used_gib": round(_used_gib(), 2),
                "gpus": [asdict(load) for load in self._local.gpus.loads()],
                "replicas": replicas.pop(self._local.server, []),
            },
        )
        for server, loads in replicas.items():
            self._readings.add(server, {"replicas": loads})

    def _load(self, row: DictRow) -> dict[str, Any] | None:
        launcher, engine = self._launchers.at(row["server"]), self._engines.get(row["engine"])
        if launcher is None or engine is None:
            return None
        try:
            load = launcher.speaks(engine).load(self._client, row["endpoint"])
        except (httpx.HTTPError, ValueError, LookupError):
            return None
        return {
            "replica_id": str(row["replica_id"]),
            "running": load.running,
            "waiting": load.waiting,
        }


def _used_gib() -> float:
    memory = psutil.virtual_memory()
    return float(memory.total - memory.available) / 1024**3
