"""A model's versions: listed, looked at, and compared with each other."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import DictRow

from backend.domain.errors import NotFound
from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool
from backend.readmodels import manifests
from backend.readmodels.cursors import Cursors
from backend.readmodels.manifests import ModelFile
from backend.readmodels.version_facts import (
    AcceptedRisk,
    Card,
    Failure,
    ImportStep,
    Report,
    card_of,
    failure_of,
    import_steps,
    report_of,
)
from backend.readmodels.wire_names import camel, camel_keys


class VersionView(msgspec.Struct, rename="camel", frozen=True):
    """A version of a model; sizes in bytes. `image` is what the registry said of one."""

    version: str
    current: bool
    state: str
    source: str
    origin: dict[str, Any]
    resolved: dict[str, str] | None
    image: dict[str, Any] | None
    file_name: str
    upload_id: UUID | None
    base_model_id: UUID | None
    size_bytes: int | None
    file_count: int | None
    total_bytes: int | None
    manifest_sha256: str | None
    accepted_risks: list[AcceptedRisk]
    failure: Failure | None
    card: Card | None
    report: Report | None
    created_at: datetime
    created_by: str
    updated_at: datetime
    import_steps: list[ImportStep]


class VersionPage(msgspec.Struct, rename="camel", frozen=True):
    """Versions of a model, newest first."""

    items: list[VersionView]
    next_cursor: str | None


class FieldDifference(msgspec.Struct, rename="camel", frozen=True):
    """A field of the card that is not the same in both versions."""

    field: str
    before: Any
    after: Any


class FileDifference(msgspec.Struct, rename="camel", frozen=True):
    """A file that was `added`, `removed` or `changed`."""

    path: str
    change: str
    before: ModelFile | None
    after: ModelFile | None


class Comparison(msgspec.Struct, rename="camel", frozen=True):
    """What differs between two versions."""

    card: list[FieldDifference]
    files: list[FileDifference]


def of_model(
    pool: Pool, model_id: UUID, cursor: str | None, limit: int, cursors: Cursors
) -> VersionPage:
    """The versions of a model, newest first. Raises `NotFound`."""
    scope = f"versions {model_id}"
    (below,) = cursors.read(scope, cursor) if cursor is not None else (None,)
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT v.*, v.version = m.current_version AS current FROM gallery.versions AS v "
            "JOIN gallery.models AS m USING (model_id) WHERE model_id = %(model)s "
            "AND (%(below)s::bigint IS NULL OR v.created_position < %(below)s) "
            "ORDER BY v.created_position DESC LIMIT %(most)s",
            {"model": model_id, "below": below, "most": limit + 1},
        ).fetchall()
    if not rows and below is None:
        raise NotFound(f"There is no model {model_id}.", remedy="Check the id, or reload the list.")
    shown, more = rows[:limit], len(rows) > limit
    return VersionPage(
        [_view(row) for row in shown],
        cursors.write(scope, [shown[-1]["created_position"]]) if more else None,
    )


def compare(
    pool: Pool, object_store: ObjectStore, model_id: UUID, *, before: str, after: str
) -> Comparison:
    """What changed from one version to another, in the card and in the files.

    Raises `NotFound`.
    """
    with pool.connection() as connection:
        rows = {
            row["version"]: row
            for row in connection.execute(
                "SELECT version, card, manifest_sha256 FROM gallery.versions "
                "WHERE model_id = %s AND version = ANY(%s)",
                (model_id, [before, after]),
            )
        }
    for number in (before, after):
        if number not in rows:
            raise NotFound(
                f"The model {model_id} has no version {number[:80]}.",
                remedy="Choose one from the list of its versions.",
            )
    return Comparison(
        card=_cards(rows[before]["card"] or {}, rows[after]["card"] or {}),
        files=_files(_listed(object_store, rows[before]), _listed(object_store, rows[after])),
    )


def _view(row: DictRow) -> VersionView:
    return VersionView(
        version=row["version"],
        current=bool(row["current"]),
        state=row["state"],
        source=row["source"],
        origin=camel_keys(row["origin"]),
        resolved=row["resolved"],
        image=camel_keys(row["image"]),
        file_name=row["file_name"],
        upload_id=row["upload_id"],
        base_model_id=row["base_model_id"],
        size_bytes=row["size_bytes"],
        file_count=row["file_count"],
        total_bytes=row["total_bytes"],
        manifest_sha256=row["manifest_sha256"],
        accepted_risks=msgspec.convert(row["accepted_risks"], list[AcceptedRisk]),
        failure=failure_of(row),
        card=card_of(row),
        report=report_of(row),
        created_at=row["created_at"],
        created_by=row["created_by"],
        updated_at=row["updated_at"],
        import_steps=import_steps(row),
    )


def _cards(before: dict[str, Any], after: dict[str, Any]) -> list[FieldDifference]:
    return [
        FieldDifference(camel(name), camel_keys(before.get(name)), camel_keys(after.get(name)))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _listed(object_store: ObjectStore, row: DictRow) -> dict[str, ModelFile]:
    if row["manifest_sha256"] is None:
        return {}
    return {file.path: file for file in manifests.files(object_store, row["manifest_sha256"])}


def _files(before: dict[str, ModelFile], after: dict[str, ModelFile]) -> list[FileDifference]:
    differences = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old != new:
            change = "added" if old is None else "removed" if new is None else "changed"
            differences.append(FileDifference(path, change, old, new))
    return differences
