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

import psycopg
from kafka.errors import KafkaError
from psycopg import Connection
from psycopg.rows import DictRow

from backend.application.feed import EventFeed
from backend.application.store import StoreUnavailable
from backend.contracts.codec import MalformedEvent, position_of
from backend.infra import kafka
from backend.infra.failpoints import failpoint
from backend.infra.kafka import EVENTS
from backend.infra.logging import get_logger
from backend.infra.postgres import Exclusive
from backend.infra.records import RecordReader, RoundSender
from backend.infra.settings import Settings
from backend.relay.rounds import Round, rounds_ahead

LOCK = "relay"
_PAUSE_SECONDS = 0.5
# Each below the silence after which the lock is lost.
_TAIL_SECONDS = 4.0
_CONFIRM_SECONDS = 4.0
_BOUNDS_SECONDS = 2.0
_TAIL_RECORDS = 100
_WATCH_SECONDS = 2.0
_log = get_logger(__name__)


class BrokerLostRecords(Exception):
    """The topic holds less than was confirmed; it is filled again."""


class Relay:
    """Carries events from the store to the topic while it holds the relay's lock."""

    def __init__(
        self, settings: Settings, feed: EventFeed, *, on_ready: Callable[[], None] = lambda: None
    ) -> None:
        self._settings = settings
        self._feed = feed
        self._on_ready = on_ready

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
        # First of all, because the broker takes its time to number a producer.
        sender = RoundSender(self._settings, EVENTS, client_id="loggia-relay")
        reader = RecordReader(self._settings, EVENTS, client_id="loggia-relay-tails")
        try:
            kafka.ensure_topics(self._settings)
            partitions = reader.partitions()
            confirmed = self._confirmed(connection)
            tails = _read_tails(reader, partitions)
            after = _resume_after(confirmed, tails)
            # What lies behind the confirmed positions is sent again: only confirmed rounds are
            # known to be whole.
            tails = {number: min(end, confirmed.get(number, 0)) for number, end in tails.items()}
            _log.info("relaying", after=after, partitions=len(partitions))
            watch = _TopicWatch(reader, partitions)
            self._on_ready()
            with contextlib.closing(rounds_ahead(self._feed, after, tails, stop)) as rounds:
                for each in rounds:
                    # The session must be ours still, or somebody else may be relaying.
                    connection.execute("SELECT 1")
                    if each.records:
                        self._send(sender, connection, each)
                    watch.look()
        finally:
            sender.abandon()
            reader.close()

    # -- where to begin --------------------------------------------------------------------------

    def _confirmed(self, connection: Connection[DictRow]) -> dict[int, int]:
        rows = connection.execute(
            "SELECT partition, position FROM loggia.relay_progress WHERE topic = %s", (EVENTS,)
        ).fetchall()
        return {row["partition"]: row["position"] for row in rows}

    # -- sending ---------------------------------------------------------------------------------

    def _send(self, sender: RoundSender, connection: Connection[DictRow], due: Round) -> None:
        """Sends a round, and records it when the broker has all of it."""
        for partition, key, value, headers in due.records:
            failpoint("relay.before_send")
            sender.add(partition, key, value, headers)
        sender.confirm(_CONFIRM_SECONDS)
        failpoint("relay.sent")
        failpoint("relay.before_position")
        connection.execute(
            "INSERT INTO loggia.relay_progress (topic, partition, position) "
            "SELECT %s::text, * FROM unnest(%s::int[], %s::bigint[]) "
            "ON CONFLICT (topic, partition) DO UPDATE SET position = excluded.position",
            (EVENTS, list(due.ends), list(due.ends.values())),
        )


def _resume_after(confirmed: dict[int, int], tails: dict[int, int]) -> int:
    """The position behind which events may be missing on the topic."""
    lost = [
        tails[partition]
        for partition, position in confirmed.items()
        if tails.get(partition, 0) < position
    ]
    if lost:
        _log.warning("the topic has lost records, filling it again", after=min(lost))
        return min(lost)
    return max(confirmed.values(), default=0)


def _read_tails(reader: RecordReader, partitions: list[int]) -> dict[int, int]:
    """The position that each partition ends with; 0 where none of our records is there.

    Records that somebody else has put there are passed over. Raises `KafkaError`.
    """
    tails = dict.fromkeys(partitions, 0)
    offsets = {}
    for partition in partitions:
        first, behind = reader.bounds(partition, seconds=_BOUNDS_SECONDS)
        if behind > first:
            offsets[partition] = max(first, behind - 1 - _TAIL_RECORDS)
    reader.start(offsets)
    deadline = time.monotonic() + _TAIL_SECONDS

    def is_read(number: int) -> bool:
        end = reader.end_of(number)
        return end is not None and offsets[number] >= end

    while not all(is_read(number) for number in offsets):
        if time.monotonic() > deadline:
            raise KafkaError("the ends of the partitions could not be read")
        for record in reader.read(0.1):
            offsets[record.partition()] = record.offset() + 1
            with contextlib.suppress(MalformedEvent):
                tails[record.partition()] = position_of(record.headers() or ())
    reader.rest()
    return tails


class _TopicWatch:
    """Notices, while nothing is sent, that the broker came back with less than it had."""

    def __init__(self, reader: RecordReader, partitions: list[int]) -> None:
        self._reader = reader
        self._ends = dict.fromkeys(partitions, 0)
        self._next_look = 0.0

    def look(self) -> None:
        """Compares, at most every two seconds. Raises `BrokerLostRecords` and `KafkaError`."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _WATCH_SECONDS
        for partition, known in self._ends.items():
            _, end = self._reader.bounds(partition, seconds=_BOUNDS_SECONDS)
            if end < known:
                raise BrokerLostRecords("the topic is shorter than it was")
            self._ends[partition] = end
