"""Accounts, as they are in force."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from backend.infra.postgres import Pool
from backend.readmodels.cursors import Cursors

_SCOPE = "people"


class PersonView(msgspec.Struct, rename="camel", frozen=True):
    """An account."""

    id: UUID
    username: str
    role: str
    created_at: datetime


class People(msgspec.Struct, rename="camel", frozen=True):
    """Accounts, by name."""

    items: list[PersonView]
    next_cursor: str | None


def page(pool: Pool, cursor: str | None, limit: int, cursors: Cursors) -> People:
    """Accounts by name. Credentials are written with the events, so they are never behind."""
    (above,) = cursors.read(_SCOPE, cursor) if cursor is not None else ("",)
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT user_id AS id, username, role, created_at FROM loggia.credentials "
            "WHERE username > %s ORDER BY username LIMIT %s",
            (above, limit + 1),
        ).fetchall()
    items = [PersonView(**row) for row in rows[:limit]]
    more = len(rows) > limit
    return People(items, cursors.write(_SCOPE, [items[-1].username]) if more else None)
