"""Long work as rows with a lease: whoever holds the lease works, and only they may write results.

Leases are decided by the database's clock alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from backend.infra.postgres import Pool

CHANNEL = "loggia_jobs"


class LeaseLost(Exception):
    """Another worker has taken the job over, or it has been cancelled for good."""


@dataclass(frozen=True)
class Claim:
    """The right to work on a job; `attempt` is the fencing number."""

    job_id: UUID
    kind: str
    model_id: UUID
    payload: dict[str, Any]
    journal: dict[str, Any]
    attempt: int
    cancel_requested: bool


def enqueue(
    cursor: Cursor[DictRow], *, kind: str, job_id: UUID, model_id: UUID, payload: dict[str, Any]
) -> None:
    """Adds a job in the caller's transaction. A job that is there already stays as it is."""
    cursor.execute(
        "INSERT INTO loggia.jobs (id, kind, model_id, payload) VALUES (%s, %s, %s, %s) "
        "ON CONFLICT (id) DO NOTHING",
        (job_id, kind, model_id, Jsonb(payload)),
    )
    cursor.execute(f"NOTIFY {CHANNEL}")


def request_cancellation(
    cursor: Cursor[DictRow], *, kind: str, model_id: UUID, payload: dict[str, Any] | None = None
) -> None:
    """Asks whoever works on the model's jobs to stop; queued jobs end at once.

    Only jobs whose payload has these values, where some are given.
    """
    cursor.execute(
        "UPDATE loggia.jobs SET cancel_requested = true, updated_at = now(), "
        "state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE state END "
        "WHERE kind = %s AND model_id = %s AND payload @> %s AND state IN ('queued', 'running')",
        (kind, model_id, Jsonb(payload or {})),
    )
    cursor.execute(f"NOTIFY {CHANNEL}")


class Jobs:
    """The table of jobs."""

    def __init__(self, pool: Pool, *, lease_seconds: int) -> None:
        self._pool = pool
        self._lease_seconds = lease_seconds

    def claim(self, kind: str, worker: str) -> Claim | None:
        """The oldest job that waits or whose worker has fallen silent; None where there is none."""
        with self._pool.connection() as connection:
            row = connection.execute(
                "UPDATE loggia.jobs SET state = 'running', attempt = attempt + 1, "
                "worker = %(worker)s, updated_at = now(), "
                "lease_until = now() + make_interval(secs => %(lease)s) "
                "WHERE id = (SELECT id FROM loggia.jobs WHERE kind = %(kind)s "
                "AND (state = 'queued' OR (state = 'running' AND lease_until < now())) "
                "ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *",
                {"worker": worker, "lease": self._lease_seconds, "kind": kind},
            ).fetchone()
        if row is None:
            return None
        return Claim(
            job_id=row["id"],
            kind=row["kind"],
            model_id=row["model_id"],
            payload=row["payload"],
            journal=row["journal"],
            attempt=row["attempt"],
            cancel_requested=row["cancel_requested"],
        )

    def heartbeat(self, claim: Claim) -> bool:
        """Extends the lease; says whether the job should be cancelled. Raises `LeaseLost`."""
        row = self._update(
            claim,
            "lease_until = now() + make_interval(secs => %(lease)s)",
            lease=self._lease_seconds,
        )
        return bool(row["cancel_requested"])

    def write_journal(self, claim: Claim, journal: dict[str, Any]) -> None:
        """Keeps what has been done, for whoever takes over. Raises `LeaseLost`."""
        self._update(claim, "journal = %(journal)s", journal=Jsonb(journal))

    def finish(self, claim: Claim, *, state: str = "done", error: str | None = None) -> None:
        """Ends the job as `done`, `failed`, `cancelled` or `parked`. Raises `LeaseLost`."""
        self._update(claim, "state = %(state)s, error = %(error)s", state=state, error=error)

    def release(self, claim: Claim) -> None:
        """Gives an unfinished job back, so that another worker goes on at once."""
        self._update(claim, "state = 'queued', lease_until = NULL")
        with self._pool.connection() as connection:
            connection.execute(f"NOTIFY {CHANNEL}")

    def _update(self, claim: Claim, assignments: str, **values: Any) -> DictRow:
        with self._pool.connection() as connection:
            row = connection.execute(
                f"UPDATE loggia.jobs SET {assignments}, updated_at = now() "  # noqa: S608
                "WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'running' RETURNING *",
                {"id": claim.job_id, "attempt": claim.attempt, **values},
            ).fetchone()
        if row is None:
            raise LeaseLost(f"job {claim.job_id} is no longer ours (attempt {claim.attempt})")
        return row


def fence(claim: Claim) -> Callable[[Cursor[DictRow]], None]:
    """A statement for a command's transaction that refuses it to a worker without its claim.

    The row is locked until the commit, so that nobody can take the job over in between.
    """

    def check(cursor: Cursor[DictRow]) -> None:
        cursor.execute(
            "SELECT 1 FROM loggia.jobs WHERE id = %s AND attempt = %s AND state = 'running' "
            "FOR UPDATE",
            (claim.job_id, claim.attempt),
        )
        if cursor.fetchone() is None:
            raise LeaseLost(f"job {claim.job_id} is no longer ours (attempt {claim.attempt})")

    return check
