"""The event store: the event-sourcing library's application on PostgreSQL.

Two things are added to the library's recorder: positions without gaps, and statements that commit
together with the events (idempotency keys, unique names, credentials, fences).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.persistence import IntegrityError, OperationalError, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import Cursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier

from backend.domain.api_key import ApiKey
from backend.domain.connection import Connection
from backend.domain.deployment import Deployment
from backend.domain.errors import NotFound
from backend.domain.events import Aggregate
from backend.domain.import_batch import ImportBatch
from backend.domain.model import Model
from backend.domain.user import User
from backend.infra.settings import Settings

SCHEMA = "loggia"
TABLE = "loggia_events"

# Runs in the transaction of the events, before them. May raise to undo everything.
InTransaction = Callable[[Cursor[DictRow]], None]

A = TypeVar("A", bound=Aggregate)

AGGREGATES: tuple[type[Aggregate], ...] = (
    Model,
    ImportBatch,
    Deployment,
    ApiKey,
    User,
    Connection,
)


class StoreUnavailable(Exception):
    """PostgreSQL did not answer in time; nothing was written, or the answer was lost."""


class Recorder(PostgresApplicationRecorder):
    """Assigns positions under the table's lock, so that a failed attempt burns none."""

    def __init__(self, datastore: PostgresDatastore, *, events_table_name: str) -> None:
        super().__init__(datastore, events_table_name=events_table_name)
        self.insert_events_statement = SQL(
            "INSERT INTO {schema}.{table} AS t "
            "(originator_id, originator_version, topic, state, notification_id) "
            "SELECT e.originator_id, e.originator_version, e.topic, e.state, "
            "last.id + e.ordinality "
            "FROM unnest(%s::{schema}.{type}[]) WITH ORDINALITY AS e, "
            "(SELECT COALESCE(MAX(notification_id), 0) AS id FROM {schema}.{table}) AS last "
            "RETURNING notification_id"
        ).format(
            schema=Identifier(datastore.schema),
            table=Identifier(events_table_name),
            type=Identifier(self.stored_event_type_name),
        )

    def _insert_events(
        self,
        curs: Cursor[DictRow],
        stored_events: Sequence[StoredEvent],  # noqa: ARG002 (the library passes it by name)
        *,
        within: Sequence[InTransaction] = (),
        **_: Any,
    ) -> None:
        for statement in within:
            statement(curs)


RECORDER_TOPIC = f"{Recorder.__module__}:{Recorder.__qualname__}"


class EventStore(Application[UUID]):
    """Loads and saves aggregates; the only place where events are written."""

    name = "loggia"
    recorder: Recorder

    def __init__(self, settings: Settings, *, pool_size: int = 2) -> None:
        database = conninfo_to_dict(settings.dsn)
        super().__init__(
            env={
                # With the application's name before them, so that no variable of the process's
                # own environment can take their place.
                "LOGGIA_PERSISTENCE_MODULE": "eventsourcing.postgres",
                "LOGGIA_APPLICATION_RECORDER_TOPIC": RECORDER_TOPIC,
                "LOGGIA_CREATE_TABLE": "n",
                "LOGGIA_POSTGRES_DBNAME": str(database.get("dbname", "loggia")),
                "LOGGIA_POSTGRES_HOST": str(database.get("host", "127.0.0.1")),
                "LOGGIA_POSTGRES_PORT": str(database.get("port", 5432)),
                "LOGGIA_POSTGRES_USER": str(database.get("user", "loggia")),
                "LOGGIA_POSTGRES_PASSWORD": str(database.get("password", "")),
                "LOGGIA_POSTGRES_SCHEMA": SCHEMA,
                "LOGGIA_POSTGRES_POOL_SIZE": str(pool_size),
                "LOGGIA_POSTGRES_MAX_OVERFLOW": "14",
                "LOGGIA_POSTGRES_CONNECT_TIMEOUT": "10",
                "LOGGIA_POSTGRES_LOCK_TIMEOUT": "1",
                "LOGGIA_POSTGRES_IDLE_IN_TRANSACTION_SESSION_TIMEOUT": "15",
            }
        )

    def load(self, aggregate_class: type[A], aggregate_id: UUID) -> A:
        """The aggregate as it is now. Raises `NotFound`, also where the id is another kind's."""
        found = self.find(aggregate_class, aggregate_id)
        if found is None:
            noun = aggregate_class.__name__
            raise NotFound(
                f"There is no {_NOUNS.get(noun, noun.lower())} {aggregate_id}.",
                remedy="Check the id, or reload the list.",
            )
        return found

    def find(self, aggregate_class: type[A], aggregate_id: UUID) -> A | None:
        """The aggregate as it is now, or None."""
        try:
            aggregate: object = self.repository.get(aggregate_id)
        except AggregateNotFoundError:
            return None
        return aggregate if isinstance(aggregate, aggregate_class) else None

    def commit(
        self, aggregates: Sequence[Aggregate], within: Sequence[InTransaction] = ()
    ) -> int | None:
        """Writes the pending events and the statements in one transaction.

        Returns the last position written, or None where there was no event. Raises
        `eventsourcing.persistence.IntegrityError` where an aggregate has changed meanwhile or a
        statement met a unique key, and `StoreUnavailable`.
        """
        try:
            recordings = self.save(*aggregates, within=within)
        except OperationalError as error:
            raise StoreUnavailable(str(error)) from error
        return recordings[-1].notification.id if recordings else None

    def position_of(self, aggregate_id: UUID, version: int) -> int:
        """The position of an aggregate's event."""
        with self.recorder.datastore.get_connection() as connection:
            row = connection.execute(
                SQL(
                    "SELECT notification_id FROM {}.{} "
                    "WHERE originator_id = %s AND originator_version = %s"
                ).format(Identifier(SCHEMA), Identifier(TABLE)),
                (aggregate_id, version),
            ).fetchone()
        return int(row["notification_id"]) if row else 0


_NOUNS = {"ApiKey": "API key", "ImportBatch": "batch of imports"}

__all__ = ["AGGREGATES", "EventStore", "InTransaction", "IntegrityError", "StoreUnavailable"]
