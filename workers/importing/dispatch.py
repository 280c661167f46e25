"""Events that ask for work become jobs; what the work is about stays in the events."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow

from backend.contracts.codec import PublicEvent
from backend.infra.jobs import enqueue, request_cancellation
from workers.importing.residue import CLEANUP, IMPORT

CONSUMER = "import-dispatcher"


def handle(cursor: Cursor[DictRow], events: Sequence[PublicEvent]) -> None:
    """Turns events into jobs and cancellations, in the transaction of the consumer's progress.

    An event that comes twice finds its job there already: the job has the event's id.
    """
    for event in events:
        if event.model_id is None:
            continue
        if event.type in {"ModelArchiveReceived", "ModelImportRetried"}:
            _enqueue(cursor, IMPORT, event, UUID(event.model_id))
        elif event.type in {"ModelImportCancelled", "ModelDeleted"}:
            request_cancellation(cursor, kind=IMPORT, model_id=UUID(event.model_id))
            _enqueue(cursor, CLEANUP, event, UUID(event.model_id))


def _enqueue(cursor: Cursor[DictRow], kind: str, event: PublicEvent, model_id: UUID) -> None:
    enqueue(
        cursor,
        kind=kind,
        job_id=UUID(event.event_id),
        model_id=model_id,
        payload={
            "event_id": event.event_id,
            "correlation_id": event.correlation_id,
            "position": event.position,
        },
    )
