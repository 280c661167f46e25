"""A model's API keys, as people see them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from backend.infra.postgres import Pool

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


def of_model(pool: Pool, model_id: UUID) -> list[ApiKeyView]:
    """The model's keys, newest first, revoked ones too."""
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT key_id AS id, name, prefix, created_at, expires_at, revoked_at, "
            "requests_per_minute FROM deployments.api_keys WHERE model_id = %s "
            "ORDER BY created_at DESC, key_id",
            (model_id,),
        ).fetchall()
    return [ApiKeyView(**row) for row in rows]
