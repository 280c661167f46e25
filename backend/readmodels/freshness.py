"""Read your writes: up to which event a projection has come, and waiting until it has."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Self

import psycopg
from psycopg.rows import DictRow

from backend.infra.consumer import CHANNEL
from backend.infra.logging import get_logger
from backend.infra.postgres import TIME_OUTS, Pool, connect

_RECONNECT_SECONDS = 1.0
_LISTEN_SECONDS = 1.0
_log = get_logger(__name__)


def position_of(pool: Pool, consumer: str) -> int:
    """The position up to which the consumer has applied every event; 0 before its first."""
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT position FROM loggia.consumer_watermark WHERE consumer = %s", (consumer,)
        ).fetchone()
    return int(row["position"]) if row else 0


def reached(pool: Pool, consumer: str, position: int) -> bool:
    """Whether the consumer has applied every event up to the position."""
    return position_of(pool, consumer) >= position


class Freshness:
    """Hears how far the projections are, with one connection for the whole process.

    However many wait, nobody asks the database for themselves. Use as a context manager; safe
    for many threads.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._lock = threading.Lock()
        self._positions: dict[str, int] = {}
        self._waiting: dict[Future[None], tuple[str, int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="freshness", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=2 * _LISTEN_SECONDS)

    def known_position(self, consumer: str) -> int:
        """The highest position heard of, without asking the database."""
        return self._positions.get(consumer, 0)

    def coming(self, consumer: str, position: int) -> Future[None]:
        """Is done once the consumer has come to the position. Cancel it to wait no longer."""
        future: Future[None] = Future()
        with self._lock:
            if self.known_position(consumer) >= position:
                future.set_result(None)
            else:
                self._waiting[future] = (consumer, position)
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: Future[None]) -> None:
        with self._lock:
            self._waiting.pop(future, None)

    def _note(self, consumer: str, position: int) -> None:
        with self._lock:
            if position <= self.known_position(consumer):
                return
            self._positions[consumer] = position
            come = [f for f, (c, p) in self._waiting.items() if c == consumer and p <= position]
        for future in come:
            if future.set_running_or_notify_cancel():
                future.set_result(None)

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                with connect(self._dsn, options=TIME_OUTS) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._look(connection)
                    while not self._stop.is_set():
                        self._hear(connection)
            except psycopg.OperationalError as error:
                _log.warning("progress cannot be heard, trying again", error=str(error))
                self._stop.wait(_RECONNECT_SECONDS)

    def _hear(self, connection: psycopg.Connection[DictRow]) -> None:
        heard = False
        for notice in connection.notifies(timeout=_LISTEN_SECONDS, stop_after=1):
            heard = True
            consumer, _, position = notice.payload.rpartition(":")
            self._note(consumer, int(position))
        if self._waiting and not heard:
            self._look(connection)

    def _look(self, connection: psycopg.Connection[DictRow]) -> None:
        for row in connection.execute("SELECT consumer, position FROM loggia.consumer_watermark"):
            self._note(row["consumer"], row["position"])
