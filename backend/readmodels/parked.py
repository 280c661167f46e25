"""What was set aside because it failed in a way nobody foresaw, for the administrator.

Read from where consumers and workers write it, so that it is there whatever stands still.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from backend.contracts.codec import MESSAGES, TYPE_PREFIX
from backend.infra.postgres import Pool

MOST = 100

# Until the same version is imported again, or its model is deleted.
PARKED_JOBS = (
    "loggia.jobs AS job WHERE state = 'parked' AND NOT EXISTS "
    "(SELECT 1 FROM loggia.jobs AS later WHERE later.model_id = job.model_id "
    "AND later.created_at > job.created_at "
    "AND COALESCE(later.payload ->> 'version', job.payload ->> 'version') "
    "IS NOT DISTINCT FROM job.payload ->> 'version')"
)


class ParkedEvent(msgspec.Struct, rename="camel", frozen=True):
    """An event that a consumer could not apply. `type` is short where the contract knows it."""

    consumer: str
    position: int | None
    type: str | None
    model_id: UUID | None
    error: str
    parked_at: datetime


class ParkedJob(msgspec.Struct, rename="camel", frozen=True):
    """Work that its worker has given up."""

    id: UUID
    kind: str
    model_id: UUID
    version: str | None
    error: str
    parked_at: datetime


class Parked(msgspec.Struct, rename="camel", frozen=True):
    """The oldest hundred of each, because the first is usually the cause; and how many there are.

    Events are ended by a redrive, jobs by a retry of the import or by the end of the model.
    """

    events: list[ParkedEvent]
    event_count: int
    jobs: list[ParkedJob]
    job_count: int


def read(pool: Pool) -> Parked:
    """Everything that is parked now."""
    with pool.connection() as connection:
        events = connection.execute(
            "SELECT consumer, position, event_type, partition_key, error, parked_at, "
            "count(*) OVER () AS all FROM loggia.dead_letters WHERE resolved_at IS NULL "
            "ORDER BY id LIMIT %s",
            (MOST,),
        ).fetchall()
        jobs = connection.execute(
            "SELECT id, kind, model_id, payload ->> 'version' AS version, "  # noqa: S608
            "COALESCE(error, '') AS error, updated_at, count(*) OVER () AS all "
            f"FROM {PARKED_JOBS} ORDER BY updated_at, id LIMIT %s",
            (MOST,),
        ).fetchall()
    return Parked(
        events=[
            ParkedEvent(
                consumer=row["consumer"],
                position=row["position"],
                type=_short(row["event_type"]),
                model_id=_model_of(row["partition_key"], _short(row["event_type"])),
                error=row["error"],
                parked_at=row["parked_at"],
            )
            for row in events
        ],
        event_count=events[0]["all"] if events else 0,
        jobs=[
            ParkedJob(
                row["id"],
                row["kind"],
                row["model_id"],
                row["version"],
                row["error"],
                row["updated_at"],
            )
            for row in jobs
        ],
        job_count=jobs[0]["all"] if jobs else 0,
    )


def _short(event_type: str | None) -> str | None:
    return event_type.removeprefix(TYPE_PREFIX) if event_type else None


def _model_of(key: str, event_type: str | None) -> UUID | None:
    """The key of an event is its model's id; of events about people and batches it is theirs."""
    message = MESSAGES.get(event_type or "")
    if message is not None and "model_id" not in message.DESCRIPTOR.fields_by_name:
        return None
    try:
        return UUID(key)
    except ValueError:
        return None
