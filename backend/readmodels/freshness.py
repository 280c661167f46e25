"""Read your writes: up to which event a projection has come, and waiting until it has."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

import psycopg

from backend.infra.consumer import CHANNEL
from backend.infra.logging import get_logger
from backend.infra.postgres import Pool, connect

_RECONNECT_SECONDS = 1.0
_LISTEN_SECONDS = 1.0
_log = get_logger(__name__)


class NotYetVisible(Exception):
    """The projection has not come to the position in time; ask again after `retry_after` s."""

    def __init__(self, consumer: str, position: int, retry_after: int = 1) -> None:
        super().__init__(f"{consumer} has not come to position {position} yet")
        self.retry_after = retry_after


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
    """Waits for projections with one listening connection for the whole process.

    While the listener has no connection, waiting asks the database instead. Use as a context
    manager; safe for many threads.
    """

    def __init__(self, pool: Pool, dsn: str) -> None:
        self._pool = pool
        self._dsn = dsn
        self._positions: dict[str, int] = {}
        self._changed = threading.Condition()
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

    def wait_for(self, consumer: str, position: int, seconds: float) -> None:
        """Returns once the consumer has come to the position. Raises `NotYetVisible`."""
        deadline = time.monotonic() + seconds
        while self.known_position(consumer) < position:
            # Asked once before waiting, and again whenever nothing was heard for a while.
            self._note(consumer, position_of(self._pool, consumer))
            with self._changed:
                remaining = deadline - time.monotonic()
                self._changed.wait_for(
                    lambda: self.known_position(consumer) >= position,
                    timeout=max(0.0, min(remaining, _LISTEN_SECONDS)),
                )
            if self.known_position(consumer) < position and time.monotonic() >= deadline:
                raise NotYetVisible(consumer, position)

    def _note(self, consumer: str, position: int) -> None:
        with self._changed:
            if position > self._positions.get(consumer, 0):
                self._positions[consumer] = position
                self._changed.notify_all()

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                with connect(self._dsn) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    while not self._stop.is_set():
                        for notice in connection.notifies(timeout=_LISTEN_SECONDS, stop_after=1):
                            consumer, _, position = notice.payload.rpartition(":")
                            self._note(consumer, int(position))
            except psycopg.OperationalError as error:
                _log.warning("progress cannot be heard, trying again", error=str(error))
                self._stop.wait(_RECONNECT_SECONDS)
