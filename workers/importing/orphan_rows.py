"""Rows that nobody refers to any more."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composed, Identifier

from backend.infra.stored_bytes import STORING
from workers.importing.residue import DEAD_STATES


def _deleted(row: str) -> Composed:
    return SQL(
        "EXISTS (SELECT 1 FROM loggia.loggia_events AS gone "
        "WHERE gone.originator_id = {}.model_id AND gone.topic = 'ModelDeleted')"
    ).format(Identifier(row))


# An import that has ended has given its files up, or they are the model's, which is deleted.
_JOURNALS = SQL(
    "FROM loggia.jobs AS job WHERE job.kind = ANY(%(storing)s) "
    "AND job.updated_at < now() - make_interval(secs => %(grace)s) "
    "AND (job.journal ? 'files' OR job.journal ? 'manifest') "
    "AND (job.state = ANY(%(dead)s) OR (job.state = 'done' AND {})) "
    "AND NOT EXISTS (SELECT 1 FROM loggia.jobs AS other WHERE other.model_id = job.model_id "
    "AND other.state IN ('queued', 'running'))"
).format(_deleted("job"))
_NAMES = SQL(
    "FROM loggia.model_names AS taken WHERE {} OR NOT EXISTS "
    "(SELECT 1 FROM loggia.loggia_events AS told WHERE told.originator_id = taken.model_id)"
).format(_deleted("taken"))
_CONNECTIONS = SQL(
    "FROM loggia.connections AS saved WHERE COALESCE((SELECT topic FROM loggia.loggia_events "
    "WHERE originator_id = saved.connection_id ORDER BY originator_version DESC LIMIT 1), "
    "'ConnectionRemoved') = 'ConnectionRemoved'"
)
# What they are for a person, how one is found, and how one is removed.
_KINDS = (
    (
        "journals of imports that are over",
        SQL("SELECT job.id::text AS name {}").format(_JOURNALS),
        SQL(
            "UPDATE loggia.jobs SET journal = DEFAULT WHERE id IN (SELECT job.id {}) "
            "RETURNING id::text AS name"
        ).format(_JOURNALS),
    ),
    (
        "names of models that are deleted",
        SQL("SELECT taken.name_key AS name {}").format(_NAMES),
        SQL("DELETE {} RETURNING taken.name_key AS name").format(_NAMES),
    ),
    (
        "connections that were removed",
        SQL("SELECT saved.name {}").format(_CONNECTIONS),
        SQL("DELETE {} RETURNING saved.name").format(_CONNECTIONS),
    ),
)


def orphan_rows(
    connection: psycopg.Connection[DictRow], grace_seconds: float, *, remove: bool
) -> Iterator[tuple[str, str]]:
    """What each such row is, and its name; removed where that is asked for.

    Names and connections are written in the transactions of their events, so that one statement
    sees both.
    """
    values = {"storing": STORING, "dead": DEAD_STATES, "grace": grace_seconds}
    for what, look, take in _KINDS:
        for row in connection.execute(take if remove else look, values).fetchall():
            yield what, row["name"]
