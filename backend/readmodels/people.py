"""Accounts, as they are in force."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from backend.infra.postgres import Pool


class PersonView(msgspec.Struct, rename="camel", frozen=True):
    """An account."""

    id: UUID
    username: str
    role: str
    created_at: datetime


def everybody(pool: Pool) -> list[PersonView]:
    """Every account, by name. Credentials are written with the events, so they are never behind."""
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT user_id, username, role, created_at FROM loggia.credentials ORDER BY username"
        ).fetchall()
    return [PersonView(r["user_id"], r["username"], r["role"], r["created_at"]) for r in rows]
