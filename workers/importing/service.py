"""The import worker's process: turns events into jobs, carries them out, and sweeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing

import psycopg
from eventsourcing.persistence import PersistenceError
from psycopg_pool import PoolTimeout

from backend.application.commands import CommandRunner
from backend.application.models import Models
from backend.application.store import EventStore, StoreUnavailable
from backend.infra.connections import ConnectionStore, Seal
from backend.infra.consumer import Consumer
from backend.infra.jobs import Jobs
from backend.infra.logging import get_logger
from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool, open_pool
from backend.infra.readiness import announce_ready
from backend.infra.settings import Settings
from backend.infra.shutdown import stop_on_signals
from backend.infra.telemetry import TelemetryPublisher
from backend.infra.uploads import Uploads
from backend.sources.guarded import GuardedClient
from workers.importing.archive_limits import ArchiveLimits
from workers.importing.collector import CollectionRunning, Collector
from workers.importing.dispatch import CONSUMER, handle
from workers.importing.executor import Executor
from workers.importing.fetching import Sources
from workers.importing.job import Workplace
from workers.importing.quota import Quota
from workers.importing.residue import Residue
from workers.importing.sweep import sweep

_SWEEP_SECONDS = 60.0
_FIRST_COLLECT_SECONDS = 300.0
_COLLECT_SECONDS = 3600.0
_LOOK_SECONDS = 0.5

_log = get_logger(__name__)


def run(settings: Settings) -> None:
    """Works until the process is told to stop; unfinished jobs are given back."""
    work(settings, stop_on_signals())


def work(settings: Settings, stop: threading.Event) -> None:
    """Works until `stop` is set."""
    with ExitStack() as stack:
        pool = stack.enter_context(open_pool(settings))
        events = stack.enter_context(closing(EventStore(settings)))
        telemetry = stack.enter_context(
            closing(TelemetryPublisher(settings, client_id="loggia-import"))
        )
        place = workplace(settings, pool, events, telemetry)
        executor = Executor(place, dsn=settings.dsn, stop=stop)
        dispatcher = threading.Thread(
            target=_dispatch, args=(settings, pool, stop), name="dispatcher"
        )
        # Reads every object's name, which may take minutes; nobody waits for it.
        threading.Thread(
            target=_collect, args=(place, settings.dsn, stop), name="collector", daemon=True
        ).start()
        executor.start()
        dispatcher.start()
        announce_ready()
        _sweep(place)
        swept_at = time.monotonic()
        # Short waits: a signal that another thread received is noticed only between them.
        while not stop.wait(_LOOK_SECONDS):
            if time.monotonic() - swept_at > _SWEEP_SECONDS:
                _sweep(place)
                swept_at = time.monotonic()
        executor.join()
        dispatcher.join()


def _dispatch(settings: Settings, pool: Pool, stop: threading.Event) -> None:
    """A process without its dispatcher would look alive and do nothing: end with it."""
    try:
        Consumer(settings, pool, CONSUMER, handle).run(stop)
    finally:
        stop.set()


def workplace(
    settings: Settings, pool: Pool, events: EventStore, telemetry: TelemetryPublisher
) -> Workplace:
    """What an import works with, as the settings say."""
    store = ObjectStore.from_settings(settings)
    jobs = Jobs(pool, lease_seconds=settings.job_lease_seconds)
    uploads = Uploads(pool)
    connections = ConnectionStore(pool, Seal(settings.secret_key))

    def fetching(check: Callable[[], None]) -> GuardedClient:
        return GuardedClient.from_settings(settings, check=check)

    return Workplace(
        pool=pool,
        events=events,
        models=Models(CommandRunner(events, settings.secret_key)),
        store=store,
        jobs=jobs,
        uploads=uploads,
        residue=Residue(pool, store, jobs, uploads),
        sources=Sources(
            settings.roots, settings.huggingface_endpoint, connections, uploads, fetching
        ),
        quota=Quota(pool, store, settings.object_store_quota_bytes),
        telemetry=telemetry,
        limits=ArchiveLimits(
            max_entries=settings.import_max_entries,
            max_depth=settings.import_max_depth,
            max_total_bytes=settings.import_max_bytes,
            max_ratio=settings.import_max_ratio,
        ),
        lease_seconds=settings.job_lease_seconds,
        connections=connections,
        fetching=fetching,
    )


def _sweep(place: Workplace) -> None:
    try:
        sweep(place)
    except (psycopg.Error, PoolTimeout, PersistenceError, StoreUnavailable, OSError) as error:
        _log.warning("sweeping failed, trying again later", error=str(error))


def _collect(place: Workplace, dsn: str, stop: threading.Event) -> None:
    pause = _FIRST_COLLECT_SECONDS
    while not stop.wait(pause):
        pause = _COLLECT_SECONDS
        try:
            Collector(place, dsn, remove=True).run()
        except CollectionRunning:
            continue  # another worker is at it
        except Exception as error:
            _log.warning("collecting failed, trying again later", error=repr(error))
