"""Progress while it happens: bytes, percent, log lines. Never history, never in the event store."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from functools import partial
from uuid import UUID

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from backend.infra.kafka import TELEMETRY, producer
from backend.infra.logging import get_logger
from backend.infra.settings import Settings

_QUEUE_SIZE = 1000
_MIN_INTERVAL_SECONDS = 0.2
_RECONNECT_SECONDS = 2.0
_log = get_logger(__name__)


class Telemetry(msgspec.Struct, frozen=True, rename="camel"):
    """One reading. `kind` is upload, import, deploy, environment or log.

    `done` of `total` in `unit` (bytes, steps, percent or seconds); `total` is None where nobody
    knows it.
    """

    model_id: UUID
    kind: str
    step: str
    done: int = 0
    total: int | None = None
    unit: str = "bytes"
    message: str = ""
    at: float = msgspec.field(default_factory=time.time)


class TelemetryPublisher:
    """Sends readings in the background. It never blocks and never fails the work it reports on.

    Readings of one model and step are thinned to five a second; the last one (`done == total`)
    and log lines always go out. While the broker is down, readings are dropped.
    """

    def __init__(self, settings: Settings, *, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._queue: queue.Queue[Telemetry | None] = queue.Queue(_QUEUE_SIZE)
        self._last_sent: dict[tuple[UUID, str, str], float] = {}
        self._thread = threading.Thread(target=self._send, name="telemetry", daemon=True)
        self._thread.start()

    def publish(self, reading: Telemetry) -> None:
        """Queues a reading, or drops it."""
        key = (reading.model_id, reading.kind, reading.step)
        now = time.monotonic()
        final = reading.total is not None and reading.done >= reading.total
        if reading.kind != "log" and not final:
            if now - self._last_sent.get(key, 0.0) < _MIN_INTERVAL_SECONDS:
                return
            self._last_sent[key] = now
        elif final:
            self._last_sent.pop(key, None)
        try:
            self._queue.put_nowait(reading)
        except queue.Full:
            return

    def close(self) -> None:
        """Sends what is queued, bounded to two seconds."""
        try:
            self._queue.put(None, timeout=1)
        except queue.Full:
            return
        self._thread.join(timeout=2)

    def _send(self) -> None:
        sender: KafkaProducer | None = None
        lost = threading.Event()
        while (reading := self._queue.get()) is not None:
            try:
                if sender is None or lost.is_set():
                    # A producer whose broker was started again, empty, sends nothing more.
                    _end(sender)
                    sender, lost = None, threading.Event()
                    sender = producer(self._settings, client_id=self._client_id, linger_ms=5)
                sender.send(
                    TELEMETRY,
                    key=str(reading.model_id).encode(),
                    value=msgspec.json.encode(reading),
                ).add_errback(partial(_note, lost))
            except KafkaError as error:
                _log.warning("telemetry dropped", error=str(error))
                lost.set()
                time.sleep(_RECONNECT_SECONDS)
        if sender is not None:
            sender.close(timeout=1)


def _note(lost: threading.Event, error: Exception) -> None:
    _log.warning("telemetry lost", error=str(error))
    lost.set()


def _end(sender: KafkaProducer | None) -> None:
    if sender is not None:
        with contextlib.suppress(KafkaError):
            sender.close(timeout=0)
