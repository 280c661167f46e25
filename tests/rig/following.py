"""What follows the event store, in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from backend.application.feed import EventFeed
from backend.application.store import EventStore
from backend.infra.settings import Settings
from backend.relay.relay import Relay
from projections.service import project
from tests.rig.waiting import eventually


@contextmanager
def following(settings: Settings) -> Iterator[None]:
    """Relay and projections, while the block runs; it begins when their tables are there."""
    stop, ready = threading.Event(), threading.Event()
    store = EventStore(settings)
    threads = [
        threading.Thread(target=target, daemon=True)
        for target in (
            lambda: Relay(settings, EventFeed(store, settings.dsn)).run(stop),
            lambda: project(settings, stop, on_ready=ready.set),
        )
    ]
    for thread in threads:
        thread.start()
    try:
        eventually(ready.is_set, "every projection reads")
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=20)
        store.close()
