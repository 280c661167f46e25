"""The gallery's queries: a page of models, everything about one model, its manifest."""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import DictRow
from psycopg.sql import SQL

from backend.domain.errors import NotFound
from backend.infra.postgres import Pool
from backend.readmodels import gallery_rows
from backend.readmodels.actions import Actions, MayAct, Situation, actions_of
from backend.readmodels.cursors import Cursors
from backend.readmodels.gallery_filters import Counted, Counts, Facets, Filters
from backend.readmodels.gallery_rows import Sort
from backend.readmodels.wire_names import camel_keys

CONSUMER = "gallery"


class Failure(msgspec.Struct, rename="camel", frozen=True):
    """Why an import failed."""

    step: str
    reason: str
    remedy: str


class ModelSummary(msgspec.Struct, rename="camel", frozen=True):
    """A model as the gallery shows it. `version` is what If-Match wants."""

    id: UUID
    version: int
    name: str
    kind: str
    source: str
    model_version: str
    state: str
    publication: str
    deployment_state: str | None
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


class Card(msgspec.Struct, rename="camel", frozen=True):
    """What the model's own files say about it."""

    architecture: str | None = None
    model_type: str | None = None
    task: str | None = None
    parameter_count: int | None = None
    dtype: str | None = None
    context_length: int | None = None
    vocabulary_size: int | None = None
    hidden_size: int | None = None
    layers: int | None = None
    license: str | None = None
    tokenizer: str | None = None
    chat_template: bool = False
    languages: list[str] = []
    summary: str | None = None
    weight_format: str | None = None
    total_bytes: int | None = None


class Check(msgspec.Struct, rename="camel", frozen=True):
    """One check of the validation: `pass`, `warn` or `fail`."""

    id: str
    title: str
    outcome: str
    evidence: str | None = None
    hint: str | None = None


class Report(msgspec.Struct, rename="camel", frozen=True):
    """The validation's checks, in the order they were made."""

    checks: list[Check]


class ImportStep(msgspec.Struct, rename="camel", frozen=True):
    """A step of the import: `pending`, `running`, `done` or `failed`, and since when."""

    step: str
    state: str
    at: datetime | None


class ModelDetail(ModelSummary, kw_only=True, frozen=True):
    """Everything about a model."""

    card: Card | None
    report: Report | None
    file_count: int | None
    total_bytes: int | None
    manifest_sha256: str | None
    documentation_links: list[str]
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
        kept = gallery_rows.sorted_by(sort)
        return ModelPage(
            items=[ModelSummary(**_summary(row, may)) for row in rows],
            next_cursor=cursors.write(scope, [total, *(rows[-1][c] for c in kept)])
            if more
            else None,
            total=total or 0,
            facets=counted.facets if cursor is None and counted is not None else None,
        )

    def detail(self, model_id: UUID, may: MayAct) -> ModelDetail:
        """Everything about a model. Raises `NotFound`."""
        row = self._row(model_id, "*")
        return ModelDetail(
            **_summary(row, may),
            card=msgspec.convert(camel_keys(row["card"]), Card) if row["card"] else None,
            report=msgspec.convert(camel_keys(row["report"]), Report) if row["report"] else None,
            file_count=row["file_count"],
            total_bytes=row["total_bytes"],
            manifest_sha256=row["manifest_sha256"],
            documentation_links=row["documentation_links"],
            base_model_id=row["base_model_id"],
            upload_id=row["upload_id"],
            file_name=row["file_name"],
            import_steps=_steps(row),
        )

    def name_of(self, model_id: UUID) -> str:
        """The model's name. Raises `NotFound`."""
        name: str = self._row(model_id, "name")["name"]
        return name

    def manifest_of(self, model_id: UUID) -> str | None:
        """The digest of the model's manifest, or None before its files are stored."""
        digest: str | None = self._row(model_id, "manifest_sha256")["manifest_sha256"]
        return digest

    def _row(self, model_id: UUID, columns: LiteralString) -> DictRow:
        with self._pool.connection() as connection:
            row = connection.execute(
                SQL("SELECT {} FROM gallery.models WHERE model_id = %s").format(SQL(columns)),
                (model_id,),
            ).fetchone()
        if row is None:
            raise NotFound(
                f"There is no model {model_id}.", remedy="Check the id, or reload the list."
            )
        return row


def _summary(row: DictRow, may: MayAct) -> dict[str, Any]:
    situation = Situation(
        state=row["state"],
        publication=row["publication"],
        deployment_state=row["deployment_state"],
        archive_received=row["archive_received_at"] is not None,
    )
    failure = row["failure"]
    return {
        "id": row["model_id"],
        "version": row["version"],
        "name": row["name"],
        "kind": row["kind"],
        "source": row["source"],
        "model_version": row["model_version"],
        "state": row["state"],
        "publication": row["publication"],
        "deployment_state": row["deployment_state"],
        "description": row["description"],
        "labels": row["labels"],
        "size_bytes": row["size_bytes"],
        "architecture": row["architecture"],
        "parameter_count": row["parameter_count"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
        "position": row["position"],
        "failure": msgspec.convert(failure, Failure) if failure else None,
        "actions": actions_of(situation, may),
    }


def _steps(row: DictRow) -> list[ImportStep]:
    """Upload, extraction and validation, each with its state and when it came to it."""
    ends = [
        ("upload", row["archive_received_at"]),
        ("extract", row["files_stored_at"]),
        ("validate", row["validated_at"]),
    ]
    failed = row["failure"]["step"] if row["failure"] else None
    steps: list[ImportStep] = []
    running = row["state"] in {"importing", "validating"}
    for step, at in ends:
        if step == failed:
            steps.append(ImportStep(step, "failed", row["updated_at"]))
            running = False
        elif at is not None:
            steps.append(ImportStep(step, "done", at))
        else:
            steps.append(ImportStep(step, "running" if running else "pending", None))
            running = False
    return steps
