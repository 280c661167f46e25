"""The tail of the event store, in the order of positions.

Unlike the topic, it is there while Kafka is down, and it has the private facts.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from typing import Any

import msgspec
import psycopg
from eventsourcing.persistence import InterfaceError, OperationalError, PersistenceError
from psycopg.sql import SQL, Identifier

from backend.application.store import TABLE, EventStore
from backend.application.translate import tell, topics_of
from backend.contracts.codec import PublicEvent
from backend.infra.logging import get_logger
from backend.infra.postgres import connect

_POLL_SECONDS = 1.0
_PAGE = 500
_log = get_logger(__name__)


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """An event with its private facts, such as the digest of an API key."""

    public: PublicEvent
    facts: dict[str, Any] = {}


class EventFeed:
    """Reads the event store from any position, and waits for what comes."""

    def __init__(self, store: EventStore, dsn: str) -> None:
        self._store = store
        self._dsn = dsn

    def last_position(self) -> int:
        """The position of the newest event; 0 where there is none."""
        return self._store.recorder.max_notification_id() or 0

    def read(
        self, after: int, limit: int, types: Collection[str] | None = None
    ) -> list[PublicEvent]:
        """The next events behind a position, of these types or of all."""
        return [stored.public for stored in self.read_private(after, limit, types)]

    def read_private(
        self, after: int, limit: int, types: Collection[str] | None = None
    ) -> list[StoredEvent]:
        """The same, with the facts that never leave the store."""
        topics = topics_of(types) if types is not None else None
        return [
            StoredEvent(*tell(row))
            for row in self._store.recorder.select_rows(after, limit, topics)
        ]

    def follow(
        self,
        after: int,
        stop: threading.Event,
        types: Collection[str] | None = None,
        *,
        page: int = _PAGE,
    ) -> Iterator[list[StoredEvent]]:
        """Batches of events behind a position, for ever; an empty batch says 'up to date'.

        Survives a restart of PostgreSQL. Ends when `stop` is set.
        """
        while not stop.is_set():
            try:
                with connect(self._dsn) as listener:
                    listener.execute(SQL("LISTEN {}").format(Identifier(TABLE)))
                    while not stop.is_set():
                        batch = self.read_private(after, page, types)
                        if batch:
                            after = batch[-1].public.position
                        yield batch
                        if not batch:
                            for _ in listener.notifies(timeout=_POLL_SECONDS, stop_after=1):
                                pass
            except (
                psycopg.OperationalError,
                OperationalError,
                InterfaceError,
                PersistenceError,
            ) as error:
                _log.warning("event store unreachable, trying again", error=str(error))
                stop.wait(_POLL_SECONDS)
