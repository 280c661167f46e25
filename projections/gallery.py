"""The gallery: each model as lists show it, each of its versions, and batches of imports.

A model's row shows its current version; before there is one, the version that was asked for last.
"""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from backend.contracts.codec import PublicEvent
from projections import gallery_replicas
from projections.gallery_versions import CHANGES, VERSIONS, is_retriable, new_version
from projections.tables import Apply, Fold, Handlers, Row, Rows, Table


def _facets(row: Row) -> str:
    """A JSON list: state, kind, publication, deployment state or null, and the labels in order."""
    filtered = (row["state"], row["kind"], row["publication"], row.get("deployment_state"))
    return json.dumps([*filtered, sorted(row["labels"])], ensure_ascii=False, separators=(",", ":"))


MODELS = Table(
    name="models",
    columns={
        "model_id": "uuid",
        # Version of the Model aggregate: what If-Match wants.
        "version": "bigint NOT NULL",
        "name": "text NOT NULL",
        "name_key": 'text COLLATE "C" NOT NULL',
        "technical_name": "text NOT NULL",
        "kind": "text NOT NULL",
        "source": "text NOT NULL",
        # The version that is shown; `current_version` is NULL until one is usable.
        "model_version": "text NOT NULL",
        "current_version": "text",
        "latest_version": "text NOT NULL",
        "latest_state": "text NOT NULL",
        "state": "text NOT NULL",
        "publication": "text NOT NULL",
        "deployment_state": "text",
        "desired_revision": "int",
        # See `gallery_replicas`.
        "replicas": "jsonb",
        "description": "text NOT NULL",
        "labels": "text[] NOT NULL",
        # Everything that lists are filtered by, in one text: see `_facets`.
        "facets": "text NOT NULL",
        "documentation_links": "text[] NOT NULL",
        "template": "text NOT NULL",
        "format": "text",
        "task": "text",
        # What an adapter says about itself, as its card does.
        "adapter": "jsonb",
        "size_bytes": "bigint",
        "architecture": "text",
        "parameter_count": "bigint",
        "base_model_id": "uuid",
        "batch_id": "uuid",
        # Position of the import's request: the newest import comes first, edits move no row.
        "created_position": "bigint NOT NULL",
        "created_at": "timestamptz NOT NULL",
        "updated_at": "timestamptz NOT NULL",
        "position": "bigint NOT NULL",
        # Whether the latest version's import, once failed, could start again.
        "retriable": "boolean NOT NULL",
        # {step, reason, remedy} while the state is `import_failed`.
        "failure": "jsonb",
    },
    key=("model_id",),
    indexes=(
        "UNIQUE (created_position)",
        # Narrow enough to be read from end to end: searches and filters count in it.
        "(name_key, created_position) INCLUDE (facets, size_bytes)",
        "(size_bytes, created_position)",
        "USING gin (name_key public.gin_trgm_ops)",
    ),
    computed={"facets": _facets},
)
BATCHES = Table(
    name="batches",
    columns={
        "batch_id": "uuid",
        "address": "text NOT NULL",
        "format": "text NOT NULL",
        "manifest_uri": "text NOT NULL",
        "manifest_sha256": "text NOT NULL",
        "model_ids": "uuid[] NOT NULL",
        "requested_by": "text NOT NULL",
        "requested_at": "timestamptz NOT NULL",
        "position": "bigint NOT NULL",
    },
    key=("batch_id",),
    group="batch_id",
)


def name_key(name: str) -> str:
    """The name without difference of case: what searches look in and lists sort by."""
    return unicodedata.normalize("NFC", name).casefold()


def _requested(rows: Rows, event: PublicEvent, facts: Any) -> None:
    rows.insert(
        MODELS,
        {
            "model_id": facts.model_id,
            "name": facts.name,
            "name_key": name_key(facts.name),
            "technical_name": facts.technical_name or facts.name,
            "kind": facts.kind,
            "current_version": None,
            "publication": "unpublished",
            "description": facts.description,
            "labels": list(facts.labels),
            "documentation_links": list(facts.documentation_links),
            "template": facts.origin.path.template,
            "batch_id": facts.batch_id or None,
            "created_position": event.position,
            "created_at": event.time.isoformat(),
        },
    )
    _version_requested(rows, event, facts)


def _version_requested(rows: Rows, event: PublicEvent, facts: Any) -> None:
    rows.insert(VERSIONS, new_version(event, facts))
    row = rows.change(MODELS, facts.model_id)
    row["latest_version"] = facts.version
    _show(rows, event, row)


def _model(rows: Rows, event: PublicEvent) -> Row:
    row = rows.change(MODELS, event.partition_key)
    row["version"] = event.aggregate_version
    row["position"] = event.position
    row["updated_at"] = event.time.isoformat()
    return row


def _show(rows: Rows, event: PublicEvent, model: Row) -> None:
    """Brings the model's row up to what its versions say."""
    _model(rows, event)
    versions = {row["version"]: row for row in rows.of_group(VERSIONS, event.partition_key)}
    latest = versions[model["latest_version"]]
    shown = versions[model["current_version"] or model["latest_version"]]
    card = shown.get("card") or {}
    model.update(
        source=shown["source"],
        model_version=shown["version"],
        state=shown["state"],
        latest_state=latest["state"],
        retriable=is_retriable(latest),
        failure=shown.get("failure"),
        format=card.get("format"),
        task=card.get("task"),
        adapter=card.get("adapter"),
        size_bytes=shown.get("size_bytes"),
        architecture=card.get("architecture"),
        parameter_count=card.get("parameter_count"),
        base_model_id=shown.get("base_model_id"),
    )


def _changed(rows: Rows, event: PublicEvent, facts: Any) -> None:
    """Changes the version that the event is about, then what the model's row shows."""
    version = rows.change(VERSIONS, facts.model_id, facts.version)
    version["updated_at"] = event.time.isoformat()
    CHANGES[event.type](version, event, facts)
    row = rows.change(MODELS, facts.model_id)
    if event.type == "ModelValidated":
        row["current_version"] = facts.version
    _show(rows, event, row)


def _current_selected(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = rows.change(MODELS, facts.model_id)
    row["current_version"] = facts.version
    _show(rows, event, row)


def _template_updated(rows: Rows, event: PublicEvent, facts: Any) -> None:
    _model(rows, event)["template"] = facts.template


def _batch_requested(rows: Rows, event: PublicEvent, facts: Any) -> None:
    rows.insert(
        BATCHES,
        {
            "batch_id": facts.batch_id,
            "address": facts.address,
            "format": facts.format,
            "manifest_uri": facts.manifest_uri,
            "manifest_sha256": facts.manifest_sha256,
            "model_ids": list(facts.model_ids),
            "requested_by": event.actor,
            "requested_at": event.time.isoformat(),
            "position": event.position,
        },
    )


def _edited(rows: Rows, event: PublicEvent, facts: Any) -> None:
    _model(rows, event).update(
        description=facts.description,
        labels=list(facts.labels),
        documentation_links=list(facts.documentation_links),
    )


def _published(rows: Rows, event: PublicEvent, _facts: Any) -> None:
    _model(rows, event)["publication"] = "published"


def _withdrawn(rows: Rows, event: PublicEvent, _facts: Any) -> None:
    _model(rows, event)["publication"] = "withdrawn"


def _deleted(rows: Rows, event: PublicEvent, _facts: Any) -> None:
    rows.delete(MODELS, event.partition_key)
    for version in rows.of_group(VERSIONS, event.partition_key):
        rows.delete(VERSIONS, event.partition_key, version["version"])


def _deployment(rows: Rows, event: PublicEvent) -> Row | None:
    # A deployment that was asked for in the instant of the deletion has no row any more.
    row = rows.find(MODELS, event.partition_key)
    if row is not None:
        row["position"] = event.position
        row["updated_at"] = event.time.isoformat()
    return row


def _deploying(rows: Rows, event: PublicEvent, facts: Any) -> None:
    if row := _deployment(rows, event):
        row.update(deployment_state="deploying", desired_revision=facts.revision)
        gallery_replicas.change(row, event.type, facts)


def _outcome(state: str) -> Apply:
    def apply(rows: Rows, event: PublicEvent, facts: Any) -> None:
        row = _deployment(rows, event)
        # What becomes of a superseded revision says nothing about the deployment.
        if row and row["desired_revision"] == facts.revision:
            row["deployment_state"] = state
        if row:
            gallery_replicas.change(row, event.type, facts)

    return apply


def _stop_requested(rows: Rows, event: PublicEvent, _facts: Any) -> None:
    if row := _deployment(rows, event):
        row["deployment_state"] = "stopping"


def _stopped(rows: Rows, event: PublicEvent, facts: Any) -> None:
    if row := _deployment(rows, event):
        row["deployment_state"] = "stopped"
        gallery_replicas.change(row, event.type, facts)


def _replicas(rows: Rows, event: PublicEvent, facts: Any) -> None:
    # Nobody has done anything to the model: it was not updated.
    row = rows.find(MODELS, event.partition_key)
    if row is not None:
        row["position"] = event.position
        gallery_replicas.change(row, event.type, facts)


_BOTH = (MODELS, VERSIONS)

GALLERY = Handlers(
    name="gallery",
    description="The models and their versions, as lists and pages show them",
    tables=(*_BOTH, BATCHES),
    folds={
        "ModelImportRequested": Fold(_requested, ()),
        "ImportBatchRequested": Fold(_batch_requested, ()),
        **{
            event_type: Fold(apply, _BOTH)
            for event_type, apply in {
                "ModelVersionRequested": _version_requested,
                "ModelCurrentVersionSelected": _current_selected,
                "ModelDeleted": _deleted,
                **dict.fromkeys(CHANGES, _changed),
            }.items()
        },
        **{
            event_type: Fold(apply, (MODELS,))
            for event_type, apply in {
                "ModelConfigurationEdited": _edited,
                "ModelTemplateUpdated": _template_updated,
                "ModelPublished": _published,
                "ModelWithdrawn": _withdrawn,
                "DeploymentRequested": _deploying,
                "RevisionDeployed": _outcome("deployed"),
                "RevisionFailed": _outcome("failed"),
                "DeploymentStopRequested": _stop_requested,
                "DeploymentStopped": _stopped,
                "ReplicaReady": _replicas,
                "ReplicaLost": _replicas,
                "ReplicaRetired": _replicas,
                "DeploymentScaled": _replicas,
                "RevisionRetired": _replicas,
            }.items()
        },
    },
)
