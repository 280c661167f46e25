"""Read your writes: a query waits until its view has seen what the caller has seen."""

from __future__ import annotations

import asyncio

from backend.api.problems import ApiError
from backend.api.services import Services

WAIT_SECONDS = 5.0


async def fresh(services: Services, consumer: str, at_least: int | None) -> None:
    """Returns once the consumer has come to the position. Raises 503 after five seconds.

    Waiting takes no thread and asks nobody, so that a projection that stands still does not stop
    other queries.
    """
    if at_least is None or services.freshness.known_position(consumer) >= at_least:
        return
    coming = asyncio.wrap_future(services.freshness.coming(consumer, at_least))
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await coming
    except TimeoutError:
        raise ApiError(
            503,
            "not-yet",
            f"The view '{consumer}' has not come to position {at_least} yet.",
            remedy="Try again in a moment; leave 'atLeast' out to see what is there now.",
            headers={"Retry-After": "1"},
        ) from None
