"""Keeps the routes true: follows the event store in a thread, applies in the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from backend.application.feed import StoredEvent
from backend.gateway.routing import RoutingTable
from backend.gateway.server_keys import EVENT_TYPES, ServerKeys
from backend.infra.logging import get_logger

_RESTART_SECONDS = 1.0
_log = get_logger(__name__)


class Feed(Protocol):
    """The tail of the event store."""

    def follow(
        self, after: int, stop: threading.Event, types: Sequence[str] | None = None
    ) -> Iterator[list[StoredEvent]]:
        """Batches behind a position; an empty one says 'up to date'."""


class TableFollower:
    """Feeds a table from the store's first event on. `ready` is set once it has caught up.

    While the store is away the last routes stay in force.
    """

    def __init__(
        self,
        feed: Feed,
        table: RoutingTable,
        keys: ServerKeys,
        applied: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._feed = feed
        self._table = table
        self._keys = keys
        self._applied = applied
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.ready = asyncio.Event()

    def start(self) -> None:
        """Begins to follow; call it in the event loop that serves requests."""
        self._thread = threading.Thread(
            target=self._follow, args=(asyncio.get_running_loop(),), name="routes", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread at its next wake-up; does not wait for it."""
        self._stop.set()

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        after = 0
        types = (*self._table.event_types, *EVENT_TYPES)
        while not self._stop.is_set():
            try:
                for batch in self._feed.follow(after, self._stop, types):
                    self._keys.follow(batch)
                    after = batch[-1].public.position if batch else after
                    loop.call_soon_threadsafe(self._apply, batch)
            except Exception:
                if self._stop.is_set() or loop.is_closed():
                    return
                _log.exception("the routes cannot be followed; starting again")
                self._stop.wait(_RESTART_SECONDS)

    def _apply(self, batch: list[StoredEvent]) -> None:
        if not batch:
            self.ready.set()
        for event in batch:
            public = event.public
            try:
                self._table.apply(public.position, public.type, event.facts, public.time)
            except Exception:
                # One event that this version cannot read must not end all revocations behind it.
                _log.exception("event ignored", position=public.position, type=public.type)
        self._applied(self._table.position)
