"""Connections: a name for credentials that nobody sees again."""

from __future__ import annotations

import pytest

from backend.application.commands import CommandContext, CommandRunner
from backend.application.connections import Connections
from backend.application.feed import EventFeed
from backend.application.store import EventStore
from backend.domain.errors import Invalid, NotFound
from backend.infra.connections import ConnectionStore, Seal, SecretUnreadable
from backend.infra.postgres import Pool
from backend.infra.settings import Settings

ADA = CommandContext(actor="user:ada")
SECRET = "hf_veryS3cretToken"


@pytest.fixture
def seal(settings: Settings) -> Seal:
    return Seal(settings.secret_key)


@pytest.fixture
def connections(runner: CommandRunner, seal: Seal) -> Connections:
    return Connections(runner, seal)


@pytest.fixture
def stored(pool: Pool, seal: Seal) -> ConnectionStore:
    return ConnectionStore(pool, seal)


def save(connections: Connections, name: str = "hub", secret: str | None = SECRET) -> None:
    connections.save(
        ADA, name=name, kind="huggingface", endpoint="https://hub.example/", secret=secret
    )


def test_the_secret_comes_back_by_name_only(
    connections: Connections, stored: ConnectionStore
) -> None:
    save(connections)
    found = stored.get("HUB")
    assert found is not None
    assert (found.secret, found.endpoint) == (SECRET, "https://hub.example")
    assert SECRET not in repr(found)
    assert [(each.name, each.secret) for each in stored.all()] == [("hub", None)]


def test_the_secret_is_in_no_event_and_in_no_row(
    connections: Connections, store: EventStore, pool: Pool
) -> None:
    save(connections)
    events = store.recorder.select_notifications(start=1, limit=10)
    assert all(SECRET.encode() not in event.state for event in events)
    with pool.connection() as connection:
        row = connection.execute("SELECT c::text AS row FROM loggia.connections AS c").fetchone()
    assert row is not None
    assert SECRET not in row["row"]
    assert SECRET.encode().hex() not in row["row"]


def test_saving_again_replaces_everything(
    connections: Connections, stored: ConnectionStore, store: EventStore, settings: Settings
) -> None:
    save(connections)
    save(connections, "Hub", None)
    found = stored.get("hub")
    assert found is not None
    assert (found.name, found.secret) == ("Hub", None)
    events = EventFeed(store, settings.dsn).read(0, 10)
    assert [event.type for event in events] == ["ConnectionSaved", "ConnectionSaved"]
    assert events[1].data["name"] == "Hub"


def test_a_removed_connection_is_gone_and_its_name_is_free(
    connections: Connections, stored: ConnectionStore
) -> None:
    save(connections)
    connections.remove(ADA, "hub")
    assert stored.get("hub") is None
    with pytest.raises(NotFound, match="no connection 'hub'"):
        connections.remove(ADA, "hub")
    save(connections)
    assert stored.get("hub") is not None


def test_a_sealed_secret_opens_for_its_own_connection_only(
    connections: Connections, stored: ConnectionStore, pool: Pool
) -> None:
    save(connections)
    save(connections, "other", "something else")
    with pool.connection() as connection:
        connection.execute(
            "UPDATE loggia.connections SET sealed_secret = (SELECT sealed_secret "
            "FROM loggia.connections WHERE name = 'hub') WHERE name = 'other'"
        )
    with pytest.raises(SecretUnreadable):
        stored.get("other")
    with pytest.raises(SecretUnreadable):
        ConnectionStore(pool, Seal(b"another server's key")).get("hub")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "no spaces"),
        ("name", ""),
        ("kind", "ftp"),
        ("endpoint", "hub.example"),
        ("endpoint", "https://user:password@hub.example"),
        ("endpoint", "file:///etc/passwd"),
    ],
)
def test_what_cannot_be_a_connection_is_refused_by_field(
    connections: Connections, stored: ConnectionStore, field: str, value: str
) -> None:
    facts = {"name": "hub", "kind": "http", "endpoint": "https://hub.example", field: value}
    with pytest.raises(Invalid) as refusal:
        connections.save(ADA, secret=SECRET, **facts)
    assert refusal.value.field == field
    assert SECRET not in str(refusal.value)
    assert stored.all() == []
