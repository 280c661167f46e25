"""Usage: what answers took, summed by day, model and key, from the topic `loggia.usage.v1`.

Each record has the process that made it and a number of its own. Which numbers are in the sums is
written in the transaction of the sums, so that a record that comes again changes nothing, whatever
its offset is; one that was passed over is taken in when it comes late. Sums are therefore neither
lost nor doubled when the broker loses the topic: offsets only say where reading goes on, and a
topic that is another one than before is read from its beginning.

The sums are not made of events. They cannot be rebuilt, and nothing here ever removes them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from google.protobuf.message import DecodeError
from kafka.errors import KafkaError
from psycopg import Cursor
from psycopg.rows import DictRow, tuple_row
from psycopg.types.json import Jsonb

from backend.contracts.codec import Headers, MalformedEvent
from backend.contracts.generated.loggia.usage.v1.usage_pb2 import RequestAnswered
from backend.contracts.usage import decode, identity
from backend.infra import dead_letters
from backend.infra.consumer import TRANSIENT
from backend.infra.dead_letters import DeadLetter
from backend.infra.failpoints import failpoint
from backend.infra.kafka import USAGE
from backend.infra.logging import get_logger
from backend.infra.postgres import Exclusive, Pool
from backend.infra.records import Record, RecordReader
from backend.infra.settings import Settings

NAME = "usage"
_PARTITION = 0
_AT_ONCE = 5_000
_READ_SECONDS = 0.3
# The record before is there to be read, so that silence means a slow broker or an empty topic.
_ANCHOR_SECONDS = 2.0
_LOOK_SECONDS = 1.0
# How long to go on without looking whether the topic is still the same one.
_SESSION_SECONDS = 10.0
_PAUSE_SECONDS = 0.5
_log = get_logger(__name__)

_EARLIEST, _LATEST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
_SUMS = ("requests", "failed", "estimated", "input_tokens", "output_tokens", "milliseconds",
         "engine_microseconds", "accelerator_microseconds")  # fmt: skip


class Key(NamedTuple):
    """What usage is summed by."""

    day: str
    model_id: str
    key_id: str


@dataclass
class Seen:
    """Which of a process's records are in the sums: those up to `sequence` but the missing ones."""

    sequence: int = 0
    missing: list[list[int]] = field(default_factory=list)
    lost: int = 0
    first_at: datetime = _LATEST
    last_at: datetime = _EARLIEST
    # Some were passed over since this was loaded.
    passed_over: bool = False

    def add(self, number: int) -> bool:
        """Counts a record as seen; False where it was before."""
        if number > self.sequence:
            if number > self.sequence + 1:
                self.missing.append([self.sequence + 1, number - 1])
                self.passed_over = True
            self.sequence = number
            return True
        for place, (first, last) in enumerate(self.missing):
            if first <= number <= last:
                left = [[first, number - 1], [number + 1, last]]
                self.missing[place : place + 1] = [part for part in left if part[0] <= part[1]]
                return True
        return False


@dataclass
class Batch:
    """Records that are taken in together, and where reading goes on behind them."""

    records: list[RequestAnswered] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    last: Record | None = None

    def add(self, record: Record) -> None:
        """Takes a record in, or parks what is none."""
        self.last = record
        try:
            self.records.append(decode(record.value(), record.headers() or []))
        except MalformedEvent as error:
            self.letters.append(DeadLetter.of(record, NAME, str(error)))


class Usage:
    """The one reader of the topic. `run` is for a thread."""

    def __init__(
        self, settings: Settings, pool: Pool, *, on_ready: Callable[[], None] = lambda: None
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._on_ready = on_ready
        # The topic is being read from its beginning, to look for what was passed over.
        self._searching = False

    def run(self, stop: threading.Event) -> None:
        """Sums until `stop` is set, through restarts of the broker and of PostgreSQL."""
        while not stop.is_set():
            try:
                self._run_with_lock(stop)
            except (*TRANSIENT, KafkaError) as error:
                _log.warning("usage starts again", error=str(error))
                stop.wait(_PAUSE_SECONDS)

    def _run_with_lock(self, stop: threading.Event) -> None:
        with contextlib.closing(Exclusive(self._settings.dsn, f"consumer {NAME}")) as lock:
            if not lock.acquire(stop):
                return
            reader = RecordReader(self._settings, USAGE, client_id=f"loggia-{NAME}")
            with contextlib.closing(reader):
                self._on_ready()
                while not stop.is_set():
                    self._catch_up(reader, lock, stop)
                    # Polling a broker costs it and us; nobody needs usage to the second.
                    reader.rest()
                    stop.wait(_LOOK_SECONDS)
                    lock.confirm()

    def _catch_up(self, reader: RecordReader, lock: Exclusive, stop: threading.Event) -> None:
        """Reads to the end of the topic, from where it left off or from the beginning."""
        next_offset, last_record = self._progress()
        reader.start({_PARTITION: max(next_offset - 1, 0)})
        first: list[Record] = []
        if next_offset:
            found = reader.read(_ANCHOR_SECONDS)
            if not found and reader.bounds(_PARTITION, seconds=_ANCHOR_SECONDS)[1] >= next_offset:
                return  # it is there; the broker is slow
            first = found[1:]
            if not found or _identity(found[0]) != last_record:
                _log.warning("the topic is another one than before; reading it from the beginning")
                self._forget_offset()
                self._searching = True
                return
        until = time.monotonic() + _SESSION_SECONDS
        while not stop.is_set():
            lock.confirm()
            batch, is_all = _gather(reader, first)
            first = []
            if batch.last is not None and self._commit(batch, batch.last) and not self._searching:
                # The broker may have lost the topic under our feet, and filled it anew.
                _log.warning("records were passed over; looking for them from the beginning")
                self._forget_offset()
                self._searching = True
                return
            if len(batch.records) < _AT_ONCE:
                self._searching = False
            if is_all or time.monotonic() > until:
                return

    def _progress(self) -> tuple[int, str]:
        with self._pool.connection() as connection:
            ((next_offset, last_record),) = connection.cursor(row_factory=tuple_row).execute(
                "SELECT next_offset, last_record FROM loggia.usage_progress"
            )
        return next_offset, last_record

    def _forget_offset(self) -> None:
        with self._pool.connection() as connection:
            connection.execute("UPDATE loggia.usage_progress SET next_offset = 0, last_record = ''")

    def _commit(self, batch: Batch, last: Record) -> bool:
        """Takes a batch in; whether records of it were passed over."""
        with (
            self._pool.connection() as connection,
            connection.transaction(),
            connection.cursor() as cursor,
        ):
            passed_over = take_in(cursor, batch.records)
            failpoint("usage.applied")
            dead_letters.park(cursor, batch.letters)
            cursor.execute(
                "UPDATE loggia.usage_progress SET next_offset = %s, last_record = %s, "
                "updated_at = now()",
                (last.offset() + 1, _identity(last)),
            )
        failpoint("usage.committed")
        if batch.letters:
            dead_letters.announce(self._settings, batch.letters)
        return passed_over


def _gather(reader: RecordReader, first: Sequence[Record]) -> tuple[Batch, bool]:
    """What is there to be read, up to a bound; and whether that is all."""
    batch = Batch()
    for record in first:
        batch.add(record)
    until = time.monotonic() + _LOOK_SECONDS
    while len(batch.records) < _AT_ONCE and time.monotonic() < until:
        records = reader.read(_READ_SECONDS)
        if not records:
            return batch, True
        for record in records:
            batch.add(record)
    return batch, False


def take_in(cursor: Cursor[DictRow], records: Sequence[RequestAnswered]) -> bool:
    """Adds records to the sums, in the caller's transaction, unless they are in them already.

    Says whether there are numbers before these that are in the sums neither.
    """
    # Whoever overlaps for a moment waits here, and sees what the other one has taken in.
    cursor.execute("SELECT 1 FROM loggia.usage_progress FOR UPDATE")
    sources = _load(cursor, {record.source for record in records})
    sums: dict[Key, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_SUMS, 0))
    changed: set[str] = set()
    for record in records:
        seen = sources[record.source]
        if not seen.add(record.sequence):
            continue
        changed.add(record.source)
        at = record.time.ToDatetime(tzinfo=UTC)
        seen.lost += record.lost_before
        seen.first_at, seen.last_at = min(seen.first_at, at), max(seen.last_at, at)
        key_id = record.key_id if record.HasField("key_id") else ""
        added = sums[Key(at.date().isoformat(), record.model_id, key_id)]
        for name, amount in zip(_SUMS, _amounts(record), strict=True):
            added[name] += amount
    _store_sums(cursor, sums)
    _store_sources(cursor, {source: sources[source] for source in sorted(changed)})
    return any(sources[source].passed_over for source in changed)


def read(_: bytes | None, value: bytes | None, headers: Headers) -> RequestAnswered:
    """The record of these parts. Raises `MalformedEvent`."""
    return decode(value, headers)


def _amounts(record: RequestAnswered) -> tuple[int, ...]:
    return (
        1,
        int(record.status >= 400),
        int(record.estimated),
        record.input_tokens,
        record.output_tokens,
        record.milliseconds,
        round(record.engine_seconds * 1e6),
        round(record.accelerator_seconds * 1e6),
    )


def _load(cursor: Cursor[DictRow], sources: set[str]) -> dict[str, Seen]:
    cursor.execute(
        "SELECT source, sequence, missing, lost, first_at, last_at FROM loggia.usage_sources "
        "WHERE source = ANY(%s)",
        (list(sources),),
    )
    found: dict[str, Seen] = defaultdict(Seen)
    for row in cursor:
        source = row.pop("source")
        found[source] = Seen(**row)
    return found


def _store_sums(cursor: Cursor[DictRow], sums: dict[Key, dict[str, int]]) -> None:
    if sums:
        cursor.executemany(
            "INSERT INTO loggia.usage_days AS d (day, model_id, key_id, requests, failed, "
            "estimated, input_tokens, output_tokens, milliseconds, engine_microseconds, "
            "accelerator_microseconds) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (day, model_id, key_id) DO UPDATE SET "
            "requests = d.requests + excluded.requests, failed = d.failed + excluded.failed, "
            "estimated = d.estimated + excluded.estimated, "
            "input_tokens = d.input_tokens + excluded.input_tokens, "
            "output_tokens = d.output_tokens + excluded.output_tokens, "
            "milliseconds = d.milliseconds + excluded.milliseconds, "
            "engine_microseconds = d.engine_microseconds + excluded.engine_microseconds, "
            "accelerator_microseconds = "
            "d.accelerator_microseconds + excluded.accelerator_microseconds",
            [(*key, *amounts.values()) for key, amounts in sorted(sums.items())],
        )


def _store_sources(cursor: Cursor[DictRow], sources: dict[str, Seen]) -> None:
    if sources:
        cursor.executemany(
            "INSERT INTO loggia.usage_sources (source, sequence, missing, lost, first_at, last_at) "
            "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (source) DO UPDATE SET "
            "sequence = excluded.sequence, missing = excluded.missing, lost = excluded.lost, "
            "first_at = excluded.first_at, last_at = excluded.last_at",
            [
                (source, seen.sequence, Jsonb(seen.missing), seen.lost, seen.first_at, seen.last_at)
                for source, seen in sources.items()
            ],
        )


def _identity(record: Record) -> str:
    """What the record is, wherever it stands; also of records that cannot be taken in."""
    try:
        return identity(RequestAnswered.FromString(record.value() or b""))
    except DecodeError:
        return f"unreadable at {record.offset()}"
