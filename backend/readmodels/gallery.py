"""The gallery's queries: a page of models, everything about one model, its manifest."""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import DictRow
from psycopg.sql import SQL

from backend.domain.errors import NotFound
from backend.domain.servable import Obstacle
from backend.infra.postgres import Pool
from backend.readmodels import gallery_rows
from backend.readmodels.actions import Actions, MayAct, Situation, actions_of
from backend.readmodels.cursors import Cursors
from backend.readmodels.gallery_filters import Counted, Counts, Facets, Filters
from backend.readmodels.gallery_rows import Sort
from backend.readmodels.servable import obstacles
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
from backend.readmodels.wire_names import camel_keys

CONSUMER = "gallery"


# Of the version that the model's row shows.
_VERSION: LiteralString = (
    "v.origin, v.resolved, v.accepted_risks, v.file_name, v.upload_id, v.file_count, "
    "v.total_bytes, v.manifest_sha256, v.card, v.report, v.archive_received_at, "
    "v.files_stored_at, v.validated_at"
)


class ReplicaCount(msgspec.Struct, rename="camel", frozen=True):
    """Of the revision that serves: how many replicas are wanted, and how many answer."""

    wanted: int
    ready: int


class ModelSummary(msgspec.Struct, rename="camel", frozen=True):
    """A model as the gallery shows it. `version` is what If-Match wants.

    It shows the current version or, before there is one, the latest; `model_version` says which.
    """

    id: UUID
    version: int
    name: str
    technical_name: str
    kind: str
    source: str
    model_version: str
    current_version: str | None
    latest_version: str
    latest_state: str
    format: str | None
    batch_id: UUID | None
    state: str
    publication: str
    deployment_state: str | None
    replicas: ReplicaCount | None
    description: str
    labels: list[str]
    size_bytes: int | None
    architecture: str | None
    parameter_count: int | None
    created_at: datetime
    updated_at: datetime
    position: int
    failure: Failure | None
    actions: Actions


class ModelDetail(ModelSummary, kw_only=True, frozen=True):
    """Everything about a model."""

    card: Card | None
    report: Report | None
    file_count: int | None
    total_bytes: int | None
    manifest_sha256: str | None
    documentation_links: list[str]
    template: str
    origin: dict[str, Any]
    resolved: dict[str, str] | None
    accepted_risks: list[AcceptedRisk]
    base_model_id: UUID | None
    upload_id: UUID | None
    file_name: str | None
    import_steps: list[ImportStep]


class ModelPage(msgspec.Struct, rename="camel", frozen=True):
    """A page of models; `facets` stand on the first page only."""

    items: list[ModelSummary]
    next_cursor: str | None
    total: int
    facets: Facets | None


class Gallery:
    """Reads the gallery's view."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._counts = Counts()

    def page(
        self,
        filters: Filters,
        *,
        sort: Sort,
        cursor: str | None,
        limit: int,
        cursors: Cursors,
        may: MayAct,
    ) -> ModelPage:
        """A page of the models that fit. Raises `Invalid` for a cursor of another list."""
        scope = f"models {sort} {filters}"
        total: int | None = None
        after: list[Any] = []
        if cursor is not None:
            total, *after = cursors.read(scope, cursor)
        counted: Counted | None = None
        with self._pool.connection() as connection:
            if cursor is None or filters.narrow:
                counted = self._counts.of(connection, filters)
                total = counted.total if total is None else total
            rows = gallery_rows.page(
                connection, filters, counted, sort=sort, after=after, limit=limit + 1
            )
            more = len(rows) > limit
            rows = rows[:limit]
            hindered = obstacles(connection, rows)
        kept = gallery_rows.sorted_by(sort)
        return ModelPage(
            items=[
                ModelSummary(**_summary(row, hindered.get(row["model_id"]), may)) for row in rows
            ],
            next_cursor=cursors.write(scope, [total, *(rows[-1][c] for c in kept)])
            if more
            else None,
            total=total or 0,
            facets=counted.facets if cursor is None and counted is not None else None,
        )

    def detail(self, model_id: UUID, may: MayAct) -> ModelDetail:
        """Everything about a model. Raises `NotFound`."""
        row = self._row(model_id, "m.*, " + _VERSION)
        with self._pool.connection() as connection:
            hindered = obstacles(connection, [row])
        return ModelDetail(
            **_summary(row, hindered.get(model_id), may),
            card=card_of(row),
            report=report_of(row),
            file_count=row["file_count"],
            total_bytes=row["total_bytes"],
            manifest_sha256=row["manifest_sha256"],
            documentation_links=row["documentation_links"],
            template=row["template"],
            origin=camel_keys(row["origin"]),
            resolved=row["resolved"],
            accepted_risks=msgspec.convert(row["accepted_risks"], list[AcceptedRisk]),
            base_model_id=row["base_model_id"],
            upload_id=row["upload_id"],
            file_name=row["file_name"],
            import_steps=import_steps(row),
        )

    def name_of(self, model_id: UUID) -> str:
        """The model's name. Raises `NotFound`."""
        name: str = self._row(model_id, "m.name")["name"]
        return name

    def manifest_of(self, model_id: UUID) -> str | None:
        """The digest of the model's manifest, or None before its files are stored."""
        digest: str | None = self._row(model_id, "v.manifest_sha256")["manifest_sha256"]
        return digest

    def _row(self, model_id: UUID, columns: LiteralString) -> DictRow:
        with self._pool.connection() as connection:
            row = connection.execute(
                SQL(
                    "SELECT {} FROM gallery.models AS m JOIN gallery.versions AS v "
                    "ON v.model_id = m.model_id AND v.version = m.model_version "
                    "WHERE m.model_id = %s"
                ).format(SQL(columns)),
                (model_id,),
            ).fetchone()
        if row is None:
            raise NotFound(
                f"There is no model {model_id}.", remedy="Check the id, or reload the list."
            )
        return row


def _summary(row: DictRow, hindered: Obstacle | None, may: MayAct) -> dict[str, Any]:
    situation = Situation(
        state=row["state"],
        latest_state=row["latest_state"],
        publication=row["publication"],
        deployment_state=row["deployment_state"],
        retriable=row["retriable"],
        obstacle=hindered,
    )
    return {
        "id": row["model_id"],
        "version": row["version"],
        "name": row["name"],
        "technical_name": row["technical_name"],
        "current_version": row["current_version"],
        "latest_version": row["latest_version"],
        "latest_state": row["latest_state"],
        "format": row["format"],
        "batch_id": row["batch_id"],
        "kind": row["kind"],
        "source": row["source"],
        "model_version": row["model_version"],
        "state": row["state"],
        "publication": row["publication"],
        "deployment_state": row["deployment_state"],
        "replicas": _replicas(row["replicas"]),
        "description": row["description"],
        "labels": row["labels"],
        "size_bytes": row["size_bytes"],
        "architecture": row["architecture"],
        "parameter_count": row["parameter_count"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "position": row["position"],
        "failure": failure_of(row),
        "actions": actions_of(situation, may),
    }


def _replicas(state: dict[str, Any] | None) -> ReplicaCount | None:
    if state is None or state["serving"] is None:
        return None
    serving = str(state["serving"])
    return ReplicaCount(state["wanted"][serving], len(state["ready"].get(serving, ())))
