"""Machines and the load on servers over time, as deploy workers write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from backend.infra.postgres import Pool

# A machine of which nothing was heard for a day has gone for good.
_KEPT = "1 day"
_DENSE = "1 hour"


@dataclass(frozen=True)
class MachineReport:
    """What a deploy worker's machine has; memory in GiB."""

    server: str
    host: str
    cpu_count: int
    memory_gib: float
    gpus: Sequence[dict[str, Any]]
    driver: str
    engines: Sequence[dict[str, str]]
    bounds: str


class Readings:
    """The tables of machines and of readings."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def report(self, machine: MachineReport) -> None:
        """The machine is there, and this is what it has."""
        with self._pool.connection() as connection:
            connection.execute(
                "INSERT INTO loggia.machines AS m (server, host, cpu_count, memory_gib, gpus, "
                "driver, engines, bounds) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (server) DO UPDATE SET host = EXCLUDED.host, "
                "cpu_count = EXCLUDED.cpu_count, memory_gib = EXCLUDED.memory_gib, "
                "gpus = EXCLUDED.gpus, driver = EXCLUDED.driver, engines = EXCLUDED.engines, "
                "bounds = EXCLUDED.bounds, seen_at = now()",
                (
                    machine.server,
                    machine.host,
                    machine.cpu_count,
                    machine.memory_gib,
                    Jsonb(list(machine.gpus)),
                    machine.driver,
                    Jsonb(list(machine.engines)),
                    machine.bounds,
                ),
            )

    def add(self, server: str, load: dict[str, Any]) -> None:
        """The load on a server at this moment."""
        with self._pool.connection() as connection:
            connection.execute(
                "INSERT INTO loggia.readings (server, load) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (server, Jsonb(load)),
            )

    def thin(self) -> None:
        """Keeps every reading of the last hour, one a minute of the last day, and no older one."""
        with self._pool.connection() as connection:
            connection.execute(
                "DELETE FROM loggia.readings WHERE at < now() - %s::interval", (_KEPT,)
            )
            connection.execute(
                "DELETE FROM loggia.readings AS r USING (SELECT server, at, row_number() OVER ("
                "PARTITION BY server, date_trunc('minute', at) ORDER BY at) AS number "
                "FROM loggia.readings WHERE at < now() - %s::interval) AS dense "
                "WHERE dense.number > 1 AND r.server = dense.server AND r.at = dense.at",
                (_DENSE,),
            )
            connection.execute(
                "DELETE FROM loggia.machines WHERE seen_at < now() - %s::interval", (_KEPT,)
            )
