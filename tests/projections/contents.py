"""What a read model holds, as text: two are equal when these are."""

from __future__ import annotations

from psycopg.sql import SQL, Identifier

from backend.infra.postgres import Pool
from projections.registry import PROJECTIONS
from projections.tables import Projection

Contents = dict[str, list[str]]


def contents(pool: Pool, projection: Projection, schema: str | None = None) -> Contents:
    """Every row of every table, in the order of the keys, as PostgreSQL writes it."""
    found: Contents = {}
    with pool.connection() as connection:
        for table in projection.tables:
            rows = connection.execute(
                SQL("SELECT t::text AS row FROM {} AS t ORDER BY {}").format(
                    Identifier(schema or projection.name, table.name),
                    SQL(", ").join(map(Identifier, table.key)),
                )
            )
            found[table.name] = [row["row"] for row in rows]
    return found


def all_contents(pool: Pool) -> dict[str, Contents]:
    """The contents of every read model."""
    return {name: contents(pool, projection) for name, projection in PROJECTIONS.items()}
