"""Why models cannot be served, for many of them with one more query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow

from backend.domain.servable import Imported, Obstacle, obstacle


def obstacles(
    connection: Connection[DictRow], rows: Sequence[Mapping[str, Any]]
) -> dict[UUID, Obstacle]:
    """By model's id, of those rows of `gallery.models` that no engine can serve.

    Adapters are looked at with their bases.
    """
    wanted = list({row["base_model_id"] for row in rows if row["base_model_id"] is not None})
    bases: dict[UUID, Imported] = {}
    if wanted:
        found = connection.execute(
            "SELECT model_id, kind, base_model_id, format, task, architecture, adapter "
            "FROM gallery.models WHERE model_id = ANY(%s)",
            (wanted,),
        )
        bases = {row["model_id"]: _imported(row) for row in found}
    reasons = {
        row["model_id"]: obstacle(_imported(row), bases.get(row["base_model_id"])) for row in rows
    }
    return {model_id: reason for model_id, reason in reasons.items() if reason is not None}


def _imported(row: Mapping[str, Any]) -> Imported:
    return Imported(
        kind=row["kind"],
        format=row["format"],
        task=row["task"],
        architecture=row["architecture"],
        adapter=row["adapter"],
    )
