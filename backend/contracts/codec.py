"""Public events as Kafka records: protobuf value, CloudEvents headers, model id as key.

Binding: CloudEvents 1.0, Kafka protocol binding, binary content mode. Loggia's own headers begin
with `loggia-`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import Enum, auto
from functools import cache
from typing import Any

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from backend.contracts.generated.loggia.events.v1 import (
    access_pb2,
    deployment_pb2,
    model_pb2,
    prices_pb2,
    server_pb2,
)

TYPE_PREFIX = "loggia.events.v1."
_CONTRACTS = "loggia.events.v"
SOURCE = "/loggia"
CONTENT_TYPE = b"application/protobuf"

MESSAGES: dict[str, type[Message]] = {
    name: getattr(module, name)
    for module in (model_pb2, deployment_pb2, access_pb2, server_pb2, prices_pb2)
    for name in module.DESCRIPTOR.message_types_by_name
}


class MalformedEvent(Exception):
    """The record is not an event of this contract; the text says why."""


class PublicEvent(msgspec.Struct, frozen=True, gc=False):
    """One event as the world outside sees it.

    `type` is the short name, such as `ModelPublished`; `position` is its number in the event
    store; `previous_position` that of the event before it on the same partition (0 where there
    is none, or where the event was read from the store).
    """

    position: int
    type: str
    time: datetime
    actor: str
    partition_key: str
    aggregate_id: str
    aggregate_version: int
    event_id: str
    correlation_id: str
    causation_id: str | None
    message: Message
    previous_position: int = 0

    @property
    def model_id(self) -> str | None:
        """The model that the event is about; None for events about people."""
        return getattr(self.message, "model_id", None)

    @property
    def data(self) -> dict[str, Any]:
        """The facts, as a JSON object with the field names of `proto/`; absent fields are None."""
        return to_dict(self.message)


Header = tuple[str, bytes]
Headers = list[Header]

_SPEC_VERSION: Header = ("ce_specversion", b"1.0")
_SOURCE: Header = ("ce_source", SOURCE.encode())
_CONTENT_TYPE: Header = ("content-type", CONTENT_TYPE)
_TYPES: dict[str, Header] = {
    name: ("ce_type", f"{TYPE_PREFIX}{name}".encode()) for name in MESSAGES
}
# Also headers without a value.
_UNREADABLE = (ValueError, TypeError, AttributeError, DecodeError)
_SHORT_NAMES: dict[bytes, str] = {value: name for name, (_, value) in _TYPES.items()}


def encode(event: PublicEvent, previous_position: int | None = None) -> tuple[bytes, Headers]:
    """The record's value and headers; the previous position is the event's own unless given."""
    previous = event.previous_position if previous_position is None else previous_position
    headers = [
        _SPEC_VERSION,
        ("ce_id", event.event_id.encode()),
        _TYPES[event.type],
        _SOURCE,
        ("ce_subject", event.aggregate_id.encode()),
        ("ce_time", event.time.isoformat().encode()),
        _CONTENT_TYPE,
        ("loggia-position", b"%d" % event.position),
        ("loggia-previous-position", b"%d" % previous),
        ("loggia-aggregate-version", b"%d" % event.aggregate_version),
        ("loggia-actor", event.actor.encode()),
        ("loggia-correlation-id", event.correlation_id.encode()),
    ]
    if event.causation_id is not None:
        headers.append(("loggia-causation-id", event.causation_id.encode()))
    return event.message.SerializeToString(deterministic=True), headers


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What a record's headers say, before its facts are decoded."""

    type: str
    position: int
    previous_position: int
    headers: dict[str, bytes]


def open_envelope(headers: Iterable[Header]) -> Envelope:
    """The envelope of a record. Raises `MalformedEvent`."""
    fields = dict(headers)
    try:
        name = fields["ce_type"]
        short = _SHORT_NAMES.get(name)
        if short is None:
            raise MalformedEvent(_unknown(name.decode()))
        return Envelope(
            short, int(fields["loggia-position"]), int(fields["loggia-previous-position"]), fields
        )
    except KeyError as error:
        raise MalformedEvent(f"the header {error} is missing") from error
    except _UNREADABLE as error:
        raise MalformedEvent(str(error)) from error


def _unknown(name: str) -> str:
    if name.startswith(TYPE_PREFIX):
        return f"the type '{name}' is unknown to this version"
    if name.startswith(_CONTRACTS):
        return f"the type '{name}' is of a version of the contract that is unknown here"
    return f"the type '{name}' is not of this contract"


def decode_envelope(envelope: Envelope, key: bytes | None, value: bytes | None) -> PublicEvent:
    """The whole event of a record whose envelope is open. Raises `MalformedEvent`."""
    fields = envelope.headers
    try:
        causation = fields.get("loggia-causation-id")
        return PublicEvent(
            position=envelope.position,
            type=envelope.type,
            time=datetime.fromisoformat(fields["ce_time"].decode()),
            actor=fields["loggia-actor"].decode(),
            partition_key=(key or b"").decode(),
            aggregate_id=fields["ce_subject"].decode(),
            aggregate_version=int(fields["loggia-aggregate-version"]),
            event_id=fields["ce_id"].decode(),
            correlation_id=fields["loggia-correlation-id"].decode(),
            causation_id=causation.decode() if causation else None,
            message=MESSAGES[envelope.type].FromString(value or b""),
            previous_position=envelope.previous_position,
        )
    except KeyError as error:
        raise MalformedEvent(f"the header {error} is missing") from error
    except _UNREADABLE as error:
        raise MalformedEvent(str(error)) from error


def decode(key: bytes | None, value: bytes | None, headers: Iterable[Header]) -> PublicEvent:
    """The event in a record. Raises `MalformedEvent`."""
    return decode_envelope(open_envelope(headers), key, value)


def position_of(headers: Iterable[tuple[str, bytes]]) -> int:
    """The position in a record's headers. Raises `MalformedEvent`."""
    for name, value in headers:
        if name == "loggia-position":
            try:
                return int(value)
            except (ValueError, TypeError) as error:
                raise MalformedEvent(f"the position {value!r} is not a number") from error
    raise MalformedEvent("the header 'loggia-position' is missing")


def to_dict(message: Message) -> dict[str, Any]:
    """A message as JSON-ready values.

    Unlike the library's own conversion, 64-bit integers stay numbers, and unset optional fields
    are present as None, so that readers need no defaults. Of alternatives only the chosen one is
    there.
    """
    found: dict[str, Any] = {}
    for name, presence, plain in _fields(message.DESCRIPTOR):
        if presence is _Presence.ALWAYS or message.HasField(name):
            found[name] = plain(getattr(message, name))
        elif presence is _Presence.OPTIONAL:
            found[name] = None
    return found


class _Presence(Enum):
    ALWAYS = auto()
    OPTIONAL = auto()
    # One of several, of which one is there.
    ALTERNATIVE = auto()


@cache
def _fields(descriptor: Descriptor) -> list[tuple[str, _Presence, Callable[[Any], Any]]]:
    """Each field's name, whether it may be absent, and what makes its value plain."""
    found: list[tuple[str, _Presence, Callable[[Any], Any]]] = []
    for field in descriptor.fields:
        kind = field.message_type
        plain: Callable[[Any], Any] = _as_it_is
        if kind is not None:
            plain = _moment if kind.full_name == _TIMESTAMP else to_dict
        if kind is not None and kind.GetOptions().map_entry:
            plain = _sorted
        elif field.is_repeated:
            plain = _list_of(plain)
        found.append((field.name, _presence(field), plain))
    return found


def _presence(field: FieldDescriptor) -> _Presence:
    if field.is_repeated or not field.has_presence:
        return _Presence.ALWAYS
    # An optional field is the only member of a group that the compiler makes for it.
    group = field.containing_oneof
    chosen = group is not None and group.name != f"_{field.name}"
    return _Presence.ALTERNATIVE if chosen else _Presence.OPTIONAL


_TIMESTAMP = Timestamp.DESCRIPTOR.full_name


def _as_it_is(value: Any) -> Any:
    return value


def _moment(value: Timestamp) -> str:
    return value.ToDatetime(tzinfo=UTC).isoformat()


def _sorted(value: Any) -> dict[Any, Any]:
    return dict(sorted(value.items()))


def _list_of(plain: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    if plain is _as_it_is:
        return list
    return lambda values: [plain(value) for value in values]
