"""Events that ask for work become jobs; what the work is about stays in the events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow

from backend.contracts.codec import PublicEvent
from backend.domain.origins import UPLOAD
from backend.infra.jobs import enqueue, request_cancellation
from backend.infra.stored_bytes import IMPORT
from workers.importing.residue import CLEANUP

CONSUMER = "import-dispatcher"

_REQUESTED = {"ModelImportRequested", "ModelVersionRequested"}
# An upload's import begins when its last byte is there.
_BEGUN = {"ModelArchiveReceived", "ModelImportRetried"}


def handle(cursor: Cursor[DictRow], events: Sequence[PublicEvent]) -> None:
    """Turns events into jobs and cancellations, in the transaction of the consumer's progress.

    An event that comes twice finds its job there already: the job has the event's id.
    """
    for event in events:
        if event.model_id is None:
            continue
        facts: Any = event.message
        if event.type in _BEGUN or (event.type in _REQUESTED and facts.source != UPLOAD):
            _enqueue(cursor, IMPORT, event, {"version": facts.version})
        elif event.type == "ModelImportCancelled":
            version = {"version": facts.version}
            request_cancellation(
                cursor, kind=IMPORT, model_id=UUID(event.model_id), payload=version
            )
            _enqueue(cursor, CLEANUP, event, version)
        elif event.type == "ModelDeleted":
            request_cancellation(cursor, kind=IMPORT, model_id=UUID(event.model_id))
            _enqueue(cursor, CLEANUP, event, {})


def _enqueue(cursor: Cursor[DictRow], kind: str, event: PublicEvent, about: dict[str, str]) -> None:
    enqueue(
        cursor,
        kind=kind,
        job_id=UUID(event.event_id),
        model_id=UUID(event.model_id or ""),
        payload={
            "event_id": event.event_id,
            "correlation_id": event.correlation_id,
            "position": event.position,
            **about,
        },
    )
