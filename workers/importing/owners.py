"""Who uploads' bytes and half-written files belong to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg.rows import DictRow

_PAGE = 500


@dataclass(frozen=True, slots=True)
class UploadParts:
    """An upload and where its parts begin."""

    id: UUID
    offsets: tuple[int, ...]


class Owners:
    """Looks up rows by the names that stand in paths; a name that is no id has no owner."""

    def __init__(self, connection: psycopg.Connection[DictRow]) -> None:
        self._connection = connection

    def uploads(self, names: Sequence[str]) -> set[str]:
        """Those that are the ids of uploads."""
        return self._known("SELECT id FROM loggia.uploads WHERE id = ANY(%s)", names)

    def jobs_underway(self, names: Sequence[str]) -> set[str]:
        """Those that are the ids of jobs that wait or run."""
        return self._known(
            "SELECT id FROM loggia.jobs WHERE id = ANY(%s) AND state IN ('queued', 'running')",
            names,
        )

    def uploads_with_parts(self) -> Iterator[UploadParts]:
        """Every upload of which bytes have arrived."""
        after = UUID(int=0)
        while True:
            rows = self._connection.execute(
                "SELECT id, parts FROM loggia.uploads WHERE id > %s AND parts <> '[]' "
                "ORDER BY id LIMIT %s",
                (after, _PAGE),
            ).fetchall()
            yield from map(_parts, rows)
            if len(rows) < _PAGE:
                return
            after = rows[-1]["id"]

    def same(self, upload: UploadParts) -> bool:
        """Whether the upload is still there, and nobody is writing to it or taking it away."""
        row = self._connection.execute(
            "SELECT id, parts FROM loggia.uploads AS upload WHERE id = %s AND NOT EXISTS "
            "(SELECT 1 FROM loggia.jobs AS job WHERE job.model_id = upload.model_id "
            "AND job.state IN ('queued', 'running'))",
            (upload.id,),
        ).fetchone()
        return row is not None and _parts(row) == upload

    def _known(self, sql: str, names: Sequence[str]) -> set[str]:
        ids = {found: name for name in names if (found := _id(name)) is not None}
        rows = self._connection.execute(sql.encode(), (list(ids),)).fetchall()
        return {ids[row["id"]] for row in rows}


def _id(name: str) -> UUID | None:
    try:
        found = UUID(name)
    except ValueError:
        return None
    # What is being written has a name of as many digits, without hyphens.
    return found if str(found) == name else None


def _parts(row: DictRow) -> UploadParts:
    return UploadParts(row["id"], tuple(part["offset"] for part in row["parts"]))
