"""Unique names: rows that are written with the events of the models that have them."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import Cursor
from psycopg.rows import DictRow

from backend.application.store import InTransaction
from backend.domain.errors import NameTaken
from backend.domain.model import Model
from backend.domain.values import name_key


def reserve(models: Sequence[Model]) -> InTransaction:
    """A statement that takes the models' names, or raises `NameTaken`."""
    rows = _rows(models)

    def write(cursor: Cursor[DictRow]) -> None:
        cursor.execute(
            "INSERT INTO loggia.model_names (name_key, model_id) "
            "SELECT * FROM unnest(%s::text[], %s::uuid[]) "
            "ON CONFLICT (name_key) DO NOTHING RETURNING name_key",
            ([row[0] for row in rows], [row[1].id for row in rows]),
        )
        taken = {row["name_key"] for row in cursor}
        for key, model, field in rows:
            if key not in taken:
                raise _taken(model, field)
            # A second one in this batch with the same name finds it taken.
            taken.remove(key)

    return write


def require_free(models: Sequence[Model]) -> InTransaction:
    """A statement that raises `NameTaken` as `reserve` would, and writes nothing."""
    rows = _rows(models)

    def look(cursor: Cursor[DictRow]) -> None:
        cursor.execute(
            "SELECT name_key FROM loggia.model_names WHERE name_key = ANY(%s)",
            ([row[0] for row in rows],),
        )
        taken = {row["name_key"] for row in cursor}
        for key, model, field in rows:
            if key in taken:
                raise _taken(model, field)
            taken.add(key)

    return look


def _rows(models: Sequence[Model]) -> list[tuple[str, Model, str]]:
    rows = []
    for model in models:
        rows.append((name_key(model.name), model, "name"))
        if name_key(model.technical_name) != name_key(model.name):
            rows.append((name_key(model.technical_name), model, "technicalName"))
    return rows


def _taken(model: Model, field: str) -> NameTaken:
    if field == "technicalName":
        return NameTaken(
            f"There is a model with the technical name '{model.technical_name}' already.",
            remedy="Choose another technical name.",
            field=field,
        )
    return NameTaken(
        f"There is a model named '{model.name}' already.",
        remedy="Rename the file and import it again, or delete the other model."
        if model.latest.source == "upload"
        else "Choose another name, or import it as a new version of that model.",
        field=field,
    )
