"""Hears what is stored, at once and through every restart, so that a test can act at a state."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from backend.application.feed import EventFeed
from backend.application.store import EventStore
from backend.contracts.codec import PublicEvent
from backend.infra.settings import Settings
from tests.rig.waiting import eventually


class Watch:
    """The events of an installation, as they come. Use as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self._store = EventStore(settings, pool_size=2)
        self._feed = EventFeed(self._store, settings.dsn)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self.events: list[PublicEvent] = []

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
        self._thread.join(timeout=10)
        self._store.close()

    def has(self, model_id: str, event_type: str, **facts: object) -> bool:
        """Whether such an event has been heard of the model."""
        return any(
            event.type == event_type
            and event.model_id == model_id
            and all(event.data.get(name) == value for name, value in facts.items())
            for event in list(self.events)
        )

    def wait_for(
        self, model_id: str, event_type: str, *, seconds: float = 60, **facts: object
    ) -> None:
        """Waits until it has been heard."""
        eventually(
            lambda: self.has(model_id, event_type, **facts),
            f"{event_type} {facts or ''} of {model_id}",
            seconds=seconds,
            every=0.01,
        )

    def _listen(self) -> None:
        for batch in self._feed.follow(0, self._stop):
            self.events += [stored.public for stored in batch]
