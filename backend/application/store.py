"""The event store: the event-sourcing library's application on PostgreSQL, for reading.

Written is by `backend.application.group_commit` alone, which assigns positions without gaps.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.persistence import (
    InfrastructureFactory,
    InterfaceError,
    OperationalError,
    Recording,
)
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresFactory
from eventsourcing.utils import Environment
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Identifier
from psycopg_pool import PoolTimeout

from backend.application.group_commit import GroupCommit, InTransaction, StoreUnavailable
from backend.domain.api_key import ApiKey
from backend.domain.connection import Connection
from backend.domain.deployment import Deployment
from backend.domain.errors import NotFound
from backend.domain.events import Aggregate
from backend.domain.import_batch import ImportBatch
from backend.domain.model import Model
from backend.domain.price_list import PriceList
from backend.domain.server import Server
from backend.domain.user import User
from backend.infra.postgres import TIME_OUTS, UNREACHABLE
from backend.infra.settings import Settings

SCHEMA = "loggia"
TABLE = "loggia_events"

_CONNECT_SECONDS = 5
_MOST_CONNECTIONS = 16

_TIMED_OUT = (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable, PoolTimeout)

A = TypeVar("A", bound=Aggregate)
M = TypeVar("M", bound=Callable[..., Any])

AGGREGATES: tuple[type[Aggregate], ...] = (
    Model,
    ImportBatch,
    Deployment,
    ApiKey,
    User,
    Connection,
    Server,
    PriceList,
)


def _asked_once(method: M) -> M:
    """The library's method, asked again only where a connection turns out to be broken.

    The library itself asks ten times, also after a time-out.
    """
    ask = inspect.unwrap(method)

    @wraps(ask)
    def asked(*args: Any, **options: Any) -> Any:
        for _ in range(_MOST_CONNECTIONS):
            try:
                return ask(*args, **options)
            except (InterfaceError, OperationalError) as error:
                if isinstance(error.__cause__, _TIMED_OUT):
                    raise
        return ask(*args, **options)

    return asked  # type: ignore[return-value]


class Recorder(PostgresApplicationRecorder):
    """Reads events, each time within the time-outs."""

    select_events = _asked_once(PostgresApplicationRecorder.select_events)
    select_notifications = _asked_once(PostgresApplicationRecorder.select_notifications)
    max_notification_id = _asked_once(PostgresApplicationRecorder.max_notification_id)

    @_asked_once
    def select_rows(
        self, after: int, limit: int, topics: Sequence[str] | None = None
    ) -> list[tuple[int, str, int, str, bytes]]:
        """Position, aggregate's id, its version, topic and state of the events behind a position.

        Where `topics` is given, of these topics only.
        """
        chosen = SQL("" if topics is None else "AND topic = ANY(%(topics)s)")
        with (
            self.datastore.get_connection() as connection,
            # As the bytes that they are: written as text, states are twice as long.
            connection.cursor(binary=True, row_factory=tuple_row) as cursor,
        ):
            cursor.execute(
                SQL(
                    "SELECT notification_id, originator_id::text, originator_version, topic, state "
                    "FROM {} WHERE notification_id > %(after)s {} "
                    "ORDER BY notification_id LIMIT %(limit)s"
                ).format(Identifier(SCHEMA, TABLE), chosen),
                {"after": after, "limit": limit, "topics": topics},
                prepare=True,
            )
            return cursor.fetchall()


RECORDER_TOPIC = f"{Recorder.__module__}:{Recorder.__qualname__}"

# How the decision that is being made gets its aggregates.
_source: ContextVar[Callable[[UUID], Aggregate | None] | None] = ContextVar("source", default=None)


@contextmanager
def loading_from(source: Callable[[UUID], Aggregate | None]) -> Iterator[None]:
    """Inside the block, `load` and `find` take aggregates from the source."""
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)


class EventStore(Application[UUID]):
    """Loads aggregates, reads events in the order of their positions, and writes groups of them."""

    name = "loggia"
    recorder: Recorder

    def __init__(self, settings: Settings, *, pool_size: int = 2) -> None:
        self.group_commit = GroupCommit(settings.dsn)
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
                "LOGGIA_POSTGRES_MAX_OVERFLOW": str(_MOST_CONNECTIONS - pool_size),
                "LOGGIA_POSTGRES_CONNECT_TIMEOUT": str(_CONNECT_SECONDS),
                "LOGGIA_POSTGRES_IDLE_IN_TRANSACTION_SESSION_TIMEOUT": "15",
            }
        )

    def construct_factory(self, env: Environment) -> InfrastructureFactory:
        """The library's factory, whose connections have time-outs."""
        factory = super().construct_factory(env)
        if isinstance(factory, PostgresFactory) and isinstance(factory.datastore.pool.kwargs, dict):
            factory.datastore.pool.kwargs |= {
                "options": TIME_OUTS,
                "connect_timeout": _CONNECT_SECONDS,
                **UNREACHABLE,
            }
        return factory

    def close(self) -> None:
        """Lets go of every connection."""
        super().close()
        self.group_commit.close()

    def save(self, *_objects: Any, **_options: Any) -> list[Recording[UUID]]:
        """Refuses: see `backend.application.group_commit`."""
        raise TypeError("Events are written by commands, see backend.application.commands.")

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
        """The aggregate as it is now, or None. Raises `StoreUnavailable`."""
        aggregate = (_source.get() or self.stored)(aggregate_id)
        return aggregate if isinstance(aggregate, aggregate_class) else None

    def stored(self, aggregate_id: UUID) -> Aggregate | None:
        """The aggregate of any kind, made of its stored events. Raises `StoreUnavailable`."""
        try:
            aggregate: Aggregate = self.repository.get(aggregate_id)
        except AggregateNotFoundError:
            return None
        except (InterfaceError, OperationalError) as error:
            raise StoreUnavailable(str(error).strip()) from error
        return aggregate


_NOUNS = {"ApiKey": "API key", "ImportBatch": "batch of imports", "PriceList": "price list"}

__all__ = ["AGGREGATES", "EventStore", "InTransaction", "StoreUnavailable"]
