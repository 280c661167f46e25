"""What happened: the audit's list, the live stream, notifications, and the marketplace."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Stream

from backend.api.authentication import identify
from backend.api.freshness import fresh
from backend.api.identity import Identity
from backend.api.problems import ApiError
from backend.api.services import Services
from backend.api.wire import AtLeast, Cursor, Limit, Search
from backend.readmodels import audit, gallery, marketplace
from backend.readmodels.audit import EventFilters, EventPage, Notifications
from backend.readmodels.marketplace import MarketplacePage

PING_SECONDS = 10.0


@get("/api/events", operation_id="listEvents")
async def list_events(
    request: Request[Identity, Any, Any],
    services: NamedDependency[Services],
    model_id: Annotated[UUID | None, QueryParameter(name="modelId")] = None,
    actor: Annotated[str | None, QueryParameter(name="actor", max_length=100)] = None,
    event_type: Annotated[list[str] | None, QueryParameter(name="type")] = None,
    after: Annotated[datetime | None, QueryParameter(name="after")] = None,
    before: Annotated[datetime | None, QueryParameter(name="before")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    at_least: AtLeast = None,
) -> EventPage:
    """Events, newest first. `after` and `before` are times; `type` may be repeated.

    Events about accounts are shown to administrators, auditors and integrators.
    """
    await fresh(services, audit.CONSUMER, at_least)
    filters = EventFilters(
        model_id=model_id,
        actor=actor,
        types=tuple(event_type or ()),
        after=after,
        before=before,
        about_people=request.user.sees_people,
    )
    return await services.query(
        lambda: audit.page(services.pool, filters, cursor, limit, services.cursors)
    )


@get("/api/events/stream", operation_id="streamEvents", media_type="text/event-stream")
async def stream_events(
    request: Request[Identity, Any, Any],
    services: NamedDependency[Services],
    after: Annotated[int | None, QueryParameter(name="after", ge=0)] = None,
) -> Stream:
    """Server-sent events: `event` with its position as id, and `telemetry` without.

    Begins after the header Last-Event-ID, else after `after`, else now.
    """
    last = request.headers.get("last-event-id", "")
    if last:
        if not (last.isascii() and last.isdigit() and len(last) <= 18):
            raise ApiError(
                422,
                "invalid",
                "The header Last-Event-ID is not a position.",
                remedy="Leave it out to begin now.",
                field="Last-Event-ID",
            )
        after = int(last)
    person = request.user

    async def welcome() -> bool:
        try:
            identity, _ = await identify(services, dict(request.scope["headers"]))
        except Exception:  # the database is away: decided with the next ping
            return True
        return identity is not None and identity.sees_people == person.sees_people

    return Stream(
        services.live.stream(
            after=after,
            sees_people=person.sees_people,
            ping_seconds=PING_SECONDS,
            welcome=welcome,
        ),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


@get("/api/notifications", operation_id="listNotifications")
async def list_notifications(
    services: NamedDependency[Services], at_least: AtLeast = None
) -> Notifications:
    """The latest outcomes, newest first."""
    await fresh(services, audit.CONSUMER, at_least)
    await fresh(services, gallery.CONSUMER, at_least)  # has the models' names
    return Notifications(await services.query(lambda: audit.outcomes(services.pool)))


@get("/api/marketplace", operation_id="listMarketplace")
async def list_marketplace(
    services: NamedDependency[Services], search: Search = "", at_least: AtLeast = None
) -> MarketplacePage:
    """What is published, newest publication first."""
    await fresh(services, marketplace.CONSUMER, at_least)
    items = await services.query(lambda: marketplace.published(services.pool, search.strip()))
    return MarketplacePage(items)


HANDLERS = [list_events, stream_events, list_notifications, list_marketplace]
