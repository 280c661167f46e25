"""Threads for blocking calls, bounded, so that a slow database slows nobody but its callers."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Overloaded(Exception):
    """More calls wait than make sense; the caller should come back later."""


class Unanswered(Exception):
    """The call took too long. It goes on in its thread, so that its outcome is unknown."""


class Lane:
    """Runs blocking calls in at most `threads` threads; at most `waiting` more wait for one.

    A call that nobody waits for any more keeps its thread until it ends, and counts until then.
    """

    def __init__(self, name: str, *, threads: int, waiting: int, seconds: float | None) -> None:
        self._most = threads + waiting
        self._seconds = seconds
        self._held = 0
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, call: Callable[[], T]) -> T:
        """The call's result. Raises `Overloaded`, `Unanswered`, and what the call raises."""
        if self._held >= self._most:
            raise Overloaded
        self._held += 1
        loop = asyncio.get_running_loop()
        running = self._executor.submit(contextvars.copy_context().run, call)
        running.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release))
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(running)
        except TimeoutError:
            if running.done() and not running.cancelled():
                raise  # the call's own
            raise Unanswered from None

    def close(self) -> None:
        """Takes no more calls; those that wait are dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _release(self) -> None:
        self._held -= 1
