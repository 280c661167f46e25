"""Reads `loggia.events.v1` into PostgreSQL: each event applied once, in order, whatever happens.

Progress is written in the transaction of the rows, so redelivery changes nothing. One consumer of a
name is active at a time, by a lock in PostgreSQL; should two overlap for an instant, the second
to commit is refused, because the progress it read is no longer there.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg_pool import PoolTimeout

from backend.contracts.codec import MalformedEvent, PublicEvent, decode
from backend.infra import dead_letters
from backend.infra.dead_letters import DeadLetter
from backend.infra.failpoints import failpoint
from backend.infra.kafka import EVENTS, consumer
from backend.infra.logging import get_logger
from backend.infra.postgres import Exclusive, Pool
from backend.infra.settings import Settings

CHANNEL = "loggia_progress"

# What PostgreSQL notifies when events are written to the store.
STORE_CHANNEL = "loggia_events"

# Applies events in order, inside the transaction that also records the progress.
Handler = Callable[[Cursor[DictRow], Sequence[PublicEvent]], None]

_POLL_MS = 100
# Polling a broker costs it and us; when nothing has come for a while, the event store's own
# notification wakes us, and the topic is looked at now and then in any case.
_AWAKE_SECONDS = 1.0
_DOZE_SECONDS = 1.0
_PAUSE_SECONDS = 0.5
_log = get_logger(__name__)

# Faults that pass by themselves; everything else a handler raises is the event's fault.
TRANSIENT = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)


class Fenced(Exception):
    """Another consumer of this name has moved the progress."""


@dataclass
class Watermark:
    """Every event up to `position` has been seen. Positions have no gaps, so this is decidable."""

    position: int = 0
    ahead: set[int] = field(default_factory=set)

    def add(self, position: int) -> None:
        """Counts an event as seen."""
        if position > self.position:
            self.ahead.add(position)
        while self.position + 1 in self.ahead:
            self.position += 1
            self.ahead.remove(self.position)


@dataclass
class Progress:
    """Where a consumer stands on one partition."""

    next_offset: int = 0
    position: int = 0


@dataclass
class _Batch:
    events: list[PublicEvent] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    records: dict[int, tuple[int, Any]] = field(default_factory=dict)
    progress: dict[int, Progress] = field(default_factory=dict)


class Consumer:
    """One named reader of the topic."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        name: str,
        handle: Handler,
        *,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._name = name
        self._handle = handle
        self._on_ready = on_ready
        self._progress: dict[int, Progress] = {}
        self._watermark = Watermark()
        self._parked_keys: set[str] = set()
        # Partitions that were read from the beginning since they last moved on.
        self._rewound: set[int] = set()

    def run(self, stop: threading.Event) -> None:
        """Consumes until `stop` is set, through restarts of the broker and of PostgreSQL."""
        while not stop.is_set():
            try:
                self._run_with_lock(stop)
            except (*TRANSIENT, KafkaError, Fenced) as error:
                _log.warning("consumer starts again", consumer=self._name, error=str(error))
                stop.wait(_PAUSE_SECONDS)

    def _run_with_lock(self, stop: threading.Event) -> None:
        with contextlib.closing(Exclusive(self._settings.dsn, f"consumer {self._name}")) as lock:
            if not lock.acquire(stop):
                return
            lock.listen(STORE_CHANNEL)
            self._load()
            reader = consumer(self._settings, client_id=f"loggia-{self._name}")
            try:
                self._assign(reader)
                self._on_ready()
                last_record = time.monotonic()
                while not stop.is_set():
                    polled = reader.poll(timeout_ms=_POLL_MS)
                    lock.confirm()
                    if polled:
                        self._process(reader, polled)
                        last_record = time.monotonic()
                    elif time.monotonic() - last_record > _AWAKE_SECONDS and lock.heard(
                        _DOZE_SECONDS
                    ):
                        last_record = time.monotonic()
            finally:
                reader.close(timeout_ms=1000)

    def _load(self) -> None:
        with self._pool.connection() as connection:
            rows = connection.execute(
                "SELECT partition, next_offset, position FROM loggia.consumer_progress "
                "WHERE consumer = %s",
                (self._name,),
            ).fetchall()
            mark = connection.execute(
                "SELECT position, ahead FROM loggia.consumer_watermark WHERE consumer = %s",
                (self._name,),
            ).fetchone()
            self._parked_keys = dead_letters.parked_keys(connection, self._name)
        self._progress = {
            row["partition"]: Progress(row["next_offset"], row["position"]) for row in rows
        }
        self._watermark = Watermark(mark["position"], set(mark["ahead"])) if mark else Watermark()

    # -- where to read from ----------------------------------------------------------------------

    def _assign(self, reader: KafkaConsumer) -> None:
        found = reader.partitions_for_topic(EVENTS)
        if not found:
            raise KafkaError(f"the topic {EVENTS} does not exist yet")
        partitions = [TopicPartition(EVENTS, number) for number in sorted(found)]
        reader.assign(partitions)
        beginnings = reader.beginning_offsets(partitions)
        ends = reader.end_offsets(partitions)
        for partition in partitions:
            progress = self._progress.setdefault(partition.partition, Progress())
            if beginnings[partition] < progress.next_offset <= ends[partition]:
                # One record back: it must be the one that we have seen, or this is another topic.
                reader.seek(partition, progress.next_offset - 1)
            else:
                reader.seek(partition, beginnings[partition])

    def _rewind(self, reader: KafkaConsumer, partition: TopicPartition) -> None:
        _log.warning(
            "the partition is not what it was, reading it from the beginning",
            consumer=self._name,
            partition=partition.partition,
        )
        reader.seek(partition, reader.beginning_offsets([partition])[partition])
        self._rewound.add(partition.partition)

    # -- one batch -------------------------------------------------------------------------------

    def _process(self, reader: KafkaConsumer, polled: dict[TopicPartition, list[Any]]) -> None:
        batch = _Batch()
        for partition, records in polled.items():
            self._collect(reader, partition, records, batch)
        # Each partition is in order; by position, the whole batch is.
        batch.events.sort(key=lambda event: event.position)
        if batch.progress:
            self._commit(batch)

    def _collect(
        self, reader: KafkaConsumer, partition: TopicPartition, records: list[Any], batch: _Batch
    ) -> None:
        known = self._progress[partition.partition]
        position, next_offset = known.position, known.next_offset
        for record in records:
            next_offset = record.offset + 1
            try:
                event = decode(record.key, record.value, record.headers)
            except MalformedEvent as error:
                letter = DeadLetter.of(record, self._name, str(error))
                if (
                    record.offset >= known.next_offset
                    and (letter.position or position + 1) > position
                ):
                    batch.letters.append(letter)
                    position = letter.position or position
                continue
            if event.position <= position:
                continue
            if event.previous_position > position:
                if partition.partition in self._rewound:
                    # It has been looked for from the beginning: what is missing is yet to come,
                    # and this one once more behind it.
                    continue
                self._rewind(reader, partition)
                next_offset = 0
                break
            self._rewound.discard(partition.partition)
            position = event.position
            if event.partition_key in self._parked_keys:
                batch.letters.append(DeadLetter.of(record, self._name, dead_letters.FOLLOWS))
            else:
                batch.events.append(event)
                batch.records[event.position] = (partition.partition, record)
        if (next_offset, position) != (known.next_offset, known.position):
            batch.progress[partition.partition] = Progress(next_offset, position)

    def _commit(self, batch: _Batch) -> None:
        try:
            self._apply(batch, one_by_one=False)
        except (*TRANSIENT, Fenced):
            raise
        except Exception as error:
            _log.error(
                "a batch failed, applying it event by event", consumer=self._name, error=repr(error)
            )
            self._apply(batch, one_by_one=True)

    def _apply(self, batch: _Batch, *, one_by_one: bool) -> None:
        letters = list(batch.letters)
        mark = Watermark(self._watermark.position, set(self._watermark.ahead))
        for event in batch.events:
            mark.add(event.position)
        for letter in letters:
            if letter.position is not None:
                mark.add(letter.position)
        with (
            self._pool.connection() as connection,
            connection.transaction(),
            connection.cursor() as cursor,
        ):
            if one_by_one:
                letters += self._isolate(connection, cursor, batch)
            elif batch.events:
                self._handle(cursor, batch.events)
            failpoint("consumer.applied")
            if not dead_letters.still_parked(cursor, self._name, batch.letters):
                raise Fenced("parked events have been applied again")
            dead_letters.park(cursor, letters)
            self._save(cursor, batch.progress, mark)
        failpoint("consumer.committed")
        self._progress.update(batch.progress)
        self._watermark = mark
        self._parked_keys.update(letter.partition_key for letter in letters)
        if letters:
            dead_letters.announce(self._settings, letters)

    def _isolate(
        self, connection: psycopg.Connection[DictRow], cursor: Cursor[DictRow], batch: _Batch
    ) -> list[DeadLetter]:
        """Applies each event under a savepoint; parks those that fail, and what follows them."""
        letters: list[DeadLetter] = []
        bad_keys: set[str] = set()
        for event in batch.events:
            _, record = batch.records[event.position]
            if event.partition_key in bad_keys:
                letters.append(DeadLetter.of(record, self._name, dead_letters.FOLLOWS))
                continue
            try:
                with connection.transaction():
                    self._handle(cursor, [event])
            except TRANSIENT:
                raise
            except Exception as error:
                bad_keys.add(event.partition_key)
                letters.append(DeadLetter.of(record, self._name, repr(error)))
        return letters

    def _save(
        self, cursor: Cursor[DictRow], progress: dict[int, Progress], mark: Watermark
    ) -> None:
        for partition, now in progress.items():
            before = self._progress[partition]
            cursor.execute(
                "INSERT INTO loggia.consumer_progress AS p "
                "(consumer, partition, next_offset, position) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (consumer, partition) DO UPDATE SET "
                "next_offset = excluded.next_offset, position = excluded.position "
                "WHERE p.next_offset = %s AND p.position = %s",
                (
                    self._name,
                    partition,
                    now.next_offset,
                    now.position,
                    before.next_offset,
                    before.position,
                ),
            )
            if cursor.rowcount != 1:
                raise Fenced(f"somebody else moved partition {partition}")
        cursor.execute(
            "INSERT INTO loggia.consumer_watermark (consumer, position, ahead) "
            "VALUES (%s, %s, %s::bigint[]) ON CONFLICT (consumer) DO UPDATE SET "
            "position = excluded.position, ahead = excluded.ahead",
            # As text: a partition may be thousands of events ahead, and lists are slow to adapt.
            (self._name, mark.position, "{" + ",".join(map(str, sorted(mark.ahead))) + "}"),
        )
        cursor.execute("SELECT pg_notify(%s, %s)", (CHANNEL, f"{self._name}:{mark.position}"))
