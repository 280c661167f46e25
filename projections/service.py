"""The role `project`: every projection and the sums of usage, a thread each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from backend.infra.consumer import Consumer
from backend.infra.postgres import connect, open_pool, try_lock, wait_for_schema
from backend.infra.readiness import announce_ready
from backend.infra.settings import Settings
from backend.infra.shutdown import stop_on_signals
from projections.applying import Applier
from projections.rebuild import forget
from projections.registry import PROJECTIONS
from projections.usage import NAME as USAGE
from projections.usage import Usage

_SCHEMA_SECONDS = 60
_DDL_LOCK = "projection tables"
_DDL_POLL_SECONDS = 0.05
_STOP_SECONDS = 20


def run(settings: Settings) -> None:
    """Projects until SIGTERM. Raises `TimeoutError` where the schema is not there."""
    stop = stop_on_signals()
    wait_for_schema(settings, seconds=_SCHEMA_SECONDS)
    project(settings, stop, on_ready=announce_ready)


def project(
    settings: Settings, stop: threading.Event, on_ready: Callable[[], None] = lambda: None
) -> None:
    """Keeps every projection up to date until `stop` is set; `on_ready` once all of them read."""
    prepare(settings, stop)
    crew = _Crew(on_ready)
    # One connection for each projection's batches.
    with open_pool(settings, size=len(PROJECTIONS) + 1) as pool:
        readers: dict[str, _Reader] = {
            name: Consumer(
                settings,
                pool,
                name,
                Applier(projection).handle,
                types=frozenset(projection.event_types),
                on_ready=partial(crew.ready, name),
            )
            for name, projection in PROJECTIONS.items()
        }
        readers[USAGE] = Usage(settings, pool, on_ready=partial(crew.ready, USAGE))
        threads = []
        for name, reader in readers.items():
            thread = threading.Thread(target=crew.work, args=(reader, stop), name=name, daemon=True)
            thread.start()
            threads.append(thread)
        stop.wait()
        for thread in threads:
            thread.join(timeout=_STOP_SECONDS)
    if crew.fault is not None:
        raise crew.fault


class _Reader(Protocol):
    """What a thread of this role does."""

    def run(self, stop: threading.Event) -> None: ...


class _Crew:
    """The threads together: ready when all are, ended when one has a fault that nobody foresaw."""

    def __init__(self, on_ready: Callable[[], None]) -> None:
        self._on_ready = on_ready
        self._missing = {*PROJECTIONS, USAGE}
        self._guard = threading.Lock()
        self.fault: Exception | None = None

    def ready(self, name: str) -> None:
        with self._guard:
            last = self._missing == {name}
            self._missing.discard(name)
        if last:
            self._on_ready()

    def work(self, reader: _Reader, stop: threading.Event) -> None:
        try:
            reader.run(stop)
        except Exception as error:
            # The process ends and is started again, rather than stand still in silence.
            self.fault = error
            stop.set()


def prepare(settings: Settings, stop: threading.Event) -> None:
    """Makes the tables that are missing or have changed; one process at a time."""
    with connect(settings.dsn) as connection:
        while not try_lock(connection, _DDL_LOCK):
            if stop.wait(_DDL_POLL_SECONDS):
                return
        for projection in PROJECTIONS.values():
            applier = Applier(projection)
            with connection.transaction(), connection.cursor() as cursor:
                if applier.is_outdated(cursor):
                    # Made by an earlier release: all of its events are applied anew.
                    forget(cursor, applier.schema, projection.name)
                applier.create_tables(cursor)
                applier.create_indexes(cursor)
