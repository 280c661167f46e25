"""Reads `loggia.events.v1` into PostgreSQL: each event applied once, in order, whatever happens.

Progress is written in the transaction of the rows, so redelivery changes nothing. One consumer of a
name is active at a time, by a lock in PostgreSQL; should two overlap for an instant, the second
to commit is refused, because the progress it read is no longer there.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter

import psycopg
from kafka.errors import KafkaError
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg_pool import PoolTimeout

from backend.contracts.codec import PublicEvent
from backend.infra import dead_letters
from backend.infra.dead_letters import DeadLetter
from backend.infra.failpoints import failpoint
from backend.infra.following import Batch, Follower, Progress
from backend.infra.kafka import EVENTS
from backend.infra.logging import get_logger
from backend.infra.postgres import Exclusive, Pool
from backend.infra.records import RecordReader
from backend.infra.settings import Settings

CHANNEL = "loggia_progress"

# What PostgreSQL notifies when events are written to the store.
STORE_CHANNEL = "loggia_events"

# Applies events in order, inside the transaction that also records the progress.
Handler = Callable[[Cursor[DictRow], Sequence[PublicEvent]], None]

_TAKE_SECONDS = 0.1
_BULK_TAKE_SECONDS = 0.02
# Polling a broker costs it and us; when nothing has come for a while, the event store's own
# notification wakes us, and the topic is looked at now and then in any case.
_AWAKE_SECONDS = 1.0
_DOZE_SECONDS = 1.0
_PAUSE_SECONDS = 0.5
_log = get_logger(__name__)

# Faults that pass by themselves; everything else a handler raises is the event's fault.
TRANSIENT = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    PoolTimeout,
)


class Fenced(Exception):
    """Another consumer of this name has moved the progress."""


@dataclass
class Watermark:
    """Every event up to `position` has been seen. Positions have no gaps, so this is decidable."""

    position: int = 0
    ahead: set[int] = field(default_factory=set)

    def add(self, positions: Iterable[int]) -> None:
        """Counts events as seen."""
        self.ahead.update(positions)
        self.ahead = {position for position in self.ahead if position > self.position}
        while self.position + 1 in self.ahead:
            self.position += 1
            self.ahead.remove(self.position)


class Consumer:
    """One named reader of the topic.

    Where `types` is given, `handle` gets events of these only. With `bulk`, it gets as many at a
    time as it may, for whoever begins at the beginning.
    """

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        name: str,
        handle: Handler,
        *,
        types: Collection[str] | None = None,
        bulk: bool = False,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._name = name
        self._handle = handle
        self._types = types
        self._bulk = bulk
        self._on_ready = on_ready
        self._progress: dict[int, Progress] = {}
        self._watermark = Watermark()
        self._parked_keys: set[str] = set()

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
            reader = RecordReader(self._settings, EVENTS, client_id=f"loggia-{self._name}")
            with (
                contextlib.closing(reader),
                Follower(
                    reader, self._progress, self._name, self._types, bulk=self._bulk
                ) as follower,
            ):
                self._on_ready()
                self._follow(follower, lock, stop)

    def _follow(self, follower: Follower, lock: Exclusive, stop: threading.Event) -> None:
        last_sign = time.monotonic()
        while not stop.is_set():
            batch = follower.take(_BULK_TAKE_SECONDS if self._bulk else _TAKE_SECONDS)
            lock.confirm()
            if batch is not None:
                self._commit(batch)
            if batch is not None or lock.heard(0):
                last_sign = time.monotonic()
            elif time.monotonic() - last_sign > _AWAKE_SECONDS:
                follower.rest()
                if lock.heard(_DOZE_SECONDS):
                    last_sign = time.monotonic()
                follower.wake()

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

    # -- one batch -------------------------------------------------------------------------------

    def _commit(self, batch: Batch) -> None:
        # Each partition is in order; by position, the whole batch is.
        batch.events.sort(key=attrgetter("position"))
        if self._parked_keys or batch.letters:
            self._park_followers(batch)
        try:
            self._apply(batch, one_by_one=False)
        except (*TRANSIENT, Fenced):
            raise
        except Exception as error:
            _log.error(
                "a batch failed, applying it event by event", consumer=self._name, error=repr(error)
            )
            self._apply(batch, one_by_one=True)

    def _park_followers(self, batch: Batch) -> None:
        """What follows a parked event of its key waits with it."""
        since = dict.fromkeys(self._parked_keys, 0)
        for letter in batch.letters:
            if letter.position is not None:
                since.setdefault(letter.partition_key, letter.position)
        going_on = []
        for event in batch.events:
            if event.position > since.get(event.partition_key, event.position):
                batch.letters.append(self._letter(event, batch, dead_letters.FOLLOWS))
            else:
                going_on.append(event)
        batch.events = going_on

    def _apply(self, batch: Batch, *, one_by_one: bool) -> None:
        letters = list(batch.letters)
        mark = Watermark(self._watermark.position, set(self._watermark.ahead))
        mark.add(
            chain(
                batch.passed,
                (event.position for event in batch.events),
                (letter.position for letter in letters if letter.position is not None),
            )
        )
        with (
            self._pool.connection() as connection,
            connection.transaction(),
            connection.cursor() as cursor,
        ):
            # First, because a rebuilt projection is swapped in by who holds the progress: waiting
            # for it, this transaction must hold nothing else.
            self._save(cursor, batch.progress, mark)
            if one_by_one:
                letters += self._isolate(connection, cursor, batch)
            elif batch.events:
                self._handle(cursor, batch.events)
            failpoint("consumer.applied")
            if not dead_letters.still_parked(cursor, self._name, batch.letters):
                raise Fenced("parked events have been applied again")
            dead_letters.park(cursor, letters)
        failpoint("consumer.committed")
        self._progress.update(batch.progress)
        self._watermark = mark
        self._parked_keys.update(letter.partition_key for letter in letters)
        if letters:
            dead_letters.announce(self._settings, letters)

    def _isolate(
        self, connection: psycopg.Connection[DictRow], cursor: Cursor[DictRow], batch: Batch
    ) -> list[DeadLetter]:
        """Applies each event under a savepoint; parks those that fail, and what follows them."""
        letters: list[DeadLetter] = []
        bad_keys: set[str] = set()
        for event in batch.events:
            if event.partition_key in bad_keys:
                letters.append(self._letter(event, batch, dead_letters.FOLLOWS))
                continue
            try:
                with connection.transaction():
                    self._handle(cursor, [event])
            except TRANSIENT:
                raise
            except Exception as error:
                bad_keys.add(event.partition_key)
                letters.append(self._letter(event, batch, repr(error)))
        return letters

    def _letter(self, event: PublicEvent, batch: Batch, error: str) -> DeadLetter:
        return DeadLetter.of_event(event, batch.places[event.position], self._name, error)

    def _save(
        self, cursor: Cursor[DictRow], progress: dict[int, Progress], mark: Watermark
    ) -> None:
        # Everybody locks partitions in their order, or two would wait for each other.
        for partition, now in sorted(progress.items()):
            before = self._progress.get(partition, Progress())
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
        # One mark for all partitions: who was late on another one would be forgotten in it.
        cursor.execute(
            "INSERT INTO loggia.consumer_watermark AS w (consumer, position, ahead) "
            "VALUES (%s, %s, %s::bigint[]) ON CONFLICT (consumer) DO UPDATE SET "
            "position = excluded.position, ahead = excluded.ahead "
            "WHERE w.position = %s AND w.ahead = %s::bigint[]",
            (self._name, *_columns(mark), *_columns(self._watermark)),
        )
        if cursor.rowcount != 1:
            raise Fenced("somebody else moved the watermark")
        cursor.execute("SELECT pg_notify(%s, %s)", (CHANNEL, f"{self._name}:{mark.position}"))


def _columns(mark: Watermark) -> tuple[int, str]:
    # As text: a partition may be thousands of events ahead, and lists are slow to adapt.
    return mark.position, "{" + ",".join(map(str, sorted(mark.ahead))) + "}"
