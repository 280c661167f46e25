"""Builds a projection anew beside the live one and swaps it in, without a moment of downtime.

The new tables grow in the schema `NAME_next` under a consumer of their own, `NAME.next`. The swap
renames both schemas and hands the progress over in one transaction, in which no consumer can write;
the live consumer then finds that its progress has been moved, loads it and goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier

from backend.contracts.codec import PublicEvent
from backend.infra.consumer import Consumer
from backend.infra.postgres import Exclusive, Pool, open_pool
from backend.infra.settings import Settings
from projections.applying import Applier
from projections.tables import Projection

# Reads the event store: the events behind a position, at most so many.
Source = Callable[[int, int], list[PublicEvent]]
# Is told how far the rebuild has come: position, last position.
Tell = Callable[[int, int], None]

_BATCH = 4000
_TELL_SECONDS = 0.2
_LOCK_SECONDS = 1.0
_SCHEMA_LOCK = "SHARE ROW EXCLUSIVE"


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
        _begin(lock.connection, fresh)
        target = _last_position(lock.connection)
        while True:
            if source is not None:
                _from_store(pool, lock, fresh, source, target, tell)
            else:
                _from_topic(settings, pool, lock, fresh, target, tell)
            with lock.connection.cursor() as cursor:
                fresh.create_indexes(cursor)
            position = _swap(lock.connection, fresh, settings.kafka_partitions)
            if position is not None:
                tell(position, position)
                return position
            # The live projection has moved on meanwhile.
            target = _last_position(lock.connection)


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
    consumer = _consumer(fresh)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(fresh.schema)))
        cursor.execute("DELETE FROM loggia.consumer_progress WHERE consumer = %s", (consumer,))
        cursor.execute("DELETE FROM loggia.consumer_watermark WHERE consumer = %s", (consumer,))
        cursor.execute("DELETE FROM loggia.dead_letters WHERE consumer = %s", (consumer,))
        fresh.create_tables(cursor)


def _from_store(
    pool: Pool, lock: Exclusive, fresh: Applier, source: Source, target: int, tell: Tell
) -> None:
    consumer = _consumer(fresh)
    with pool.connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO loggia.consumer_watermark (consumer, position, ahead) "
            "VALUES (%s, 0, '{}') ON CONFLICT (consumer) DO NOTHING",
            (consumer,),
        )
        cursor.execute(
            "SELECT position FROM loggia.consumer_watermark WHERE consumer = %s", (consumer,)
        )
        row = cursor.fetchone()
        after = int(row["position"]) if row else 0
        while events := source(after, _BATCH):
            after = events[-1].position
            with connection.transaction():
                fresh.handle(cursor, events)
                cursor.execute(
                    "UPDATE loggia.consumer_watermark SET position = %s WHERE consumer = %s",
                    (after, consumer),
                )
            lock.confirm()
            tell(after, max(after, target))


def _from_topic(
    settings: Settings, pool: Pool, lock: Exclusive, fresh: Applier, target: int, tell: Tell
) -> None:
    stop = threading.Event()
    consumer = Consumer(settings, pool, _consumer(fresh), fresh.handle)
    reading = threading.Thread(target=consumer.run, args=(stop,), name="rebuild", daemon=True)
    reading.start()
    try:
        while (done := _watermark(lock.connection, _consumer(fresh))) < target:
            if not reading.is_alive():
                raise RuntimeError(f"the rebuild of {fresh.projection.name} ended with an error")
            tell(done, target)
            stop.wait(_TELL_SECONDS)
    finally:
        stop.set()
        reading.join()


def _swap(connection: psycopg.Connection[DictRow], fresh: Applier, partitions: int) -> int | None:
    """Swaps, unless the live projection is ahead; returns the new tables' position."""
    live, next_one = fresh.projection.name, _consumer(fresh)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE loggia.consumer_progress IN {_SCHEMA_LOCK} MODE")
        position = _watermark(connection, next_one)
        # From the store there is no progress by partition: all of it is applied.
        cursor.execute(
            "INSERT INTO loggia.consumer_progress (consumer, partition, next_offset, position) "
            "SELECT %(next)s, number, 0, %(position)s FROM generate_series(0, (SELECT GREATEST("
            "max(partition), %(partitions)s - 1) FROM loggia.consumer_progress)) AS number "
            "WHERE NOT EXISTS (SELECT 1 FROM loggia.consumer_progress WHERE consumer = %(next)s)",
            {"next": next_one, "position": position, "partitions": partitions},
        )
        cursor.execute(
            "SELECT 1 FROM loggia.consumer_progress AS now LEFT JOIN loggia.consumer_progress "
            "AS coming ON coming.partition = now.partition AND coming.consumer = %s "
            "WHERE now.consumer = %s AND now.position > COALESCE(coming.position, 0)",
            (next_one, live),
        )
        if cursor.fetchone() is not None:
            cursor.execute(
                "DELETE FROM loggia.consumer_progress WHERE consumer = %s AND next_offset = 0",
                (next_one,),
            )
            return None
        # One record back, so that the live consumer cannot take the new progress for its own.
        cursor.execute(
            "UPDATE loggia.consumer_progress AS coming SET next_offset = CASE "
            "WHEN EXISTS (SELECT 1 FROM loggia.consumer_progress AS now WHERE now.consumer = %s "
            "AND now.partition = coming.partition AND now.next_offset = coming.next_offset - 1) "
            "THEN 0 ELSE GREATEST(next_offset - 1, 0) END WHERE consumer = %s",
            (live, next_one),
        )
        for table in ("consumer_progress", "consumer_watermark"):
            cursor.execute(
                SQL("DELETE FROM loggia.{} WHERE consumer = %s").format(Identifier(table)), (live,)
            )
            cursor.execute(
                SQL("UPDATE loggia.{} SET consumer = %s WHERE consumer = %s").format(
                    Identifier(table)
                ),
                (live, next_one),
            )
        # What was parked has been applied again, or is parked again.
        cursor.execute(
            "UPDATE loggia.dead_letters SET resolved_at = now() "
            "WHERE consumer = %s AND resolved_at IS NULL",
            (live,),
        )
        cursor.execute(
            "UPDATE loggia.dead_letters SET consumer = %s WHERE consumer = %s", (live, next_one)
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
