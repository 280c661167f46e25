"""Follows the chain of positions on every partition of `loggia.events.v1`.

A record is taken when, and only when, its position is above the last one taken and the one that it
names before it is not (docs/decisions/003-the-relay-sends-confirmed-rounds.md). Reading goes on in
a thread of its own while what was taken before is being applied.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

from backend.contracts.codec import (
    Envelope,
    MalformedEvent,
    PublicEvent,
    decode_envelope,
    open_envelope,
)
from backend.infra.dead_letters import DeadLetter
from backend.infra.logging import get_logger
from backend.infra.records import Record, RecordReader

_READ_SECONDS = 0.1
_BULK_READ_SECONDS = 0.02
_JOIN_SECONDS = 10.0
# What may lie ready before reading waits: events, and bytes that were read for them.
_LIVE = (10_000, 16_000_000)
_BULK = (50_000, 64_000_000)
_log = get_logger(__name__)


@dataclass(frozen=True)
class Progress:
    """Where a consumer stands on one partition."""

    next_offset: int = 0
    position: int = 0


@dataclass
class Batch:
    """What is to be applied in one transaction; in order within each partition."""

    events: list[PublicEvent] = field(default_factory=list)
    # By position: partition and offset that the events come from.
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    letters: list[DeadLetter] = field(default_factory=list)
    # Positions of events of other types than are wanted.
    passed: list[int] = field(default_factory=list)
    progress: dict[int, Progress] = field(default_factory=dict)
    size: int = 0

    def add(self, later: Batch) -> None:
        """Takes in what comes behind."""
        self.events += later.events
        self.places |= later.places
        self.letters += later.letters
        self.passed += later.passed
        self.progress |= later.progress
        self.size += later.size


@dataclass
class _Place:
    next_offset: int
    position: int
    # It was read from the beginning since it last moved on.
    rewound: bool = False


class Follower:
    """Reads from where a consumer stands. Use as a context manager.

    `types` are the events that are wanted; of others, nothing but the position is looked at. With
    `bulk`, batches are as large as they may be: better for many events, and worse for few.
    """

    def __init__(
        self,
        reader: RecordReader,
        progress: Mapping[int, Progress],
        consumer: str,
        types: Collection[str] | None,
        *,
        bulk: bool = False,
    ) -> None:
        self._reader = reader
        self._bulk = bulk
        # Who waits for the end of a bulk reading waits for this.
        self._read_seconds = _BULK_READ_SECONDS if bulk else _READ_SECONDS
        self._consumer = consumer
        self._types = types
        self._told = {number: progress.get(number, Progress()) for number in reader.partitions()}
        self._places = {n: _Place(at.next_offset, at.position) for n, at in self._told.items()}
        self._pending = Batch()
        self._at_the_end = False
        self._changed = threading.Condition()
        self._resting = False
        self._ended = False
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"{consumer} reader", daemon=True)

    def __enter__(self) -> Self:
        # One record back: it must be the one that was seen, or this is another topic.
        self._reader.start({n: max(at.next_offset - 1, 0) for n, at in self._places.items()})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(timeout=_JOIN_SECONDS)

    def take(self, seconds: float) -> Batch | None:
        """What has come since the last call, or comes in this time.

        Raises `kafka.errors.KafkaError`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_ready or self._fault, seconds)
            if self._fault is not None:
                raise self._fault
            if not self._is_ready:
                return None
            taken, self._pending = self._pending, Batch()
            self._changed.notify_all()
            return taken

    @property
    def _is_ready(self) -> bool:
        due = not self._bulk or self._at_the_end or self._is_full
        return due and bool(self._pending.progress)

    @property
    def _is_full(self) -> bool:
        events, size = _BULK if self._bulk else _LIVE
        return len(self._pending.events) >= events or self._pending.size >= size

    def rest(self) -> None:
        """Asks the broker for nothing until `wake`."""
        with self._changed:
            self._resting = True

    def wake(self) -> None:
        """Reads again."""
        with self._changed:
            self._resting = False
            self._changed.notify_all()

    # -- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._ended:
                if self._resting:
                    self._rest()
                batch = Batch()
                if records := self._reader.read(self._read_seconds):
                    self._collect(records, batch)
                else:
                    self._look_for_loss()
                self._hand_over(batch)
        except Exception as error:
            with self._changed:
                self._fault = error
                self._changed.notify_all()

    def _rest(self) -> None:
        self._reader.rest()
        with self._changed:
            self._changed.wait_for(lambda: self._ended or not self._resting)
        self._start()

    def _hand_over(self, batch: Batch) -> None:
        ends = {number: self._reader.end_of(number) for number in self._places}
        with self._changed:
            self._changed.wait_for(lambda: self._ended or not self._is_full)
            self._pending.add(batch)
            self._at_the_end = all(
                end is not None and self._places[number].next_offset >= end
                for number, end in ends.items()
            )
            self._changed.notify_all()

    def _start(self) -> None:
        self._reader.start({number: place.next_offset for number, place in self._places.items()})

    def _look_for_loss(self) -> None:
        """The embedded broker says nothing when it has less than is asked for."""
        lost = False
        for number, place in self._places.items():
            end = self._reader.end_of(number)
            if end is not None and end < place.next_offset:
                self._rewind(number, place)
                lost = True
        if lost:
            self._start()

    def _rewind(self, number: int, place: _Place) -> None:
        _log.warning(
            "the partition is not what it was, reading it from the beginning",
            consumer=self._consumer,
            partition=number,
        )
        place.next_offset = 0

    def _collect(self, records: list[Record], batch: Batch) -> None:
        rewound: set[int] = set()
        for record in records:
            number = record.partition()
            if number in rewound:
                continue
            place = self._places[number]
            known, place.next_offset = place.next_offset, record.offset() + 1
            batch.size += len(record)
            try:
                envelope = open_envelope(record.headers() or ())
                if envelope.position <= place.position:
                    continue
                if envelope.previous_position > place.position:
                    # Where it has been looked for from the beginning, what is missing is yet to
                    # come, and this one once more behind it.
                    if not place.rewound:
                        self._rewind(number, place)
                        place.rewound = True
                        rewound.add(number)
                    continue
                self._take_in(envelope, record, batch)
                place.position, place.rewound = envelope.position, False
            except MalformedEvent as error:
                if record.offset() >= known:
                    self._park(record, place, str(error), batch)
        for number, place in self._places.items():
            now = Progress(place.next_offset, place.position)
            if now != self._told[number]:
                self._told[number] = batch.progress[number] = now
        if rewound:
            self._start()

    def _take_in(self, envelope: Envelope, record: Record, batch: Batch) -> None:
        if self._types is not None and envelope.type not in self._types:
            batch.passed.append(envelope.position)
            return
        batch.events.append(decode_envelope(envelope, record.key(), record.value()))
        batch.places[envelope.position] = (record.partition(), record.offset())

    def _park(self, record: Record, place: _Place, error: str, batch: Batch) -> None:
        letter = DeadLetter.of(record, self._consumer, error)
        if letter.position is None:
            batch.letters.append(letter)
        elif letter.position > place.position:
            batch.letters.append(letter)
            place.position = letter.position
