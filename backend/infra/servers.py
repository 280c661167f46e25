"""Registered servers as they are now: address, credentials, whether they answer.

Time is the database's: who reads or writes a row says nothing about clocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow

from backend.infra.connections import Seal, SecretUnreadable
from backend.infra.postgres import Pool


@dataclass(frozen=True)
class StoredServer:
    """A registered server; ages in seconds, None where it has not happened.

    `credentials` is None where it wants none, or where they cannot be read any more.
    """

    id: UUID
    name: str
    pool: str
    address: str
    grpc_address: str
    engine: str
    engine_version: str
    capacity: dict[str, Any]
    draining: bool
    lost_seconds: float | None
    silent_seconds: float | None
    problem: str
    credentials: str | None = field(default=None, repr=False)

    @property
    def usable(self) -> bool:
        """Whether it takes new replicas."""
        return not self.draining and self.lost_seconds is None


class ServerStore:
    """The table of registered servers."""

    def __init__(self, pool: Pool, seal: Seal) -> None:
        self._pool = pool
        self._seal = seal

    def all(self) -> list[StoredServer]:
        """Every server by name, with its credentials."""
        with self._pool.connection() as connection:
            return self.read(connection.cursor())

    def find(self, name: str) -> StoredServer | None:
        """The server of this name, whatever the case of its letters."""
        return next((s for s in self.all() if s.name.casefold() == name.casefold()), None)

    def read(self, cursor: Cursor[DictRow]) -> list[StoredServer]:
        """The same, within somebody's transaction."""
        cursor.execute(
            "SELECT *, extract(epoch FROM now() - lost_at)::float8 AS lost_seconds, "
            "extract(epoch FROM now() - answered_at)::float8 AS silent_seconds "
            "FROM loggia.servers ORDER BY name"
        )
        return [self._server(row) for row in cursor.fetchall()]

    def answered(self, server_id: UUID, engine_version: str) -> None:
        """It answers now."""
        with self._pool.connection() as connection:
            connection.execute(
                "UPDATE loggia.servers SET checked_at = now(), answered_at = now(), problem = '', "
                "engine_version = coalesce(nullif(%s, ''), engine_version) WHERE server_id = %s",
                (engine_version[:100], server_id),
            )

    def did_not_answer(self, server_id: UUID, problem: str) -> float:
        """It does not answer now; returns for how many seconds it has not."""
        with self._pool.connection() as connection:
            row = connection.execute(
                "UPDATE loggia.servers SET checked_at = now(), problem = %s, "
                # One that never answered since it was registered counts from now on.
                "answered_at = coalesce(answered_at, now()) WHERE server_id = %s "
                "RETURNING extract(epoch FROM now() - answered_at)::float8 AS silent",
                (problem[:500], server_id),
            ).fetchone()
        return float(row["silent"]) if row else 0.0

    def _server(self, row: DictRow) -> StoredServer:
        sealed = row["sealed_credentials"]
        credentials = None
        if sealed is not None:
            try:
                credentials = self._seal.open(row["server_id"], bytes(sealed))
            except SecretUnreadable:
                credentials = None  # sealed with another key: the server itself will refuse us
        return StoredServer(
            id=row["server_id"],
            name=row["name"],
            pool=row["pool"],
            address=row["address"],
            grpc_address=row["grpc_address"],
            engine=row["engine"],
            engine_version=row["engine_version"],
            capacity=row["capacity"],
            draining=row["draining"],
            lost_seconds=row["lost_seconds"],
            silent_seconds=row["silent_seconds"],
            problem=row["problem"],
            credentials=credentials,
        )
