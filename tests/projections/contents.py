"""What a read model holds, as text: two are equal when these are."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier

from backend.contracts.codec import PublicEvent
from backend.infra.postgres import Pool
from projections.applying import Applier
from projections.registry import PROJECTIONS
from projections.tables import Projection

Contents = dict[str, list[str]]


def contents(pool: Pool, projection: Projection, schema: str | None = None) -> Contents:
    """Every row of every table, in the order of the keys, as PostgreSQL writes it."""
    with pool.connection() as connection:
        return contents_seen(connection, projection, schema or projection.name)


def contents_seen(connection: Connection[DictRow], projection: Projection, schema: str) -> Contents:
    """The same, as a transaction sees it."""
    found: Contents = {}
    for table in projection.tables:
        rows = connection.execute(
            SQL("SELECT t::text AS row FROM {} AS t ORDER BY {}").format(
                Identifier(schema, table.name), SQL(", ").join(map(Identifier, table.key))
            )
        )
        found[table.name] = [row["row"] for row in rows]
    return found


def replayed(
    connection: Connection[DictRow], projection: Projection, events: Sequence[PublicEvent]
) -> Contents:
    """What a fresh replay of these events gives, in a transaction that the caller undoes."""
    applier = Applier(projection, "replayed")
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS replayed CASCADE")
        applier.create_tables(cursor)
        applier.handle(cursor, events)
    return contents_seen(connection, projection, "replayed")


def all_contents(pool: Pool) -> dict[str, Contents]:
    """The contents of every read model."""
    return {name: contents(pool, projection) for name, projection in PROJECTIONS.items()}
