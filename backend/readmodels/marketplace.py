"""The marketplace: what is published."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from backend.infra.postgres import Pool

CONSUMER = "marketplace"
_MOST = 500


class MarketplaceItem(msgspec.Struct, rename="camel", frozen=True):
    """A published model; `deployed` says whether its endpoint answers."""

    model_id: UUID
    name: str
    description: str
    labels: list[str]
    architecture: str | None
    parameter_count: int | None
    license: str | None
    published_at: datetime
    deployed: bool


class MarketplacePage(msgspec.Struct, rename="camel", frozen=True):
    """What is published, newest publication first."""

    items: list[MarketplaceItem]


def published(pool: Pool, search: str) -> list[MarketplaceItem]:
    """The published models whose name or description has the text."""
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT model_id, name, description, labels, architecture, parameter_count, license, "
            "published_at, deployed FROM marketplace.listings WHERE published "
            "AND (%(search)s = '' OR strpos(lower(name || ' ' || description), %(search)s) > 0) "
            "ORDER BY published_at DESC, model_id LIMIT %(most)s",
            {"search": search.lower(), "most": _MOST},
        ).fetchall()
    return [MarketplaceItem(**row) for row in rows]
