"""Threads for blocking calls, bounded, so that a slow database slows nobody but its callers.

And questions that are asked together.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

K = TypeVar("K")
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


class Gathered(Generic[K, T]):
    """Asks for many at once: whatever comes while one answer is awaited is asked for together.

    Nobody is told what was known before the question was put. For one event loop.
    """

    def __init__(self, lane: Lane, ask: Callable[[Sequence[K]], Mapping[K, T]]) -> None:
        self._lane = lane
        self._ask = ask
        self._waiting: dict[K, asyncio.Future[T | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def get(self, key: K) -> T | None:
        """The answer for the key, None where there is none. Raises what `Lane.run` raises."""
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all())
        # Others may wait for the same answer when this request is given up.
        return await asyncio.shield(waiting)

    async def _ask_all(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, {}
                await self._answer(waiting)
        finally:
            self._asking = None

    async def _answer(self, waiting: dict[K, asyncio.Future[T | None]]) -> None:
        keys = list(waiting)
        try:
            found = await self._lane.run(lambda: self._ask(keys))
        except Exception as error:
            for future in waiting.values():
                future.set_exception(error)
                future.exception()  # it may be that nobody waits any more
        else:
            for key, future in waiting.items():
                future.set_result(found.get(key))
