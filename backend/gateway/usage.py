"""Tells `loggia.usage.v1` what answers took, in the background: no request ever waits for it.

Every record has the process that made it and a number, and comes to the topic in the order of these
numbers. After any fault the records that were confirmed last are sent once more, because a broker
that keeps its topics in memory may have lost them; readers pass over numbers that they have seen.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice
from uuid import uuid4

from confluent_kafka import KafkaException
from kafka.errors import KafkaError

from backend.contracts.generated.loggia.usage.v1.usage_pb2 import RequestAnswered
from backend.contracts.usage import MOST, headers_of
from backend.gateway.metering import Answered
from backend.gateway.metrics import UsageMetrics
from backend.gateway.usage_spool import Spool
from backend.infra.kafka import USAGE
from backend.infra.logging import get_logger
from backend.infra.records import RoundSender, has_topic
from backend.infra.settings import Settings

# What may wait while the broker is away: an hour at ten requests a second.
_MOST_WAITING = 40_000
# What is sent once more after a fault. The sums have taken it in within seconds.
_SENT_AGAIN = 5_000
_ROUND = 500
_ROUND_SECONDS = 0.25
_CONFIRM_SECONDS = 4.5
_RECONNECT_SECONDS = 2.0
_END_SECONDS = 6.0
# The broker's; that a sender cannot be made at all is told by its library.
_FAULTS = (KafkaError, KafkaException)
_log = get_logger(__name__)


class UsagePublisher:
    """Sends records until it is closed. `publish` is for one thread."""

    def __init__(
        self, settings: Settings, metrics: UsageMetrics, *, most_waiting: int = _MOST_WAITING
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._most_waiting = most_waiting
        self._source = uuid4().hex
        self._spool = Spool(settings.data / "usage", self._source)
        # What the event loop has put here has no number yet.
        self._waiting: deque[tuple[Answered, int]] = deque()
        self._lost = 0
        # Numbered; those that an earlier process could not send come first.
        self._numbered: deque[RequestAnswered] = deque()
        self._confirmed: deque[RequestAnswered] = deque(maxlen=_SENT_AGAIN)
        self._last_sequence = 0
        self._sender: RoundSender | None = None
        # Whether the last attempt came through.
        self._reached = True
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)
        self._thread.start()

    def publish(self, answered: Answered) -> None:
        """Queues a record; where there is no room, the next record says that one was lost."""
        if len(self._waiting) >= self._most_waiting:
            self._lost += 1
            self._metrics.lost.inc()
            return
        self._waiting.append((answered, self._lost))
        self._lost = 0

    def close(self) -> None:
        """Sends what is queued, for some seconds; the next process of this machine sends others."""
        self._closing.set()
        self._thread.join(timeout=_END_SECONDS)

    # -- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        self._try(self._take_over)
        while not self._closing.wait(_ROUND_SECONDS if self._reached else _RECONNECT_SECONDS):
            self._try(self._send_all)
        if not (self._reached and self._try(self._send_all)):
            self._try(self._leave)
        self._end_sender()

    def _try(self, step: Callable[[], bool]) -> bool:
        """Whatever happens, the thread goes on: nobody else would tell of later answers."""
        try:
            return step()
        except Exception:
            _log.exception("usage cannot be told now; it waits")
            self._reached = False
            self._end_sender()
            return False

    def _take_over(self) -> bool:
        self._numbered.extend(self._spool.claim())
        return True

    def _leave(self) -> bool:
        self._number(len(self._waiting))
        self._spool.leave(self._numbered)
        return True

    def _send_all(self) -> bool:
        """Sends everything that waits; whether the broker has it all."""
        sent = True
        while sent and (self._waiting or self._numbered):
            self._number(_ROUND - len(self._numbered))
            sent = self._send_round()
            self._metrics.waiting.set(len(self._waiting) + len(self._numbered))
        return sent

    def _number(self, most: int) -> None:
        for _ in range(min(most, len(self._waiting))):
            answered, lost_before = self._waiting.popleft()
            self._last_sequence += 1
            try:
                record = _record(answered, lost_before, self._source, self._last_sequence)
            except (TypeError, ValueError):
                # Readers miss its number.
                _log.exception("an answer's usage cannot be told", request_id=answered.request_id)
                continue
            self._numbered.append(record)

    def _send_round(self) -> bool:
        records = list(islice(self._numbered, _ROUND))
        try:
            if self._sender is None:
                self._sender = self._begin()
            _confirm(self._sender, records)
        except _FAULTS as error:
            if self._reached:
                _log.warning("usage cannot be told now; it waits", error=str(error))
            self._reached = False
            self._end_sender()
            return False
        self._reached = True
        for record in records:
            self._confirmed.append(record)
            self._numbered.popleft()
        self._metrics.published.inc(len(records))
        if not self._numbered:
            self._spool.forget_claimed()
        return True

    def _begin(self) -> RoundSender:
        if not has_topic(self._settings, USAGE):
            raise KafkaError(f"the topic {USAGE} does not exist yet")
        sender = RoundSender(self._settings, USAGE, client_id="loggia-usage")
        again = list(self._confirmed)
        try:
            for first in range(0, len(again), _ROUND):
                _confirm(sender, again[first : first + _ROUND])
        except _FAULTS:
            _abandon(sender)
            raise
        return sender

    def _end_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            _abandon(sender)


def _abandon(sender: RoundSender) -> None:
    with suppress(*_FAULTS):
        sender.abandon()


def _confirm(sender: RoundSender, records: Iterable[RequestAnswered]) -> None:
    for record in records:
        sender.add(0, record.model_id.encode(), record.SerializeToString(), headers_of(record))
    sender.confirm(_CONFIRM_SECONDS)


def _record(answered: Answered, lost_before: int, source: str, sequence: int) -> RequestAnswered:
    work = answered.work
    record = RequestAnswered(
        request_id=answered.request_id,
        model_id=answered.model_id,
        key_id=answered.key_id,
        revision=work.revision,
        replica_id=work.replica_id,
        route=answered.route,
        input_tokens=_sane(work.input_tokens),
        output_tokens=_sane(work.output_tokens),
        estimated=work.estimated,
        milliseconds=round(answered.seconds * 1000),
        engine_seconds=work.engine_seconds,
        accelerator_seconds=work.accelerator_seconds,
        status=answered.status,
        source=source,
        sequence=sequence,
        lost_before=lost_before,
    )
    record.time.FromNanoseconds(int(answered.at * 1e9))
    return record


def _sane(tokens: int) -> int:
    """Engines are asked, not trusted."""
    return min(max(tokens, 0), MOST - 1)
