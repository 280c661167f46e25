"""Public events as Kafka records: protobuf value, CloudEvents headers, model id as key.

Binding: CloudEvents 1.0, Kafka protocol binding, binary content mode. Loggia's own headers begin
with `loggia-`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from backend.contracts.generated.loggia.events.v1 import access_pb2, deployment_pb2, model_pb2

TYPE_PREFIX = "loggia.events.v1."
SOURCE = "/loggia"
CONTENT_TYPE = b"application/protobuf"

MESSAGES: dict[str, type[Message]] = {
    name: getattr(module, name)
    for module in (model_pb2, deployment_pb2, access_pb2)
    for name in module.DESCRIPTOR.message_types_by_name
}


class MalformedEvent(Exception):
    """The record is not an event of this contract; the text says why."""


@dataclass(frozen=True)
class PublicEvent:
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

    @cached_property
    def data(self) -> dict[str, Any]:
        """The facts, as a JSON object with the field names of `proto/`; absent fields are None."""
        return to_dict(self.message)


Headers = list[tuple[str, bytes]]


def encode(event: PublicEvent, previous_position: int | None = None) -> tuple[bytes, Headers]:
    """The record's value and headers; the previous position is the event's own unless given."""
    previous = event.previous_position if previous_position is None else previous_position
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event.event_id.encode()),
        ("ce_type", f"{TYPE_PREFIX}{event.type}".encode()),
        ("ce_source", SOURCE.encode()),
        ("ce_subject", event.aggregate_id.encode()),
        ("ce_time", event.time.isoformat().encode()),
        ("content-type", CONTENT_TYPE),
        ("loggia-position", b"%d" % event.position),
        ("loggia-previous-position", b"%d" % previous),
        ("loggia-aggregate-version", b"%d" % event.aggregate_version),
        ("loggia-actor", event.actor.encode()),
        ("loggia-correlation-id", event.correlation_id.encode()),
    ]
    if event.causation_id is not None:
        headers.append(("loggia-causation-id", event.causation_id.encode()))
    return event.message.SerializeToString(deterministic=True), headers


def decode(
    key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
) -> PublicEvent:
    """The event in a record. Raises `MalformedEvent`."""
    try:
        fields = dict(headers)
        name = fields["ce_type"].decode()
        if not name.startswith(TYPE_PREFIX):
            raise MalformedEvent(f"the type '{name}' is not of this contract")
        short = name[len(TYPE_PREFIX) :]
        if short not in MESSAGES:
            raise MalformedEvent(f"the type '{name}' is unknown to this version")
        causation = fields.get("loggia-causation-id")
        return PublicEvent(
            position=int(fields["loggia-position"]),
            type=short,
            time=datetime.fromisoformat(fields["ce_time"].decode()),
            actor=fields["loggia-actor"].decode(),
            partition_key=(key or b"").decode(),
            aggregate_id=fields["ce_subject"].decode(),
            aggregate_version=int(fields["loggia-aggregate-version"]),
            event_id=fields["ce_id"].decode(),
            correlation_id=fields["loggia-correlation-id"].decode(),
            causation_id=causation.decode() if causation else None,
            message=MESSAGES[short].FromString(value or b""),
            previous_position=int(fields["loggia-previous-position"]),
        )
    except KeyError as error:
        raise MalformedEvent(f"the header {error} is missing") from error
    except (ValueError, DecodeError) as error:
        raise MalformedEvent(str(error)) from error


def position_of(headers: Iterable[tuple[str, bytes]]) -> int:
    """The position in a record's headers. Raises `MalformedEvent`."""
    for name, value in headers:
        if name == "loggia-position":
            try:
                return int(value)
            except ValueError as error:
                raise MalformedEvent(f"the position {value!r} is not a number") from error
    raise MalformedEvent("the header 'loggia-position' is missing")


def to_dict(message: Message) -> dict[str, Any]:
    """A message as JSON-ready values.

    Unlike the library's own conversion, 64-bit integers stay numbers, and unset optional fields
    are present as None, so that readers need no defaults. Of alternatives only the chosen one is
    there.
    """
    result: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                result[field.name] = dict(sorted(value.items()))
            else:
                result[field.name] = [_plain(item) for item in value]
        elif field.has_presence and not message.HasField(field.name):
            if not _is_alternative(field):
                result[field.name] = None
        else:
            result[field.name] = _plain(value)
    return result


def _is_alternative(field: Any) -> bool:
    # An optional field is the only member of a group that the compiler makes for it.
    group = field.containing_oneof
    return group is not None and group.name != f"_{field.name}"


def _plain(value: Any) -> Any:
    if isinstance(value, Timestamp):
        return value.ToDatetime(tzinfo=UTC).isoformat()
    return to_dict(value) if isinstance(value, Message) else value
