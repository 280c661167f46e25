"""Applies batches of events to a projection's tables.

The rows of the models that a batch touches are loaded with one SELECT for each table, folded in
memory, and written back with one INSERT for some hundreds of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composed, Identifier

from backend.contracts.codec import PublicEvent
from projections.tables import Projection, Rows, Table, apply_all

# More in one statement, and PostgreSQL has them on disk before they are in the table.
_AT_ONCE = 400

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Applier:
    """Keeps one projection's tables in one schema; `handle` is what a consumer calls."""

    def __init__(self, projection: Projection, schema: str | None = None) -> None:
        self.projection = projection
        self.schema = schema or projection.name
        self._statements = {table.name: _statements(self.schema, table) for table in self._tables}

    @property
    def _tables(self) -> tuple[Table, ...]:
        return self.projection.tables

    def create_tables(self, cursor: Cursor[DictRow]) -> None:
        """Makes the schema and what is missing in it, without indexes."""
        cursor.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(self.schema)))
        for table in self._tables:
            columns = SQL(", ").join(
                # Types come from this package's own declarations.
                SQL("{} {}").format(Identifier(name), SQL(declared))
                for name, declared in table.columns.items()
            )
            cursor.execute(
                SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY ({}))").format(
                    Identifier(self.schema, table.name), columns, _names(table.key)
                )
            )

    def is_outdated(self, cursor: Cursor[DictRow]) -> bool:
        """Whether a table is there with other columns than those declared now."""
        cursor.execute(
            "SELECT table_name, array_agg(column_name::text) AS columns "
            "FROM information_schema.columns WHERE table_schema = %s GROUP BY table_name",
            (self.schema,),
        )
        found = {row["table_name"]: set(row["columns"]) for row in cursor}
        return bool(found) and found != {table.name: set(table.columns) for table in self._tables}

    def create_indexes(self, cursor: Cursor[DictRow]) -> None:
        """Makes the indexes that are missing."""
        for table in self._tables:
            for number, definition in enumerate(table.indexes, start=1):
                unique = definition.startswith("UNIQUE ")
                cursor.execute(
                    SQL("CREATE {} INDEX IF NOT EXISTS {} ON {} {}").format(
                        SQL("UNIQUE" if unique else ""),
                        Identifier(f"{table.name}_{number}_idx"),
                        Identifier(self.schema, table.name),
                        SQL(definition.removeprefix("UNIQUE ")),
                    )
                )

    def handle(self, cursor: Cursor[DictRow], events: Sequence[PublicEvent]) -> None:
        """Applies events in order, in the caller's transaction."""
        rows = Rows()
        for table, groups in self._touched(events).items():
            select = self._statements[table.name].select
            cursor.execute(select, (list(groups),))
            rows.load(table, (_decode(row["row"]) for row in cursor))
        apply_all(self.projection, rows, events)
        for table in self._tables:
            statements = self._statements[table.name]
            if deleted := rows.deleted(table):
                keys = [dict(zip(table.key, key, strict=True)) for key in deleted]
                cursor.execute(statements.delete, (_encode(keys).decode(),))
            written = rows.written(table)
            for first in range(0, len(written), _AT_ONCE):
                chunk = _encode(written[first : first + _AT_ONCE])
                cursor.execute(statements.upsert, (chunk.decode(),))

    def _touched(self, events: Sequence[PublicEvent]) -> dict[Table, dict[str, None]]:
        touched: dict[Table, dict[str, None]] = {}
        for event in events:
            fold = self.projection.fold_of(event.type)
            for table in fold.tables if fold is not None else ():
                touched.setdefault(table, {})[event.partition_key] = None
        return touched


class _Statements(msgspec.Struct, frozen=True):
    select: Composed
    upsert: Composed
    delete: Composed


def _names(columns: Sequence[str]) -> Composed:
    return SQL(", ").join(Identifier(column) for column in columns)


def _statements(schema: str, table: Table) -> _Statements:
    target = Identifier(schema, table.name)
    columns = list(table.columns)
    others = [column for column in columns if column not in table.key]
    updates = SQL(", ").join(
        SQL("{0} = excluded.{0}").format(Identifier(column)) for column in others
    )
    recordset = SQL("json_populate_recordset(NULL::{}, %s::json)").format(target)
    return _Statements(
        select=SQL("SELECT to_json(t)::text AS row FROM {} AS t WHERE {} = ANY(%s::uuid[])").format(
            target, Identifier(table.group or table.key[0])
        ),
        upsert=SQL(
            "INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT ({}) DO UPDATE SET {}"
        ).format(target, _names(columns), _names(columns), recordset, _names(table.key), updates),
        delete=SQL("DELETE FROM {} AS t USING {} AS gone WHERE {}").format(
            target,
            recordset,
            SQL(" AND ").join(
                SQL("t.{0} = gone.{0}").format(Identifier(column)) for column in table.key
            ),
        ),
    )
