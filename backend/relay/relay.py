"""The only producer of `loggia.events.v1`: every event of the store, in order, without holes.

Why no hole and no reordering can arise:

- Events are sent in rounds. A round is one batch for each partition, and the next round begins when
  the broker has confirmed all of it. A batch is appended whole or not at all, so a partition always
  holds a prefix of its events, possibly with a repeated stretch.
- After any failure the producer is thrown away, and everything behind the last confirmed round is
  sent again; repeats are recognised by their position. What each partition ends with is read back:
  where that is less than was confirmed, the broker has lost records, and they are sent again too.
- A second relay may only begin when the first has fallen silent. Should the first wake up with a
  round in hand, it repeats events that the second sends too: both send the same order.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import psycopg
from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.partitioner.default import murmur2
from psycopg import Connection
from psycopg.rows import DictRow

from backend.application.feed import EventFeed
from backend.application.store import StoreUnavailable
from backend.contracts.codec import MalformedEvent, PublicEvent, encode, position_of
from backend.infra import kafka
from backend.infra.failpoints import failpoint
from backend.infra.kafka import EVENTS
from backend.infra.logging import get_logger
from backend.infra.postgres import Exclusive
from backend.infra.settings import Settings

LOCK = "relay"
_PAGE = 2000
# A round must fit into one batch of the producer for each partition.
_BATCH_BYTES = 1_000_000
_ROUND_BYTES = 400_000
_RECORD_OVERHEAD_BYTES = 700
_PAUSE_SECONDS = 0.5
_TAIL_SECONDS = 10.0
_TAIL_RECORDS = 100
# Below the silence after which the lock is lost.
_CONFIRM_SECONDS = 4.0
_WATCH_SECONDS = 2.0
_log = get_logger(__name__)


class BrokerLostRecords(Exception):
    """The topic holds less than was confirmed; it is filled again."""


@lru_cache(maxsize=100_000)
def partition_of(key: str, partitions: int) -> int:
    """The partition of a key, as Kafka's own default partitioner chooses it."""
    return int((murmur2(key.encode()) & 0x7FFFFFFF) % partitions)


class Relay:
    """Carries events from the store to the topic while it holds the relay's lock."""

    def __init__(
        self, settings: Settings, feed: EventFeed, *, on_ready: Callable[[], None] = lambda: None
    ) -> None:
        self._settings = settings
        self._feed = feed
        self._on_ready = on_ready
        # The last position that each partition is known to hold.
        self._tails: dict[int, int] = {}

    def run(self, stop: threading.Event) -> None:
        """Relays until `stop` is set, through restarts of the broker and of PostgreSQL."""
        while not stop.is_set():
            lock = None
            try:
                lock = Exclusive(self._settings.dsn, LOCK)
                if lock.acquire(stop):
                    self._relay(lock.connection, stop)
            except (KafkaError, BrokerLostRecords, psycopg.Error, StoreUnavailable) as error:
                _log.warning("relay starts again", error=str(error) or repr(error))
                stop.wait(_PAUSE_SECONDS)
            finally:
                if lock is not None:
                    lock.close()

    def _relay(self, connection: Connection[DictRow], stop: threading.Event) -> None:
        kafka.ensure_topics(self._settings)
        confirmed = self._confirmed(connection)
        self._tails = self._read_tails()
        after = self._resume_after(confirmed)
        # What lies behind the confirmed positions is sent again: only confirmed rounds are known
        # to be whole.
        self._tails = {p: min(tail, confirmed.get(p, 0)) for p, tail in self._tails.items()}
        _log.info("relaying", after=after, partitions=len(self._tails))
        producer = kafka.producer(
            self._settings,
            client_id="loggia-relay",
            # Only `flush` sends, so that a round is one batch for each partition.
            linger_ms=5_000,
            batch_size=_BATCH_BYTES,
        )
        try:
            with contextlib.closing(_TopicWatch(self._settings, sorted(self._tails))) as watch:
                self._on_ready()
                for batch in self._feed.follow(after, stop, page=_PAGE):
                    # The session must be ours still, or somebody else may be relaying.
                    connection.execute("SELECT 1")
                    self._send(producer, connection, [stored.public for stored in batch])
                    watch.look()
        finally:
            _abandon(producer)

    # -- where to begin --------------------------------------------------------------------------

    def _confirmed(self, connection: Connection[DictRow]) -> dict[int, int]:
        rows = connection.execute(
            "SELECT partition, position FROM loggia.relay_progress WHERE topic = %s", (EVENTS,)
        ).fetchall()
        return {row["partition"]: row["position"] for row in rows}

    def _resume_after(self, confirmed: dict[int, int]) -> int:
        """The position behind which events may be missing on the topic."""
        lost = [
            self._tails[partition]
            for partition, position in confirmed.items()
            if self._tails.get(partition, 0) < position
        ]
        if lost:
            _log.warning("the topic has lost records, filling it again", after=min(lost))
            return min(lost)
        return max(confirmed.values(), default=0)

    def _read_tails(self) -> dict[int, int]:
        """The position that each partition ends with; 0 where none of our records is there.

        Records that somebody else has put there are passed over.
        """
        reader = kafka.consumer(self._settings, client_id="loggia-relay-tails")
        try:
            found = reader.partitions_for_topic(EVENTS)
            if not found:
                raise KafkaError(f"the topic {EVENTS} does not exist yet")
            partitions = [TopicPartition(EVENTS, number) for number in sorted(found)]
            reader.assign(partitions)
            beginnings = reader.beginning_offsets(partitions)
            ends = reader.end_offsets(partitions)
            tails = {partition.partition: 0 for partition in partitions}
            waiting = {p: ends[p] - 1 for p in partitions if ends[p] > beginnings[p]}
            for partition in partitions:
                last = waiting.get(partition, ends[partition])
                reader.seek(partition, max(beginnings[partition], last - _TAIL_RECORDS))
            attempts = int(_TAIL_SECONDS / 0.2)
            while waiting:
                if attempts == 0:
                    raise KafkaError("the ends of the partitions could not be read")
                attempts -= 1
                for partition, records in reader.poll(timeout_ms=200).items():
                    for record in records:
                        with contextlib.suppress(MalformedEvent):
                            tails[partition.partition] = position_of(record.headers)
                    if records[-1].offset >= waiting.get(partition, 0):
                        waiting.pop(partition, None)
            return tails
        finally:
            reader.close(timeout_ms=1000)

    # -- sending ---------------------------------------------------------------------------------

    def _send(
        self,
        producer: KafkaProducer,
        connection: Connection[DictRow],
        events: list[PublicEvent],
    ) -> None:
        """Sends events in rounds; each is confirmed and recorded before the next."""
        futures: list[Any] = []
        moved: dict[int, int] = {}
        size = 0
        partitions = len(self._tails)
        for event in events:
            partition = partition_of(event.partition_key, partitions)
            previous = moved.get(partition, self._tails[partition])
            if event.position <= previous:
                continue
            value, headers = encode(event, previous)
            failpoint("relay.before_send")
            futures.append(
                producer.send(
                    EVENTS,
                    key=event.partition_key.encode(),
                    value=value,
                    headers=headers,
                    partition=partition,
                )
            )
            moved[partition] = event.position
            size += len(value) + _RECORD_OVERHEAD_BYTES
            if size >= _ROUND_BYTES:
                self._finish_round(producer, connection, futures, moved)
                futures, moved, size = [], {}, 0
        if futures:
            self._finish_round(producer, connection, futures, moved)

    def _finish_round(
        self,
        producer: KafkaProducer,
        connection: Connection[DictRow],
        futures: list[Any],
        moved: dict[int, int],
    ) -> None:
        producer.flush(timeout=_CONFIRM_SECONDS)
        failpoint("relay.sent")
        for future in futures:
            future.get(timeout=0)
        failpoint("relay.before_position")
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO loggia.relay_progress (topic, partition, position) "
                "VALUES (%s, %s, %s) "
                "ON CONFLICT (topic, partition) DO UPDATE SET position = excluded.position",
                [(EVENTS, partition, position) for partition, position in moved.items()],
            )
        self._tails.update(moved)


def _abandon(producer: KafkaProducer) -> None:
    """Ends a producer without sending what it holds; `close` alone would go on trying."""
    producer._sender.force_close()
    with contextlib.suppress(KafkaError):
        producer.close(timeout=1)


class _TopicWatch:
    """Notices, while nothing is sent, that the broker came back with less than it had."""

    def __init__(self, settings: Settings, partitions: list[int]) -> None:
        self._reader = kafka.consumer(settings, client_id="loggia-relay-watch")
        self._partitions = [TopicPartition(EVENTS, number) for number in partitions]
        self._ends: dict[TopicPartition, int] = {}
        self._next_look = 0.0

    def look(self) -> None:
        """Compares, at most every two seconds. Raises `BrokerLostRecords` and `KafkaError`."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _WATCH_SECONDS
        ends = self._reader.end_offsets(self._partitions)
        if any(ends.get(partition, 0) < end for partition, end in self._ends.items()):
            raise BrokerLostRecords("the topic is shorter than it was")
        self._ends = dict(ends)

    def close(self) -> None:
        self._reader.close(timeout_ms=1000)
