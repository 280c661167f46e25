"""What a command would write, told without writing it."""

from __future__ import annotations

from typing import Any

from backend.application.store import EventStore
from backend.application.translate import tell
from backend.domain.events import Aggregate


def pending(store: EventStore, aggregate: Aggregate) -> list[dict[str, Any]]:
    """The aggregate's events that nobody has written, in public form, as `{"type", "data"}`."""
    told = []
    for event in aggregate.pending_events:
        stored = store.mapper.to_stored_event(event)
        row = (0, str(aggregate.id), stored.originator_version, stored.topic, stored.state)
        public, _ = tell(row)
        told.append({"type": public.type, "data": public.data})
    return told
