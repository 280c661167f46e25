"""Connections to PostgreSQL, advisory locks, and the schema's migrations."""

from __future__ import annotations

import hashlib
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Identifier
from psycopg_pool import ConnectionPool

from backend.infra.settings import Settings

Pool = ConnectionPool[psycopg.Connection[DictRow]]

_MIGRATION_LOCK = "migrations"

# Connection options. A statement that runs longer than this is a fault, not patience, and who is
# silent in a transaction for so long has been frozen: others wait for the rows that it holds.
_PATIENCE = "-c statement_timeout=30s -c idle_in_transaction_session_timeout=10s"
# Where somebody waits for the answer: for a lock that others hold, for one statement, and for a
# client that was frozen in a transaction.
TIME_OUTS = "-c lock_timeout=2s -c statement_timeout=5s -c idle_in_transaction_session_timeout=15s"

# A server that cannot be reached any more is noticed within about ten seconds, by its silence to
# what was sent or, while its answer is waited for, to probes.
UNREACHABLE: dict[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

SILENCE_SECONDS = 5
LOCK_POLL_SECONDS = 0.2


def connect(dsn: str, *, autocommit: bool = True, **options: Any) -> psycopg.Connection[DictRow]:
    """A connection of its own, for LISTEN and for advisory locks."""
    return psycopg.connect(
        dsn,
        autocommit=autocommit,
        row_factory=dict_row,
        connect_timeout=10,
        **UNREACHABLE,
        **options,
    )


class KeptConnection:
    """One connection for many short uses. For one thread at a time."""

    def __init__(self, dsn: str, **options: Any) -> None:
        self._dsn = dsn
        self._options = options
        self._connection: psycopg.Connection[DictRow] | None = None

    def get(self) -> psycopg.Connection[DictRow]:
        """The connection, made anew where the server has ended it since the last use."""
        kept = self._connection
        if kept is None or kept.closed or _has_ended(kept):
            self.close()
            kept = self._connection = connect(self._dsn, **self._options)
        return kept

    def close(self) -> None:
        """Lets go of the connection; the next use makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _has_ended(connection: psycopg.Connection[DictRow]) -> bool:
    """Whether the server says something unasked: it does so only when it lets go."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def open_pool(settings: Settings, *, size: int = 8, time_outs: str = _PATIENCE) -> Pool:
    """A pool of autocommit connections; `with connection.transaction():` begins a transaction."""
    return ConnectionPool(
        settings.dsn,
        min_size=1,
        max_size=size,
        timeout=10,
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "connect_timeout": 10,
            **UNREACHABLE,
            "options": time_outs,
        },
        check=ConnectionPool.check_connection,
        open=True,
    )


def lock_number(name: str) -> int:
    """The advisory lock's number of a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def try_lock(connection: psycopg.Connection[DictRow], name: str) -> bool:
    """Takes the named lock for as long as the connection lives, or says that another has it."""
    row = connection.execute(
        "SELECT pg_try_advisory_lock(%s) AS taken", (lock_number(name),)
    ).fetchone()
    return bool(row and row["taken"])


def migrate(settings: Settings) -> list[str]:
    """Brings the schema `loggia` up to date; returns the names of the migrations applied.

    Safe to run from several processes at once: one works, the others wait.
    """
    applied: list[str] = []
    with connect(settings.dsn) as connection, _locked(connection, _MIGRATION_LOCK):
        connection.execute("CREATE SCHEMA IF NOT EXISTS loggia")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS loggia.migrations ("
            "name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        known = {row["name"] for row in connection.execute("SELECT name FROM loggia.migrations")}
        for name, sql in migrations():
            if name in known:
                continue
            with connection.transaction():
                # The text comes from this package's own files.
                connection.execute(sql.encode())
                connection.execute("INSERT INTO loggia.migrations (name) VALUES (%s)", (name,))
            applied.append(name)
    return applied


def pending_migrations(settings: Settings) -> list[str]:
    """The names of the migrations that have not been applied."""
    with connect(settings.dsn) as connection:
        present = connection.execute(
            "SELECT to_regclass('loggia.migrations') IS NOT NULL AS present"
        ).fetchone()
        if not present or not present["present"]:
            return [name for name, _ in migrations()]
        known = {row["name"] for row in connection.execute("SELECT name FROM loggia.migrations")}
    return [name for name, _ in migrations() if name not in known]


def wait_for_schema(settings: Settings, *, seconds: float) -> None:
    """Blocks until PostgreSQL answers and the schema is up to date. Raises `TimeoutError`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            missing = pending_migrations(settings)
            problem = f"migrations are missing: {', '.join(missing)}; run 'loggia migrate'"
            if not missing:
                return
        except psycopg.OperationalError as error:
            problem = str(error).strip()
        if time.monotonic() > deadline:
            raise TimeoutError(f"PostgreSQL is not ready: {problem}")
        time.sleep(0.1)


def migrations() -> list[tuple[str, str]]:
    """Every migration's name and text, in order."""
    folder = resources.files("backend") / "migrations"
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda f: f.name
    )
    return [(file.name.removesuffix(".sql"), file.read_text()) for file in files]


@contextmanager
def _locked(connection: psycopg.Connection[DictRow], name: str) -> Iterator[None]:
    connection.execute("SELECT pg_advisory_lock(%s)", (lock_number(name),))
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (lock_number(name),))


class Exclusive:
    """The named lock on a connection of its own; PostgreSQL frees it when its holder falls silent.

    Who holds it must call `confirm()` at least every few seconds. A process that was paused for
    longer finds its session ended, and somebody else may hold the lock by then.
    """

    def __init__(self, dsn: str, name: str) -> None:
        self.connection = connect(dsn)
        self.connection.execute(f"SET idle_session_timeout = '{SILENCE_SECONDS}s'")
        self.connection.execute(f"SET idle_in_transaction_session_timeout = '{SILENCE_SECONDS}s'")
        self._name = name

    def acquire(self, stop: threading.Event) -> bool:
        """Waits until the lock is free; False where `stop` was set before."""
        while not stop.is_set():
            if try_lock(self.connection, self._name):
                return True
            stop.wait(LOCK_POLL_SECONDS)
        return False

    def confirm(self) -> None:
        """Raises `psycopg.OperationalError` where the lock is lost."""
        self.connection.execute("SELECT 1")

    def listen(self, channel: str) -> None:
        """Wants to hear notifications on the channel."""
        self.connection.execute(SQL("LISTEN {}").format(Identifier(channel)))

    def heard(self, seconds: float) -> bool:
        """Waits for a notification; whether one came. `seconds` stays below the silence."""
        # All that have come, or each that came while nobody waited would be news once more.
        return bool(list(self.connection.notifies(timeout=seconds, stop_after=1)))

    def close(self) -> None:
        """Gives the lock back."""
        self.connection.close()
