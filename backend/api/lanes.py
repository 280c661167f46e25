"""Threads for blocking calls, bounded, so that a slow database slows nobody but its callers."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread
from anyio import CapacityLimiter

T = TypeVar("T")


class Overloaded(Exception):
    """More calls wait than make sense; the caller should come back later."""


class Lane:
    """Runs blocking calls in at most `threads` threads; at most `waiting` more wait for one."""

    def __init__(self, *, threads: int, waiting: int) -> None:
        self._threads = threads
        self._most = threads + waiting
        self._running = 0
        self._limiter: CapacityLimiter | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """The call's result. Raises `Overloaded`, and what the call raises.

        When the awaiting task is cancelled, the call goes on in its thread until it ends.
        """
        if self._limiter is None:  # it belongs to the running event loop
            self._limiter = CapacityLimiter(self._threads)
        if self._running >= self._most:
            raise Overloaded
        self._running += 1
        try:
            return await anyio.to_thread.run_sync(
                contextvars.copy_context().run, call, abandon_on_cancel=True, limiter=self._limiter
            )
        finally:
            self._running -= 1
