"""A model's API keys, as people see them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from backend.infra.postgres import Pool
from backend.readmodels.cursors import Cursors

CONSUMER = "deployments"


class ApiKeyView(msgspec.Struct, rename="camel", frozen=True):
    """A key without its secret; `prefix` is how it begins."""

    id: UUID
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    requests_per_minute: int | None


class ApiKeyPage(msgspec.Struct, rename="camel", frozen=True):
    """A model's keys, newest first."""

    items: list[ApiKeyView]
    next_cursor: str | None


def of_model(
    pool: Pool, model_id: UUID, cursor: str | None, limit: int, cursors: Cursors
) -> ApiKeyPage:
    """The model's keys, newest first, revoked ones too."""
    scope = f"API keys {model_id}"
    time, key = cursors.read(scope, cursor) if cursor is not None else (None, None)
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT key_id AS id, name, prefix, created_at, expires_at, revoked_at, "
            "requests_per_minute FROM deployments.api_keys WHERE model_id = %(model)s "
            "AND (%(time)s::timestamptz IS NULL OR (created_at, key_id) < (%(time)s, %(key)s)) "
            "ORDER BY created_at DESC, key_id DESC LIMIT %(most)s",
            {"model": model_id, "time": time, "key": key, "most": limit + 1},
        ).fetchall()
    items = [ApiKeyView(**row) for row in rows[:limit]]
    last = items[-1] if len(rows) > limit else None
    return ApiKeyPage(items, cursors.write(scope, [last.created_at, last.id]) if last else None)
