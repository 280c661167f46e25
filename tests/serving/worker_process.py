"""The deploy worker as a process of its own, with the engine double, which a test may kill.

`--die-at NAME[:before|:after]` makes it kill itself with SIGKILL around the first call of a
method, as a crash at that instant would. Events come straight from the event store: this process
is about what the worker does with them. `--clock SECONDS` moves its clock by so much. The replicas
whose ids stand in the file of `--silent FILE` are out of reach for as long as it is there.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import time_machine

from backend.application.feed import EventFeed
from backend.application.store import EventStore
from backend.infra.logging import configure_logging
from backend.infra.postgres import open_pool
from backend.infra.settings import Settings
from tests.serving.doubles import EngineDouble
from workers.serving.engines import engines
from workers.serving.launchers.launcher import Unreachable
from workers.serving.launchers.local import LocalProcesses
from workers.serving.patience import Patience
from workers.serving.records import Records
from workers.serving.replicas import Replicas
from workers.serving.targets import EVENT_TYPES, Targets, note_events
from workers.serving.worker import ServingWorker

PLACES: dict[type[Any], tuple[str, ...]] = {
    Records: (
        "revision_prepared",
        "replica_started",
        "replica_ready",
        "replica_lost",
        "scaled",
        "replica_retired",
        "revision_deployed",
        "revision_failed",
        "revision_retired",
        "adapter_loaded",
        "adapter_unloaded",
        "stopped",
    ),
    Replicas: ("add", "announce", "mark_ready", "mark_draining", "mark_ended", "forget"),
    LocalProcesses: ("start", "stop", "_write"),
    Targets: ("settle",),
}
PATIENCE = Patience(
    start=8,
    drain=10,
    settle=0.3,
    health_interval=0.2,
    hang=1.5,
    stable=600,
    backoff=0.1,
    max_backoff=1,
    quick_crashes=3,
    probe=1,
)


def die_at(place: str) -> None:
    name, _, when = place.partition(":")
    owner = next(owner for owner, names in PLACES.items() if name in names)
    original: Callable[..., Any] = getattr(owner, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, dying)


def fall_silent(file: Path) -> None:
    def patched(original: Callable[..., Any]) -> Callable[..., Any]:
        def reaching(launcher: LocalProcesses, replica_id: UUID, **more: Any) -> Any:
            if file.exists() and str(replica_id) in file.read_text():
                raise Unreachable("it is out of reach")
            return original(launcher, replica_id, **more)

        return reaching

    for name in ("find", "stop"):
        setattr(LocalProcesses, name, patched(getattr(LocalProcesses, name)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--silent", type=Path)
    parser.add_argument("--die-at")
    parser.add_argument("--clock", type=int, default=0)
    given = parser.parse_args()
    if given.clock:
        shifted = datetime.now(UTC) + timedelta(seconds=given.clock)
        time_machine.travel(shifted, tick=True).start()
    if given.die_at:
        die_at(given.die_at)
    if given.silent:
        fall_silent(given.silent)
    configure_logging("work-deploy")
    settings = Settings(_env_file=None)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    store = EventStore(settings)
    with open_pool(settings) as pool:

        def follow() -> None:
            for batch in EventFeed(store, settings.dsn).follow(0, stop, EVENT_TYPES):
                with pool.connection() as connection, connection.transaction():
                    note_events(connection.cursor(), [stored.public for stored in batch])

        threading.Thread(target=follow, daemon=True).start()
        offered = {**engines(settings), "vllm": EngineDouble()}
        worker = ServingWorker(settings, pool, offered, patience=PATIENCE)
        worker.run(stop)


if __name__ == "__main__":
    main()
