"""Events that ask for work become jobs; what the work is about stays in the events."""

from __future__ import annotations

from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow

from backend.contracts.codec import PublicEvent
from backend.infra.jobs import enqueue, request_cancellation
from workers.importing.residue import CLEANUP, IMPORT

CONSUMER = "import-dispatcher"


def handle(cursor: Cursor[DictRow], event: PublicEvent) -> None:
    """Turns one event into a job or a cancellation, in the transaction of the consumer's progress.

    An event that comes twice finds its job there already: the job has the event's id.
    """
    if event.type in {"ModelArchiveReceived", "ModelImportRetried"}:
        _enqueue(cursor, IMPORT, event)
    elif event.type in {"ModelImportCancelled", "ModelDeleted"}:
        request_cancellation(cursor, kind=IMPORT, model_id=UUID(event.model_id))
        _enqueue(cursor, CLEANUP, event)


def _enqueue(cursor: Cursor[DictRow], kind: str, event: PublicEvent) -> None:
    enqueue(
        cursor,
        kind=kind,
        job_id=UUID(event.event_id),
        model_id=UUID(event.model_id),
        payload={
            "event_id": event.event_id,
            "correlation_id": event.correlation_id,
            "position": event.position,
        },
    )
