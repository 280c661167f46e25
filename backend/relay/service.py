"""The role `relay`."""

from __future__ import annotations

import contextlib

from backend.application.feed import EventFeed
from backend.application.store import EventStore
from backend.infra.postgres import wait_for_schema
from backend.infra.readiness import announce_ready
from backend.infra.settings import Settings
from backend.infra.shutdown import stop_on_signals
from backend.relay.relay import Relay

_SCHEMA_SECONDS = 60


def run(settings: Settings) -> None:
    """Relays until SIGTERM. Raises `TimeoutError` where the schema is not there."""
    stop = stop_on_signals()
    wait_for_schema(settings, seconds=_SCHEMA_SECONDS)
    with contextlib.closing(EventStore(settings)) as store:
        Relay(settings, EventFeed(store, settings.dsn), on_ready=announce_ready).run(stop)
