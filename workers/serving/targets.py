"""Which deployments need looking after, and which worker does.

Events from Kafka only wake: what is wanted is read from the deployment itself. A worker acts on a
deployment while it holds the target's lease, and the lease's fencing number goes into every
record it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow

from backend.contracts.codec import PublicEvent
from backend.domain.deployment import Deployment
from backend.infra.jobs import LeaseLost
from backend.infra.postgres import Pool

EVENT_TYPES = (
    "DeploymentRequested",
    "DeploymentStopRequested",
    "AdapterLoadRequested",
    "AdapterUnloadRequested",
    "ModelDeleted",
)


def note_events(cursor: Cursor[DictRow], events: Sequence[PublicEvent]) -> None:
    """Opens the targets of deployments that changed; an event seen before changes nothing."""
    for event in events:
        if event.type in EVENT_TYPES and event.model_id is not None:
            model_id = UUID(event.model_id)
            cursor.execute(
                _NOTE,
                (
                    Deployment.create_id(model_id),
                    model_id,
                    event.position,
                    event.correlation_id,
                    event.event_id,
                ),
            )


_NOTE = (
    "INSERT INTO loggia.serving_targets AS t "
    "(deployment_id, model_id, position, correlation_id, event_id) "
    "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (deployment_id) DO UPDATE "
    "SET position = EXCLUDED.position, correlation_id = EXCLUDED.correlation_id, "
    "event_id = EXCLUDED.event_id, settled = false WHERE t.position < EXCLUDED.position"
)


@dataclass(frozen=True)
class Lease:
    """The right to act on a deployment; `position` is the newest event known when it was read."""

    deployment_id: UUID
    model_id: UUID
    fence: int
    position: int
    correlation_id: UUID
    event_id: UUID


class Targets:
    """The table of targets, as one worker sees it."""

    def __init__(self, pool: Pool, *, worker: str, lease_seconds: int) -> None:
        self._pool = pool
        self._worker = worker
        self._lease_seconds = lease_seconds

    def claim(self, held: Collection[UUID]) -> Lease | None:
        """A target that nobody looks after.

        One under this worker's own name is its predecessor's, which has ended: there is one
        worker for each data directory.
        """
        with self._pool.connection() as connection:
            row = connection.execute(
                "UPDATE loggia.serving_targets SET worker = %(worker)s, fence = fence + 1, "
                "lease_until = now() + make_interval(secs => %(seconds)s) "
                "WHERE deployment_id = (SELECT deployment_id FROM loggia.serving_targets "
                "WHERE NOT settled AND deployment_id <> ALL(%(held)s) "
                "AND (lease_until IS NULL OR lease_until < now() OR worker = %(worker)s) "
                "ORDER BY position LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *",
                {"worker": self._worker, "seconds": self._lease_seconds, "held": list(held)},
            ).fetchone()
        return _lease(row) if row else None

    def renew(self, lease: Lease) -> Lease:
        """Extends the lease and reads the newest position. Raises `LeaseLost`."""
        with self._pool.connection() as connection:
            row = connection.execute(
                "UPDATE loggia.serving_targets "
                "SET lease_until = now() + make_interval(secs => %s) "
                "WHERE deployment_id = %s AND fence = %s AND NOT settled RETURNING *",
                (self._lease_seconds, lease.deployment_id, lease.fence),
            ).fetchone()
        if row is None:
            raise _lost(lease)
        return _lease(row)

    def settle(self, lease: Lease) -> bool:
        """Nothing is left to do; False where an event has arrived since the lease was read."""
        with self._pool.connection() as connection:
            return (
                connection.execute(
                    "UPDATE loggia.serving_targets "
                    "SET settled = true, worker = NULL, lease_until = NULL "
                    "WHERE deployment_id = %s AND fence = %s AND position = %s",
                    (lease.deployment_id, lease.fence, lease.position),
                ).rowcount
                == 1
            )

    def release(self, lease: Lease) -> None:
        """Lets another worker go on at once."""
        with self._pool.connection() as connection:
            connection.execute(
                "UPDATE loggia.serving_targets SET worker = NULL, lease_until = NULL "
                "WHERE deployment_id = %s AND fence = %s",
                (lease.deployment_id, lease.fence),
            )

    def held(self) -> dict[UUID, Lease]:
        """The targets under this worker's name as they are now, by deployment."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                "SELECT * FROM loggia.serving_targets WHERE worker = %s AND NOT settled",
                (self._worker,),
            )
            return {row["deployment_id"]: _lease(row) for row in rows}

    def open_models(self) -> set[UUID]:
        """The models whose deployments somebody looks after."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                "SELECT model_id FROM loggia.serving_targets WHERE NOT settled"
            )
            return {row["model_id"] for row in rows}


def fence(lease: Lease) -> Callable[[Cursor[DictRow]], None]:
    """A statement for a command's transaction that refuses it to a worker without the lease.

    The row stays locked until the commit, so that nobody takes over in between.
    """

    def check(cursor: Cursor[DictRow]) -> None:
        cursor.execute(
            "SELECT 1 FROM loggia.serving_targets "
            "WHERE deployment_id = %s AND fence = %s AND NOT settled FOR UPDATE",
            (lease.deployment_id, lease.fence),
        )
        if cursor.fetchone() is None:
            raise _lost(lease)

    return check


def _lease(row: DictRow) -> Lease:
    return Lease(
        deployment_id=row["deployment_id"],
        model_id=row["model_id"],
        fence=row["fence"],
        position=row["position"],
        correlation_id=row["correlation_id"],
        event_id=row["event_id"],
    )


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"deployment {lease.deployment_id} is no longer ours (fence {lease.fence})")
