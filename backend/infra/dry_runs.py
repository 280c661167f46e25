"""Dry runs of imports: asked for by the API, carried out by an import worker, soon forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from backend.infra.jobs import Claim, Jobs, enqueue
from backend.infra.postgres import Pool

KIND = "import-dry-run"
_KEPT = "1 hour"
_RESULT = "result"


@dataclass(frozen=True)
class DryRunState:
    """A dry run that somebody asked for; `result` is None while it is under way."""

    id: UUID
    actor: str
    result: dict[str, Any] | None


class DryRuns:
    """Dry runs are jobs that leave nothing but a result in their row."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def ask(self, actor: str, payload: Mapping[str, Any]) -> UUID:
        """Asks for one; what the payload says is between the API and the worker."""
        dry_run = uuid4()
        with self._pool.connection() as connection, connection.transaction():
            enqueue(
                connection.cursor(),
                kind=KIND,
                job_id=dry_run,
                # There is no model; progress is told under the dry run's own id.
                model_id=dry_run,
                payload={**payload, "actor": actor},
            )
        return dry_run

    def find(self, dry_run: UUID) -> DryRunState | None:
        """How far it has come; None where there is none, or no longer."""
        with self._pool.connection() as connection:
            row = connection.execute(
                "SELECT id, payload ->> 'actor' AS actor, "
                "CASE WHEN state = 'done' THEN journal -> %s END AS result "
                "FROM loggia.jobs WHERE id = %s AND kind = %s",
                (_RESULT, dry_run, KIND),
            ).fetchone()
        return DryRunState(row["id"], row["actor"], row["result"]) if row else None

    def forget_old(self) -> int:
        """Removes those that ended a while ago; returns how many."""
        with self._pool.connection() as connection:
            return connection.execute(
                "DELETE FROM loggia.jobs WHERE kind = %s AND state NOT IN ('queued', 'running') "
                "AND updated_at < now() - %s::interval",
                (KIND, _KEPT),
            ).rowcount


def conclude(jobs: Jobs, claim: Claim, result: dict[str, Any]) -> None:
    """Ends a dry run with its result. Raises `LeaseLost`."""
    jobs.write_journal(claim, {_RESULT: result})
    jobs.finish(claim)
