"""Lines of engines' logs in PostgreSQL, so that every API can show them, also afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg import Connection, Cursor
from psycopg.rows import DictRow

KEPT_LINES = 4000
KEPT_REPLICAS = 10


class LoggedReplica(msgspec.Struct, rename="camel", frozen=True):
    """A replica whose log is kept: lines are numbered from `first_line` to below `next_line`."""

    id: UUID
    revision: int
    first_line: int
    next_line: int
    last_at: datetime


class LogPart(msgspec.Struct, rename="camel", frozen=True):
    """Lines that follow each other; `next_line` is the number of the one after them."""

    lines: list[str]
    next_line: int


def append(
    cursor: Cursor[DictRow],
    *,
    replica_id: UUID,
    model_id: UUID,
    revision: int,
    lines: Sequence[str],
    read_bytes: int,
) -> None:
    """Keeps new lines, and forgets the oldest ones of the replica, and of the model's replicas."""
    row = cursor.execute(
        "INSERT INTO loggia.engine_logs "
        "(replica_id, first_line, model_id, revision, lines, read_bytes) "
        "SELECT %(replica)s, COALESCE(max(first_line + cardinality(lines)), 0), %(model)s, "
        "%(revision)s, %(lines)s::text[], %(read)s "
        "FROM loggia.engine_logs WHERE replica_id = %(replica)s RETURNING first_line",
        {
            "replica": replica_id,
            "model": model_id,
            "revision": revision,
            "lines": [line.replace("\0", "\N{REPLACEMENT CHARACTER}") for line in lines],
            "read": read_bytes,
        },
    ).fetchone()
    first = row["first_line"] if row else 0
    cursor.execute(
        "DELETE FROM loggia.engine_logs WHERE replica_id = %s "
        "AND first_line + cardinality(lines) <= %s",
        (replica_id, first + len(lines) - KEPT_LINES),
    )
    if first == 0:
        cursor.execute(
            "DELETE FROM loggia.engine_logs WHERE model_id = %(model)s AND replica_id IN ("
            "SELECT replica_id FROM loggia.engine_logs WHERE model_id = %(model)s "
            "GROUP BY replica_id ORDER BY max(written_at) DESC OFFSET %(kept)s)",
            {"model": model_id, "kept": KEPT_REPLICAS},
        )


def bytes_read(connection: Connection[DictRow], replica_id: UUID) -> int:
    """How far the engine's own log has been kept."""
    row = connection.execute(
        "SELECT read_bytes FROM loggia.engine_logs WHERE replica_id = %s "
        "ORDER BY first_line DESC LIMIT 1",
        (replica_id,),
    ).fetchone()
    return row["read_bytes"] if row else 0


def replicas(connection: Connection[DictRow], model_id: UUID) -> list[LoggedReplica]:
    """The model's replicas whose logs are kept, the newest first."""
    rows = connection.execute(
        "SELECT replica_id AS id, min(revision) AS revision, min(first_line) AS first_line, "
        "max(first_line + cardinality(lines)) AS next_line, max(written_at) AS last_at "
        "FROM loggia.engine_logs WHERE model_id = %s GROUP BY replica_id "
        "ORDER BY min(revision) DESC, min(written_at) DESC, replica_id",
        (model_id,),
    )
    return [LoggedReplica(**row) for row in rows]


def part(connection: Connection[DictRow], replica_id: UUID, after: int, limit: int) -> LogPart:
    """At most `limit` lines from the number `after` on; a negative one counts from the end."""
    rows = connection.execute(
        "WITH whole AS (SELECT first_line, lines, first_line + cardinality(lines) AS next_line "
        "FROM loggia.engine_logs WHERE replica_id = %(replica)s) "
        "SELECT * FROM whole WHERE next_line > CASE WHEN %(after)s >= 0 THEN %(after)s "
        "ELSE (SELECT max(next_line) FROM whole) + %(after)s END "
        "ORDER BY first_line LIMIT %(limit)s",
        {"replica": replica_id, "after": after, "limit": limit},
    ).fetchall()
    if not rows:
        return LogPart([], max(after, 0))
    start = after if after >= 0 else rows[-1]["next_line"] + after
    lines = [
        line
        for row in rows
        for number, line in enumerate(row["lines"], row["first_line"])
        if number >= start
    ][:limit]
    begin = max(start, rows[0]["first_line"])
    return LogPart(lines, begin + len(lines))
