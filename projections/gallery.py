"""The gallery: one row for each model, with everything that lists and pages about it show."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from backend.contracts.codec import PublicEvent, to_dict
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
        "kind": "text NOT NULL",
        "source": "text NOT NULL",
        "model_version": "text NOT NULL",
        "state": "text NOT NULL",
        "publication": "text NOT NULL",
        "deployment_state": "text",
        "desired_revision": "int",
        "description": "text NOT NULL",
        "labels": "text[] NOT NULL",
        # Everything that lists are filtered by, in one text: see `_facets`.
        "facets": "text NOT NULL",
        "documentation_links": "text[] NOT NULL",
        "size_bytes": "bigint",
        "architecture": "text",
        "parameter_count": "bigint",
        # Position of the import's request: the newest import comes first, edits move no row.
        "created_position": "bigint NOT NULL",
        "created_at": "timestamptz NOT NULL",
        "updated_at": "timestamptz NOT NULL",
        "position": "bigint NOT NULL",
        "archive_received_at": "timestamptz",
        "files_stored_at": "timestamptz",
        "validated_at": "timestamptz",
        "file_count": "int",
        "total_bytes": "bigint",
        "manifest_uri": "text",
        "manifest_sha256": "text",
        "base_model_id": "uuid",
        "upload_id": "uuid",
        "file_name": "text",
        # {step, reason, remedy} while the state is `import_failed`.
        "failure": "jsonb",
        "card": "jsonb",
        "report": "jsonb",
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


def name_key(name: str) -> str:
    """The name without difference of case: what searches look in and lists sort by."""
    return unicodedata.normalize("NFC", name).casefold()


def _requested(rows: Rows, event: PublicEvent, facts: Any) -> None:
    time = event.time.isoformat()
    rows.insert(
        MODELS,
        {
            "model_id": facts.model_id,
            "version": event.aggregate_version,
            "name": facts.name,
            "name_key": name_key(facts.name),
            "kind": facts.kind,
            "source": facts.source,
            "model_version": facts.version,
            "state": "importing",
            "publication": "unpublished",
            "description": "",
            "labels": [],
            "documentation_links": [],
            "size_bytes": facts.size_bytes,
            "created_position": event.position,
            "created_at": time,
            "updated_at": time,
            "position": event.position,
            "base_model_id": facts.base_model_id if facts.HasField("base_model_id") else None,
            "upload_id": facts.upload_id or None,
            "file_name": facts.file_name,
        },
    )


def _model(rows: Rows, event: PublicEvent) -> Row:
    row = rows.change(MODELS, event.partition_key)
    row["version"] = event.aggregate_version
    row["position"] = event.position
    row["updated_at"] = event.time.isoformat()
    return row


def _archive_received(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = _model(rows, event)
    row["size_bytes"] = facts.size_bytes
    row["archive_received_at"] = row["updated_at"]


def _files_stored(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = _model(rows, event)
    row.update(
        state="validating",
        manifest_uri=facts.manifest_uri,
        manifest_sha256=facts.manifest_sha256,
        file_count=facts.file_count,
        total_bytes=facts.total_bytes,
        files_stored_at=row["updated_at"],
    )


def _validated(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = _model(rows, event)
    card = to_dict(facts.card)
    row.update(
        state="ready_to_deploy",
        failure=None,
        report=to_dict(facts.report),
        card=card,
        architecture=card["architecture"],
        parameter_count=card["parameter_count"],
        validated_at=row["updated_at"],
    )


def _failed(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = _model(rows, event)
    row["state"] = "import_failed"
    row["failure"] = {"step": facts.step, "reason": facts.reason, "remedy": facts.remedy}
    if facts.HasField("report"):
        row["report"] = to_dict(facts.report)


def _cancelled(rows: Rows, event: PublicEvent, _facts: Any) -> None:
    row = _model(rows, event)
    arrived = row.get("archive_received_at") is not None
    step = "validate" if row["state"] == "validating" else "extract" if arrived else "upload"
    row["state"] = "import_failed"
    row["failure"] = {
        "step": step,
        "reason": "The import was cancelled.",
        "remedy": "Retry the import, or delete the model."
        if arrived
        else "Delete the model and upload the file again.",
    }


def _retried(rows: Rows, event: PublicEvent, _facts: Any) -> None:
    _model(rows, event).update(
        state="importing", failure=None, report=None, files_stored_at=None, validated_at=None
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


def _outcome(state: str) -> Apply:
    def apply(rows: Rows, event: PublicEvent, facts: Any) -> None:
        row = _deployment(rows, event)
        # What becomes of a superseded revision says nothing about the deployment.
        if row and row["desired_revision"] == facts.revision:
            row["deployment_state"] = state

    return apply


def _turned(state: str) -> Apply:
    def apply(rows: Rows, event: PublicEvent, _facts: Any) -> None:
        if row := _deployment(rows, event):
            row["deployment_state"] = state

    return apply


GALLERY = Handlers(
    name="gallery",
    description="The models, as lists and pages show them",
    tables=(MODELS,),
    folds={
        event_type: Fold(apply, (MODELS,))
        for event_type, apply in {
            "ModelImportRequested": _requested,
            "ModelArchiveReceived": _archive_received,
            "ModelFilesStored": _files_stored,
            "ModelValidated": _validated,
            "ModelImportFailed": _failed,
            "ModelImportCancelled": _cancelled,
            "ModelImportRetried": _retried,
            "ModelConfigurationEdited": _edited,
            "ModelPublished": _published,
            "ModelWithdrawn": _withdrawn,
            "ModelDeleted": _deleted,
            "DeploymentRequested": _deploying,
            "RevisionDeployed": _outcome("deployed"),
            "RevisionFailed": _outcome("failed"),
            "DeploymentStopRequested": _turned("stopping"),
            "DeploymentStopped": _turned("stopped"),
        }.items()
    },
)
