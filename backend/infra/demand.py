"""How many requests each model has at the gateway now: written there, read by the deploy worker.

None of it is history. A gateway process writes its own rows at most once a second, and notifies
where requests begin to wait for a replica.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg.rows import DictRow

from backend.infra.postgres import Pool, connect

CHANNEL = "loggia_demand"
# A process that has requests writes every second; one that is silent for so long has none.
SILENCE_SECONDS = 5
_FORGOTTEN_SECONDS = 600

Connection = psycopg.Connection[DictRow]


@dataclass(frozen=True)
class Demand:
    """Requests at engines, and requests that wait for a replica."""

    running: int
    waiting: int


def write_demand(
    connection: Connection, gateway: UUID, demands: Mapping[str, Demand], urgent: list[str]
) -> None:
    """Replaces this process's rows of these models; wakes the workers for the urgent ones."""
    with connection.transaction():
        for model_id, demand in sorted(demands.items()):
            connection.execute(
                "INSERT INTO loggia.demand AS d (model_id, gateway, running, waiting) "
                "VALUES (%s, %s, %s, %s) ON CONFLICT (model_id, gateway) DO UPDATE "
                "SET running = EXCLUDED.running, waiting = EXCLUDED.waiting, updated_at = now()",
                (model_id, gateway, demand.running, demand.waiting),
            )
        for model_id in urgent:
            connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, model_id))


def forget_old_demand(connection: Connection) -> None:
    """Removes what processes that ended long ago have left."""
    connection.execute(
        "DELETE FROM loggia.demand WHERE updated_at < now() - make_interval(secs => %s)",
        (_FORGOTTEN_SECONDS,),
    )


def read_demand(pool: Pool, model_id: UUID) -> tuple[float, Demand]:
    """The sum over all gateway processes, and the database's time in seconds."""
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT extract(epoch FROM now())::float8 AS at, "
            "coalesce(sum(running), 0)::int AS running, coalesce(sum(waiting), 0)::int AS waiting "
            "FROM loggia.demand WHERE model_id = %s "
            "AND updated_at > now() - make_interval(secs => %s)",
            (model_id, SILENCE_SECONDS),
        ).fetchone()
    if row is None:
        raise LookupError("a sum has no row")
    return row["at"], Demand(row["running"], row["waiting"])


class DemandCalls:
    """What the gateways notify: models whose requests have begun to wait. For one thread."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Connection | None = None

    def heard(self, seconds: float) -> set[str]:
        """The models that were named within so many seconds; none while PostgreSQL is away.

        Whoever misses a call sees the waiting requests at the next reading.
        """
        try:
            if self._connection is None:
                self._connection = connect(self._dsn)
                self._connection.execute(f"LISTEN {CHANNEL}")
            return {
                call.payload for call in self._connection.notifies(timeout=seconds, stop_after=1)
            }
        except psycopg.Error:
            self.close()
            time.sleep(seconds)
            return set()

    def close(self) -> None:
        """Ends the connection; the next use makes a new one."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None
