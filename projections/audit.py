"""The audit index: every event, to be searched by model, person, type and time."""

from __future__ import annotations

from typing import Any

from backend.contracts.codec import MESSAGES, PublicEvent
from projections.tables import Fold, Handlers, Rows, Table

EVENTS = Table(
    name="events",
    columns={
        "position": "bigint",
        "type": "text NOT NULL",
        "time": "timestamptz NOT NULL",
        "actor": "text NOT NULL",
        "model_id": "uuid",
        "aggregate_id": "uuid NOT NULL",
        "aggregate_version": "bigint NOT NULL",
        "event_id": "uuid NOT NULL",
        "correlation_id": "uuid NOT NULL",
        "causation_id": "uuid",
        "data": "jsonb NOT NULL",
    },
    key=("position",),
    group=None,
    indexes=("(model_id, position)", "(actor, position)", "(type, position)", "(time)"),
)


def _record(rows: Rows, event: PublicEvent, _facts: Any) -> None:
    rows.insert(
        EVENTS,
        {
            "position": event.position,
            "type": event.type,
            "time": event.time.isoformat(),
            "actor": event.actor,
            "model_id": event.model_id,
            "aggregate_id": event.aggregate_id,
            "aggregate_version": event.aggregate_version,
            "event_id": event.event_id,
            "correlation_id": event.correlation_id,
            "causation_id": event.causation_id,
            "data": event.data,
        },
    )


AUDIT = Handlers(
    name="audit",
    description="Every event, searchable",
    tables=(EVENTS,),
    folds={event_type: Fold(_record, ()) for event_type in MESSAGES},
)
