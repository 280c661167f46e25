"""What every event carries, and how an aggregate gets hold of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from eventsourcing.domain import Aggregate as BaseAggregate


@dataclass(frozen=True)
class Cause:
    """Who asked, and within which chain of commands and events."""

    actor: str
    correlation_id: UUID
    causation_id: UUID | None = None


_cause: ContextVar[Cause] = ContextVar("cause")


@contextmanager
def caused_by(cause: Cause) -> Iterator[None]:
    """Events triggered inside the block carry this cause."""
    token = _cause.set(cause)
    try:
        yield
    finally:
        _cause.reset(token)


def event_header() -> dict[str, Any]:
    """The fields that every event has besides its facts."""
    cause = _cause.get()
    return {
        "event_id": uuid4(),
        "actor": cause.actor,
        "correlation_id": cause.correlation_id,
        "causation_id": cause.causation_id,
    }


class Aggregate(BaseAggregate):
    """An aggregate whose events say who caused them.

    Every event class has an explicit topic, so that moving a module never breaks reading.
    """

    class Event(BaseAggregate.Event):
        event_id: UUID
        actor: str
        correlation_id: UUID
        causation_id: UUID | None

    class Created(Event, BaseAggregate.Created):
        """The first event of an aggregate."""

    def record(self, event_class: type[Any], **facts: Any) -> None:
        """Triggers an event with the cause in force."""
        self.trigger_event(event_class, **event_header(), **facts)

    @property
    def state_for_caller(self) -> dict[str, Any]:
        """The current state, for the body of a conflict answer."""
        return {"id": str(self.id), "version": self.version}
