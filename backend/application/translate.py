"""The border between private domain events and public events. Nobody else knows both.

Events are read from the store as they were written there, without making domain objects: of what
goes out, nothing but ids and times needs another form.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import MISSING, fields
from datetime import datetime
from typing import Any

import msgspec
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from backend.contracts.codec import MESSAGES, PublicEvent
from backend.domain.api_key import ApiKey
from backend.domain.connection import Connection
from backend.domain.deployment import Deployment
from backend.domain.events import Aggregate
from backend.domain.import_batch import ImportBatch
from backend.domain.model import Model
from backend.domain.price_list import PriceList
from backend.domain.server import Server
from backend.domain.user import User

# Fields of the private events that never leave the store.
_HEADER = {field.name for field in fields(Aggregate.Created)}
_PRIVATE = {"sha256"}

# Most events are published under their topic.
_PUBLIC_NAMES = {
    "TermsAcceptedAgain": "TermsAccepted",
    "ConnectionSavedAgain": "ConnectionSaved",
    "ServerRegisteredAgain": "ServerRegistered",
    "PricesSetAgain": "PricesSet",
}

# A row of the event store: position, aggregate's id, its version, topic, state.
Row = tuple[int, str, int, str, bytes]


class _Shape(msgspec.Struct, frozen=True):
    """How the events of one topic are told."""

    event_class: type[Any]
    name: str
    message_class: type[Message]
    facts: tuple[str, ...]
    private: tuple[str, ...]
    times: tuple[str, ...]
    # What events lack that were written before a field came.
    defaults: dict[str, Any]
    version: int


def _shape(event_class: type[Any], name: str) -> _Shape:
    own = [field for field in fields(event_class) if field.name not in _HEADER]
    message_class = MESSAGES[name]
    return _Shape(
        event_class=event_class,
        name=name,
        message_class=message_class,
        facts=tuple(field.name for field in own),
        private=tuple(field.name for field in own if field.name in _PRIVATE),
        times=tuple(
            field.name
            for field in message_class.DESCRIPTOR.fields
            if field.message_type is not None
            and field.message_type.full_name == Timestamp.DESCRIPTOR.full_name
        ),
        defaults={field.name: field.default for field in own if field.default is not MISSING},
        version=getattr(event_class, "class_version", 1),
    )


_SHAPES: dict[str, _Shape] = {
    topic: _shape(member, name)
    for aggregate in (Model, ImportBatch, Deployment, ApiKey, User, Connection, Server, PriceList)
    for member in vars(aggregate).values()
    if isinstance(member, type)
    and (topic := getattr(member, "TOPIC", None))
    and (name := _PUBLIC_NAMES.get(topic, topic)) in MESSAGES
}


def tell(row: Row) -> tuple[PublicEvent, dict[str, Any]]:
    """The public form of a stored event, and all its facts, the private ones too, JSON-ready.

    An upcaster of the event's class finds ids and times as texts here.
    """
    position, aggregate_id, version, topic, written = row
    shape = _SHAPES[topic]
    state = _decode(written)
    for field, value in state.items():
        if type(value) is dict and "_type_" in value:
            state[field] = _text(value)
        elif type(value) is list and value and type(value[0]) is dict and "_type_" in value[0]:
            state[field] = [_text(item) for item in value]
    for old in range(state.pop("class_version", 1), shape.version):
        getattr(shape.event_class, f"upcast_v{old}_v{old + 1}")(state)
    if shape.defaults:
        state = shape.defaults | state
    facts = {field: state[field] for field in shape.facts}
    public = facts
    if shape.private or shape.times:
        public = {field: facts[field] for field in shape.facts if field not in shape.private}
        for field in shape.times:
            if public[field] is not None:
                public[field] = datetime.fromisoformat(public[field])
    event = PublicEvent(
        position=position,
        type=shape.name,
        time=datetime.fromisoformat(state["timestamp"]),
        actor=state["actor"],
        partition_key=state.get("model_id") or aggregate_id,
        aggregate_id=aggregate_id,
        aggregate_version=version,
        event_id=state["event_id"],
        correlation_id=state["correlation_id"],
        causation_id=state["causation_id"],
        message=shape.message_class(**public),
    )
    return event, facts


def topics_of(names: Collection[str]) -> list[str]:
    """The store's topics of these public event types."""
    return [topic for topic, shape in _SHAPES.items() if shape.name in names]


def _text(written: dict[str, str]) -> str:
    return _TEXTS[written["_type_"]](written["_data_"])


def _dashed(hexadecimal: str) -> str:
    h = hexadecimal
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def _as_it_is(text: str) -> str:
    return text


# The event-sourcing library writes `{"_type_": "uuid_hex", "_data_": "..."}`.
_TEXTS: dict[str, Callable[[str], str]] = {"uuid_hex": _dashed, "datetime_iso": _as_it_is}

_decode = msgspec.json.Decoder(dict[str, Any]).decode
