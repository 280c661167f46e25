"""What an administrator does with the object store: look for orphans, and remove them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Any

from backend.application.store import EventStore
from backend.infra.postgres import open_pool
from backend.infra.settings import Settings
from backend.infra.telemetry import TelemetryPublisher
from workers.importing.collector import CollectionRunning, Collector
from workers.importing.service import workplace


def check_objects(
    settings: Settings, *, remove: bool, grace_seconds: float
) -> list[dict[str, Any]] | None:
    """What was found, a row for each kind; None where somebody else is collecting just now.

    A row has `what`, `count`, `size_bytes`, `names` (the first few), `lost` (it should be there and
    is not) and `removed`.
    """
    with (
        open_pool(settings, size=4) as pool,
        closing(EventStore(settings)) as events,
        closing(TelemetryPublisher(settings, client_id="loggia-objects")) as telemetry,
    ):
        place = workplace(settings, pool, events, telemetry)
        collector = Collector(place, settings.dsn, remove=remove, grace_seconds=grace_seconds)
        try:
            return [asdict(found) for found in collector.run()]
        except CollectionRunning:
            return None
