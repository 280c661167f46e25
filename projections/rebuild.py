"""Builds a projection anew beside the live one and swaps it in, without a moment of downtime.

The new tables grow in the schema `NAME_next` under a consumer of their own, `NAME.next`. The swap
renames both schemas and hands the progress over in one transaction, in which no consumer can write;
the live consumer then finds that its progress has been moved, loads it and goes on.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Self

import psycopg
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier

from backend.contracts.codec import PublicEvent
from backend.infra.consumer import Consumer
from backend.infra.postgres import Exclusive, Pool, open_pool
from backend.infra.settings import Settings
from projections.applying import Applier
from projections.tables import Projection

# Reads the event store: the next events of these types behind a position, at most so many.
Source = Callable[[int, int, Sequence[str]], list[PublicEvent]]
# Is told how far the rebuild has come: position, last position.
Tell = Callable[[int, int], None]

_BATCH = 20_000
_LOOK_SECONDS = 0.02
_LOCK_SECONDS = 1.0


class RebuildRunning(Exception):
    """Somebody else is rebuilding this projection."""


def rebuild(
    settings: Settings,
    projection: Projection,
    *,
    source: Source | None = None,
    tell: Tell = lambda _, __: None,
) -> int:
    """Rebuilds from the event store where a source is given, else from the topic.

    Returns the position that the swapped-in tables have. Raises `RebuildRunning`.
    """
    fresh = Applier(projection, f"{projection.name}_next")
    with _exclusive(settings, projection.name) as lock, open_pool(settings, size=2) as pool:
        connection = lock.connection
        _begin(connection, fresh)
        target = _last_position(connection)

        def reached(position: int) -> bool:
            done = _watermark(connection, _consumer(fresh))
            tell(min(done, target), target)
            return done >= position

        growing = (
            _FromTopic(settings, pool, fresh) if source is None else _FromStore(pool, fresh, source)
        )
        with growing:
            growing.until(lambda: reached(target))
            with connection.cursor() as cursor:
                fresh.create_indexes(cursor)
            with connection.transaction(), connection.cursor() as cursor:
                # The live projection waits from here on, for as long as the new one needs to draw
                # level with it. Queries go on meanwhile.
                _hold(cursor, projection.name, settings.kafka_partitions)
                growing.until(lambda: _is_level(connection, fresh))
                growing.stop()
                return _swap(cursor, fresh)


@contextmanager
def _exclusive(settings: Settings, name: str) -> Iterator[Exclusive]:
    lock = Exclusive(settings.dsn, f"rebuild {name}")
    patience = threading.Event()
    timer = threading.Timer(_LOCK_SECONDS, patience.set)
    timer.start()
    try:
        if not lock.acquire(patience):
            raise RebuildRunning(f"{name} is being rebuilt by somebody else")
        yield lock
    finally:
        timer.cancel()
        lock.close()


def _begin(connection: psycopg.Connection[DictRow], fresh: Applier) -> None:
    """Removes what an interrupted rebuild has left, and makes empty tables without indexes."""
    with connection.transaction(), connection.cursor() as cursor:
        forget(cursor, fresh.schema, _consumer(fresh))
        fresh.create_tables(cursor)


def forget(cursor: Cursor[DictRow], schema: str, consumer: str) -> None:
    """Drops a projection's tables and its consumer's progress: it begins with the first event."""
    cursor.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema)))
    cursor.execute("DELETE FROM loggia.consumer_progress WHERE consumer = %s", (consumer,))
    cursor.execute("DELETE FROM loggia.consumer_watermark WHERE consumer = %s", (consumer,))
    cursor.execute("DELETE FROM loggia.dead_letters WHERE consumer = %s", (consumer,))


class _Growing(ABC):
    """The new tables, on their way to where the live ones are, in a thread of their own."""

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"rebuild {name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def until(self, met: Callable[[], bool]) -> None:
        """Returns when the condition is met. Raises what has gone wrong."""
        while not met():
            if self._fault is not None:
                raise self._fault
            self._stop.wait(_LOOK_SECONDS)

    def stop(self) -> None:
        """Nothing is written after this returns."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._grow(self._stop)
        except Exception as error:
            self._fault = error

    @abstractmethod
    def _grow(self, stop: threading.Event) -> None:
        """Applies what there is and what comes, until `stop` is set."""


class _FromStore(_Growing):
    """Grows from the event store; the next page is read while this one is written."""

    def __init__(self, pool: Pool, fresh: Applier, source: Source) -> None:
        super().__init__(_consumer(fresh))
        self._pool = pool
        self._fresh = fresh
        self._source = source
        self._types = fresh.projection.event_types

    def _grow(self, stop: threading.Event) -> None:
        after = 0
        with (
            self._pool.connection() as connection,
            connection.cursor() as cursor,
            ThreadPoolExecutor(1) as reader,
        ):
            while not stop.is_set():
                # Whatever is in the store by now will have been read when a page is empty.
                end = _last_position(connection)
                page = reader.submit(self._source, after, _BATCH, self._types)
                while (events := page.result()) and not stop.is_set():
                    after = events[-1].position
                    page = reader.submit(self._source, after, _BATCH, self._types)
                    with connection.transaction():
                        self._fresh.handle(cursor, events)
                        self._store(cursor, after)
                if end > after and not events:
                    after = end
                    self._store(cursor, after)
                stop.wait(_LOOK_SECONDS)

    def _store(self, cursor: psycopg.Cursor[DictRow], position: int) -> None:
        cursor.execute(
            "INSERT INTO loggia.consumer_watermark (consumer, position, ahead) "
            "VALUES (%s, %s, '{}') "
            "ON CONFLICT (consumer) DO UPDATE SET position = excluded.position",
            (_consumer(self._fresh), position),
        )


class _FromTopic(_Growing):
    """Grows from the topic, by a consumer."""

    def __init__(self, settings: Settings, pool: Pool, fresh: Applier) -> None:
        super().__init__(_consumer(fresh))
        types = frozenset(fresh.projection.event_types)
        self._consumer = Consumer(
            settings, pool, _consumer(fresh), fresh.handle, types=types, bulk=True
        )

    def _grow(self, stop: threading.Event) -> None:
        self._consumer.run(stop)


def _is_level(connection: psycopg.Connection[DictRow], fresh: Applier) -> bool:
    """Whether the new tables have everything that the live ones have."""
    row = connection.execute(
        "SELECT NOT EXISTS (SELECT 1 FROM loggia.consumer_progress AS now "
        "LEFT JOIN loggia.consumer_progress AS coming "
        "ON coming.partition = now.partition AND coming.consumer = %(next)s "
        "LEFT JOIN loggia.consumer_watermark AS mark ON mark.consumer = %(next)s "
        "WHERE now.consumer = %(live)s "
        "AND now.position > GREATEST(coming.position, mark.position, 0)) AS level",
        {"next": _consumer(fresh), "live": fresh.projection.name},
    ).fetchone()
    return bool(row and row["level"])


def _hold(cursor: psycopg.Cursor[DictRow], live: str, partitions: int) -> None:
    """Lets no batch of the live consumer commit until this transaction ends."""
    cursor.execute(
        "INSERT INTO loggia.consumer_progress (consumer, partition, next_offset, position) "
        "SELECT %s, number, 0, 0 FROM generate_series(0, %s - 1) AS number ON CONFLICT DO NOTHING",
        (live, partitions),
    )
    cursor.execute(
        "SELECT 1 FROM loggia.consumer_progress WHERE consumer = %s ORDER BY partition FOR UPDATE",
        (live,),
    )


def _swap(cursor: psycopg.Cursor[DictRow], fresh: Applier) -> int:
    """Hands name and progress over; returns the new tables' position."""
    live, coming = fresh.projection.name, _consumer(fresh)
    position = _watermark(cursor.connection, coming)
    # From the store there is no progress by partition: everything up to the position is applied.
    cursor.execute(
        "INSERT INTO loggia.consumer_progress (consumer, partition, next_offset, position) "
        "SELECT %(next)s, partition, 0, %(position)s FROM loggia.consumer_progress "
        "WHERE consumer = %(live)s ON CONFLICT DO NOTHING",
        {"next": coming, "live": live, "position": position},
    )
    # One record back, so that the live consumer cannot take the new progress for its own.
    cursor.execute(
        "UPDATE loggia.consumer_progress AS coming SET next_offset = CASE "
        "WHEN EXISTS (SELECT 1 FROM loggia.consumer_progress AS now WHERE now.consumer = %s "
        "AND now.partition = coming.partition AND now.next_offset = coming.next_offset - 1) "
        "THEN 0 ELSE GREATEST(next_offset - 1, 0) END WHERE consumer = %s",
        (live, coming),
    )
    for table in ("consumer_progress", "consumer_watermark"):
        cursor.execute(
            SQL("DELETE FROM loggia.{} WHERE consumer = %s").format(Identifier(table)), (live,)
        )
        cursor.execute(
            SQL("UPDATE loggia.{} SET consumer = %s WHERE consumer = %s").format(Identifier(table)),
            (live, coming),
        )
    # What was parked has been applied again, or is parked again.
    cursor.execute(
        "UPDATE loggia.dead_letters SET resolved_at = now() "
        "WHERE consumer = %s AND resolved_at IS NULL",
        (live,),
    )
    cursor.execute(
        "UPDATE loggia.dead_letters SET consumer = %s WHERE consumer = %s", (live, coming)
    )
    _rename_schemas(cursor, live, fresh.schema)
    return position


def _rename_schemas(cursor: psycopg.Cursor[DictRow], live: str, coming: str) -> None:
    gone = f"{live}_gone"
    cursor.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(live)))
    for old, new in ((live, gone), (coming, live)):
        cursor.execute(SQL("ALTER SCHEMA {} RENAME TO {}").format(Identifier(old), Identifier(new)))
    cursor.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(gone)))


def _consumer(fresh: Applier) -> str:
    return f"{fresh.projection.name}.next"


def _watermark(connection: psycopg.Connection[DictRow], consumer: str) -> int:
    row = connection.execute(
        "SELECT position FROM loggia.consumer_watermark WHERE consumer = %s", (consumer,)
    ).fetchone()
    return int(row["position"]) if row else 0


def _last_position(connection: psycopg.Connection[DictRow]) -> int:
    row = connection.execute(
        "SELECT COALESCE(max(notification_id), 0) AS position FROM loggia.loggia_events"
    ).fetchone()
    return int(row["position"]) if row else 0
