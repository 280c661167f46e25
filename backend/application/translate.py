"""The border between private domain events and public events. Nobody else knows both."""

from __future__ import annotations

from dataclasses import fields
from typing import Any
from uuid import UUID

from google.protobuf.message import Message

from backend.contracts.codec import MESSAGES, PublicEvent
from backend.domain.api_key import ApiKey
from backend.domain.connection import Connection
from backend.domain.deployment import Deployment
from backend.domain.events import Aggregate
from backend.domain.import_batch import ImportBatch
from backend.domain.model import Model
from backend.domain.user import User

# Fields of the private events that never leave the store.
_HEADER = {field.name for field in fields(Aggregate.Created)}
_PRIVATE = {"sha256"}

# Most events are published under their topic.
_PUBLIC_NAMES = {
    "TermsAcceptedAgain": "TermsAccepted",
    "ConnectionSavedAgain": "ConnectionSaved",
}


def _public_name(event_class: type[Any]) -> str | None:
    topic: str | None = getattr(event_class, "TOPIC", None)
    return _PUBLIC_NAMES.get(topic, topic) if topic else None


def _event_classes() -> list[type[Any]]:
    return [
        member
        for aggregate in (Model, ImportBatch, Deployment, ApiKey, User, Connection)
        for member in vars(aggregate).values()
        if isinstance(member, type) and _public_name(member) in MESSAGES
    ]


_NAMES: dict[type[Any], str] = {
    cls: name for cls in _event_classes() if (name := _public_name(cls))
}
_FACTS: dict[type[Any], list[str]] = {
    cls: [f.name for f in fields(cls) if f.name not in _HEADER] for cls in _NAMES
}


def private_facts(event: Any) -> dict[str, Any]:
    """Every fact of a domain event, the private ones too, as JSON-ready values."""
    return {name: _plain(getattr(event, name)) for name in _FACTS[type(event)]}


def publish(event: Any, position: int) -> PublicEvent:
    """The public form of a domain event at this position."""
    name = _NAMES[type(event)]
    facts = {
        field: _value(getattr(event, field))
        for field in _FACTS[type(event)]
        if field not in _PRIVATE
    }
    message: Message = MESSAGES[name](**facts)
    causation = event.causation_id
    return PublicEvent(
        position=position,
        type=name,
        time=event.timestamp,
        actor=event.actor,
        partition_key=str(event.model_id if hasattr(event, "model_id") else event.originator_id),
        aggregate_id=str(event.originator_id),
        aggregate_version=event.originator_version,
        event_id=str(event.event_id),
        correlation_id=str(event.correlation_id),
        causation_id=str(causation) if causation else None,
        message=message,
    )


def described(event: Any) -> dict[str, Any]:
    """A domain event that has no position yet: its public type and facts."""
    public = publish(event, 0)
    return {"type": public.type, "data": public.data}


def topics_of(names: list[str]) -> list[str]:
    """The store's topics of these public event types."""
    return [cls.TOPIC for cls, name in _NAMES.items() if name in names]


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(item) for item in value]
    return str(value) if isinstance(value, UUID) else value


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, UUID):
        return str(value)
    return value.isoformat() if hasattr(value, "isoformat") else value
