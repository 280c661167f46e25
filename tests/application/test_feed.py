"""What the store's tail tells is what the aggregates decided."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from google.protobuf.message import Message

from backend.application.feed import EventFeed
from backend.application.store import EventStore
from backend.domain.api_key import ApiKey
from backend.domain.events import Cause, caused_by
from backend.infra.settings import Settings
from tests.builders.histories import History, write

HEADER = {"originator_id", "originator_version", "timestamp", "event_id", "actor"}
HEADER |= {"correlation_id", "causation_id", "originator_topic"}


def in_message(value: Any, message: Message, field: str) -> bool:
    """Whether the message's field holds the value; None is an absent field."""
    if value is None:
        described = message.DESCRIPTOR.fields_by_name[field]
        if described.has_presence:
            return not message.HasField(field)
        return bool(getattr(message, field) == described.default_value)
    found = getattr(message, field)
    if isinstance(value, datetime):
        return bool(found.ToDatetime(tzinfo=UTC) == value)
    if isinstance(value, dict) and not isinstance(found, Message):
        return dict(found) == value  # a map
    if isinstance(value, dict):
        return all(in_message(inner, found, name) for name, inner in value.items())
    if isinstance(value, list) and value and isinstance(value[0], dict):
        pairs = zip(value, found, strict=True)
        return all(in_message(v, part, name) for one, part in pairs for name, v in one.items())
    if isinstance(value, list):
        return list(found) == [str(one) if isinstance(one, UUID) else one for one in value]
    return bool(found == (str(value) if isinstance(value, UUID) else value))


def test_what_is_published_is_what_was_decided(store: EventStore, settings: Settings) -> None:
    history = History(seed=31, models=12)
    decided = history.domain(800)
    with caused_by(Cause("user:ada", UUID(int=1))):
        key = ApiKey.create(
            model_id=UUID(int=2),
            name="until the end of the year",
            prefix="lgk_abcdef",
            sha256="f" * 64,
            expires_at=datetime(2026, 12, 31, 23, 59, tzinfo=UTC),
            requests_per_minute=None,
        )
        key.revoke()
    decided += key.collect_events()
    write(store, decided)
    read = EventFeed(store, settings.dsn).read_private(0, 2000)
    assert len(read) == len(decided)
    for position, (event, stored) in enumerate(zip(decided, read, strict=True), start=1):
        public = stored.public
        assert public.position == position
        assert public.time == event.timestamp
        assert public.actor == event.actor
        assert public.aggregate_id == str(event.originator_id)
        assert public.aggregate_version == event.originator_version
        assert UUID(public.event_id) == event.event_id
        assert UUID(public.correlation_id) == event.correlation_id
        assert (UUID(public.causation_id) if public.causation_id else None) == event.causation_id
        assert public.partition_key == str(getattr(event, "model_id", event.originator_id))
        facts = {name: value for name, value in vars(event).items() if name not in HEADER}
        assert set(stored.facts) == set(facts)
        for name, value in facts.items():
            if name != "sha256":
                assert in_message(value, public.message, name), f"{public.type}.{name}"
        assert "sha256" not in public.data


def test_private_facts_stay_with_the_store(store: EventStore, settings: Settings) -> None:
    write(store, History(seed=32, models=3).domain(300))
    keys = EventFeed(store, settings.dsn).read_private(0, 1000, ["ApiKeyCreated"])
    assert keys
    for stored in keys:
        assert stored.public.type == "ApiKeyCreated"
        assert len(stored.facts["sha256"]) == 64
        assert stored.facts["sha256"].encode() not in stored.public.message.SerializeToString()


def test_types_that_nobody_knows_are_not_all_types(store: EventStore, settings: Settings) -> None:
    write(store, History(seed=33, models=3).domain(50))
    assert EventFeed(store, settings.dsn).read(0, 1000, ["ModelTeleported"]) == []
