"""Whether registered servers answer, and how busy all of them and this machine are.

One deploy worker at a time watches the registered servers; each reads its own machine. What is
seen goes into rows; an event is recorded only when a server is lost or found again.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from uuid import uuid4

import psycopg
from eventsourcing.persistence import PersistenceError
from psycopg_pool import PoolTimeout

from backend.application.commands import CommandContext
from backend.application.servers import Servers
from backend.application.store import StoreUnavailable
from backend.domain.errors import DomainError
from backend.infra.logging import get_logger
from backend.infra.postgres import KeptConnection
from backend.infra.servers import ServerStore, StoredServer
from backend.infra.settings import Settings
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.guarded import GuardedClient
from backend.sources.inference_servers import ask_server, check_ready, watching_client
from workers.serving.records import ACTOR

# A server that disappears is to be seen as lost within ten seconds.
INTERVAL_SECONDS = 2.0
_ANSWER_SECONDS = 1.5
_LOST_SECONDS = 5.0
_LOST_CHECKS = 2
_AT_ONCE = 16
# Whoever watches holds it: 'watch' in ASCII.
_WATCH_LOCK = 0x7761746368
_DATABASE_ERRORS = (psycopg.Error, PoolTimeout, StoreUnavailable, PersistenceError)
_log = get_logger(__name__)


class ServerWatch:
    """Asks every registered server again and again, in a thread of its own."""

    def __init__(self, settings: Settings, store: ServerStore, servers: Servers) -> None:
        self._store = store
        self._servers = servers
        self._client = watching_client(settings, seconds=_ANSWER_SECONDS)
        self._lock = KeptConnection(settings.dsn)
        self._holder: object | None = None
        self._failed: dict[str, int] = {}
        self._looks: dict[str, Future[None]] = {}

    def run(self, stop: threading.Event) -> None:
        """Watches until `stop` is set, whenever no other worker does."""
        executor = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="watch")
        while not stop.wait(INTERVAL_SECONDS):
            try:
                if self._is_mine():
                    self._look_at_all(executor)
            except _DATABASE_ERRORS as error:
                _log.warning("servers are not watched at the moment", error=str(error))
                self._lock.close()
        executor.shutdown(wait=False, cancel_futures=True)
        self._lock.close()
        self._client.close()

    @property
    def watches(self) -> bool:
        """Whether this worker is the one that watches."""
        return self._holder is not None

    def _look_at_all(self, executor: ThreadPoolExecutor) -> None:
        # One whose name takes long to resolve must not delay the others.
        for server in self._store.all():
            under_way = self._looks.get(server.name)
            if under_way is not None and not under_way.done():
                self._silent(server, "no answer in time, not even where it is.")
            else:
                self._looks[server.name] = executor.submit(self._look, server)

    def _is_mine(self) -> bool:
        """Whether this worker is the one that watches; the lock goes with its connection."""
        connection = self._lock.get()
        if self._holder is not connection:
            row = connection.execute(
                "SELECT pg_try_advisory_lock(%s) AS held", (_WATCH_LOCK,)
            ).fetchone()
            self._holder = connection if row and row["held"] else None
        return self._holder is not None

    def _look(self, server: StoredServer) -> None:
        try:
            problem = _problem(server, self._client)
            if problem is None:
                self._failed.pop(server.name, None)
                self._found(server)
            else:
                self._silent(server, problem)
        except _DATABASE_ERRORS as error:
            _log.warning("what was seen is not written", server=server.name, error=str(error))

    def _silent(self, server: StoredServer, problem: str) -> None:
        self._failed[server.name] = self._failed.get(server.name, 0) + 1
        silent = self._store.did_not_answer(server.id, problem)
        enough = self._failed[server.name] >= _LOST_CHECKS and silent >= _LOST_SECONDS
        if enough and server.lost_seconds is None:
            with suppress(DomainError):  # removed a moment ago
                self._servers.record_lost(
                    self._context(), server.id, reason=problem, silent_seconds=round(silent, 1)
                )

    def _found(self, server: StoredServer) -> None:
        if server.lost_seconds is None:
            self._store.answered(server.id, "")
            return
        version = server.engine_version
        with suppress(FetchFailed, FetchRefused):
            version = ask_server(
                server.engine, server.address, server.credentials, self._client
            ).engine_version
        self._store.answered(server.id, version)
        with suppress(DomainError):
            self._servers.record_recovered(
                self._context(),
                server.id,
                lost_seconds=round(server.lost_seconds, 1),
                engine_version=version,
            )

    @staticmethod
    def _context() -> CommandContext:
        return CommandContext(actor=ACTOR, correlation_id=uuid4())


def _problem(server: StoredServer, client: GuardedClient) -> str | None:
    """Why the server does not answer, in words; None where it does."""
    try:
        check_ready(server.engine, server.address, server.credentials, client)
    except (FetchRefused, FetchFailed) as error:
        return error.reason
    return None
