"""Read your writes: a query waits until its view has seen what the caller has seen."""

from __future__ import annotations

import asyncio
import time

from backend.api.problems import ApiError
from backend.api.services import Services
from backend.readmodels.freshness import reached

WAIT_SECONDS = 5.0
_FIRST_PAUSE = 0.004
_LONGEST_PAUSE = 0.1


async def fresh(services: Services, consumer: str, at_least: int | None) -> None:
    """Returns once the consumer has come to the position. Raises 503 after five seconds.

    Waiting takes no thread, so that a projection that stands still does not stop other queries.
    """
    if at_least is None:
        return
    deadline = time.monotonic() + WAIT_SECONDS
    pause = _FIRST_PAUSE
    while services.freshness.known_position(consumer) < at_least:
        if await services.query(lambda: reached(services.pool, consumer, at_least)):
            return
        if time.monotonic() > deadline:
            raise ApiError(
                503,
                "not-yet",
                f"The view '{consumer}' has not come to position {at_least} yet.",
                remedy="Try again in a moment; leave 'atLeast' out to see what is there now.",
                headers={"Retry-After": "1"},
            )
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
