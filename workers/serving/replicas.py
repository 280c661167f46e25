"""The engines of a deployment as they were last seen; ages are measured by the database's clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import LiteralString
from uuid import UUID, uuid5

from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from backend.domain.configuration import DeployConfiguration
from backend.infra.postgres import Pool
from workers.serving.launchers.launcher import Launcher, Place, Wanted
from workers.serving.targets import Lease, fence

# So many replicas of a slot that have ended are remembered.
_REMEMBERED = 16
# Whoever chooses a place holds it: 'place' in ASCII.
_PLACEMENT_LOCK = 0x706C616365


class State(StrEnum):
    """What a replica is doing."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    ENDED = "ended"


@dataclass(frozen=True)
class Replica:
    """One engine process; ages in seconds, None where it has not happened."""

    id: UUID
    revision: int
    slot: int
    generation: int
    server: str
    state: State
    endpoint: str
    announced: bool
    age: float
    ready_age: float | None
    draining_age: float | None
    ended_age: float | None
    crashed: bool
    end_reason: str
    end_remedy: str
    log_tail: list[str]

    @property
    def is_live(self) -> bool:
        """Whether a process belongs to it."""
        return self.state is not State.ENDED

    @property
    def is_kept(self) -> bool:
        """Whether it serves or comes to serve."""
        return self.state in {State.STARTING, State.READY}

    @property
    def place(self) -> Place:
        """Where it is."""
        return Place(self.server, self.endpoint)

    @property
    def served_seconds(self) -> float:
        """How long an ended replica had been ready."""
        if self.ready_age is None or self.ended_age is None:
            return 0.0
        return self.ready_age - self.ended_age


class Replicas:
    """The rows of one deployment, written under its lease."""

    def __init__(self, pool: Pool, lease: Lease) -> None:
        self._pool = pool
        self._lease = lease

    def all(self) -> list[Replica]:
        """Every replica of revisions that have not come to their end, oldest first."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                "SELECT *, extract(epoch FROM now() - created_at)::float8 AS age, "
                "extract(epoch FROM now() - ready_at)::float8 AS ready_age, "
                "extract(epoch FROM now() - draining_at)::float8 AS draining_age, "
                "extract(epoch FROM now() - ended_at)::float8 AS ended_age "
                "FROM loggia.replicas WHERE deployment_id = %s ORDER BY created_at, slot",
                (self._lease.deployment_id,),
            ).fetchall()
        return [_replica(row) for row in rows]

    def wanted(
        self, *, revision: int, slot: int, generation: int, configuration: DeployConfiguration
    ) -> Wanted:
        """A replica that is about to be; `generation` counts those before it in its slot.

        Its id follows from these, so that a repetition makes no second one.
        """
        return Wanted(
            replica_id=uuid5(self._lease.deployment_id, f"{revision}:{slot}:{generation}"),
            deployment_id=self._lease.deployment_id,
            model_id=self._lease.model_id,
            revision=revision,
            slot=slot,
            configuration=configuration,
        )

    def add(self, wanted: Wanted, launcher: Launcher, *, generation: int) -> None:
        """Gives it a place and a row, in one transaction. Raises `NoPlace`."""
        check = fence(self._lease)
        with self._pool.connection() as connection, connection.transaction():
            cursor: Cursor[DictRow] = connection.cursor()
            check(cursor)
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_PLACEMENT_LOCK,))
            place = launcher.place(wanted, cursor)
            cursor.execute(
                "INSERT INTO loggia.replicas (replica_id, deployment_id, model_id, revision, slot, "
                "generation, server, state, endpoint) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, 'starting', %s) "
                "ON CONFLICT (replica_id) DO NOTHING",
                (
                    wanted.replica_id,
                    wanted.deployment_id,
                    wanted.model_id,
                    wanted.revision,
                    wanted.slot,
                    generation,
                    place.server,
                    place.endpoint,
                ),
            )

    def announce(self, replica: Replica) -> None:
        """Its start has been recorded."""
        self._write("UPDATE loggia.replicas SET announced = true WHERE replica_id = %s", replica.id)

    def mark_ready(self, replica: Replica) -> None:
        """It answers."""
        self._write(
            "UPDATE loggia.replicas SET state = 'ready', ready_at = now() WHERE replica_id = %s",
            replica.id,
        )

    def mark_draining(self, replica: Replica) -> None:
        """It gets no new requests."""
        self._write(
            "UPDATE loggia.replicas SET state = 'draining', draining_at = now() "
            "WHERE replica_id = %s",
            replica.id,
        )

    def mark_ended(
        self,
        replica: Replica,
        *,
        crashed: bool,
        reason: str = "",
        remedy: str = "",
        log_tail: Sequence[str] = (),
    ) -> None:
        """Its process has gone. Of its slot only the last few are remembered."""
        self._write(
            "UPDATE loggia.replicas SET state = 'ended', ended_at = now(), crashed = %s, "
            "end_reason = %s, end_remedy = %s, log_tail = %s "
            "WHERE replica_id = %s AND state <> 'ended'",
            crashed,
            reason,
            remedy,
            Jsonb(list(log_tail)),
            replica.id,
        )
        self._write(
            "DELETE FROM loggia.replicas WHERE deployment_id = %s AND revision = %s AND slot = %s "
            "AND state = 'ended' AND generation < %s",
            self._lease.deployment_id,
            replica.revision,
            replica.slot,
            replica.generation - _REMEMBERED,
        )

    def forget(self, revision: int) -> None:
        """The revision's end has been recorded."""
        self._write(
            "DELETE FROM loggia.replicas WHERE deployment_id = %s AND revision = %s",
            self._lease.deployment_id,
            revision,
        )

    def _write(self, statement: LiteralString, *values: object) -> None:
        check = fence(self._lease)
        with self._pool.connection() as connection, connection.transaction():
            cursor: Cursor[DictRow] = connection.cursor()
            check(cursor)
            cursor.execute(statement, values)


def live_on(pool: Pool, server: str) -> set[UUID]:
    """The replicas that should have a process on this server."""
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT replica_id FROM loggia.replicas WHERE server = %s AND state <> 'ended'",
            (server,),
        )
        return {row["replica_id"] for row in rows}


def _replica(row: DictRow) -> Replica:
    return Replica(
        id=row["replica_id"],
        revision=row["revision"],
        slot=row["slot"],
        generation=row["generation"],
        server=row["server"],
        state=State(row["state"]),
        endpoint=row["endpoint"],
        announced=row["announced"],
        age=row["age"],
        ready_age=row["ready_age"],
        draining_age=row["draining_age"],
        ended_age=row["ended_age"],
        crashed=row["crashed"],
        end_reason=row["end_reason"],
        end_remedy=row["end_remedy"],
        log_tail=row["log_tail"],
    )
