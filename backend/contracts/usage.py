"""Records of `loggia.usage.v1`: what answers took, as Kafka records and back.

Binding: CloudEvents 1.0, Kafka protocol binding, binary content mode.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from google.protobuf.message import DecodeError

from backend.contracts.codec import CONTENT_TYPE, Header, Headers, MalformedEvent
from backend.contracts.generated.loggia.usage.v1.usage_pb2 import RequestAnswered

# More than any honest record has, and little enough that sums of records cannot overflow.
MOST = 2**40
_LAST = 2**60
_TYPE = RequestAnswered.DESCRIPTOR.full_name.encode()
_FIXED: Headers = [
    ("ce_specversion", b"1.0"),
    ("ce_type", _TYPE),
    ("ce_source", b"/loggia/gateway"),
    ("content-type", CONTENT_TYPE),
]
_COUNTS = ("input_tokens", "output_tokens", "milliseconds", "lost_before", "engine_seconds",
           "accelerator_seconds")  # fmt: skip


def headers_of(record: RequestAnswered) -> Headers:
    """The headers that travel with a record."""
    return [
        *_FIXED,
        ("ce_id", identity(record).encode()),
        ("ce_subject", record.model_id.encode()),
        ("ce_time", record.time.ToJsonString().encode()),
    ]


def identity(record: RequestAnswered) -> str:
    """What tells the record from every other one, and is the same when it comes again."""
    return f"{record.source}/{record.sequence}"


def decode(value: bytes | None, headers: Iterable[Header]) -> RequestAnswered:
    """The record that was read; its numbers and ids are sound. Raises `MalformedEvent`."""
    found = dict(headers).get("ce_type")
    if found != _TYPE:
        raise MalformedEvent(f"the type {found!r} is unknown to this version")
    try:
        record = RequestAnswered.FromString(value or b"")
        UUID(record.model_id)
        if record.HasField("key_id"):
            UUID(record.key_id)
        record.time.ToDatetime()
    except (DecodeError, ValueError, OverflowError) as error:
        raise MalformedEvent(str(error)) from error
    if not (record.HasField("time") and record.source and 1 <= record.sequence < _LAST):
        raise MalformedEvent("the record does not say whose and which it is, or when")
    for name in _COUNTS:
        if not 0 <= getattr(record, name) < MOST:  # also where it is not a number
            raise MalformedEvent(f"{name} is {getattr(record, name)}")
    return record
