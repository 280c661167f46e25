"""Why models cannot be served, for many of them with one more query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import DictRow

from backend.application.engine_facts import offered
from backend.domain.servable import (
    Imported,
    Obstacle,
    nearest_reason,
)
from backend.domain.servable import (
    obstacles_by_engine as hindrances,
)


def obstacles(
    connection: Connection[DictRow], rows: Sequence[Mapping[str, Any]]
) -> dict[UUID, Obstacle]:
    """By model's id, of those rows of `gallery.models` that no engine can serve."""
    found = obstacles_by_engine(connection, rows)
    reasons = {
        row["model_id"]: nearest_reason(row["format"], found[row["model_id"]]) for row in rows
    }
    return {model_id: reason for model_id, reason in reasons.items() if reason is not None}


def obstacles_by_engine(
    connection: Connection[DictRow], rows: Sequence[Mapping[str, Any]]
) -> dict[UUID, dict[str, Obstacle | None]]:
    """By model's id, of these rows of `gallery.models`, what hinders each engine.

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
    there = offered(connection) if rows else ()
    return {
        row["model_id"]: hindrances(_imported(row), bases.get(row["base_model_id"]), offered=there)
        for row in rows
    }


def _imported(row: Mapping[str, Any]) -> Imported:
    return Imported(
        kind=row["kind"],
        format=row["format"],
        task=row["task"],
        architecture=row["architecture"],
        adapter=row["adapter"],
    )
