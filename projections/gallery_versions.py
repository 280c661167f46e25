"""A version's row in the gallery, and what each event changes in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from backend.contracts.codec import PublicEvent, to_dict
from projections.tables import Row, Table

UPLOAD = "upload"

VERSIONS = Table(
    name="versions",
    columns={
        "model_id": "uuid",
        "version": "text",
        "state": "text NOT NULL",
        "source": "text NOT NULL",
        "origin": "jsonb NOT NULL",
        # What the source really was, such as a commit.
        "resolved": "jsonb",
        "image": "jsonb",
        "file_name": "text NOT NULL",
        "upload_id": "uuid",
        "base_model_id": "uuid",
        "size_bytes": "bigint",
        "file_count": "int",
        "total_bytes": "bigint",
        "manifest_uri": "text",
        "manifest_sha256": "text",
        # Each with its risks, the reason, who accepted them, and when.
        "accepted_risks": "jsonb NOT NULL",
        "failure": "jsonb",
        "card": "jsonb",
        "report": "jsonb",
        "created_position": "bigint NOT NULL",
        "created_at": "timestamptz NOT NULL",
        "created_by": "text NOT NULL",
        "updated_at": "timestamptz NOT NULL",
        "archive_received_at": "timestamptz",
        "source_fetched_at": "timestamptz",
        # For a container image, when it was inspected.
        "files_stored_at": "timestamptz",
        "validated_at": "timestamptz",
    },
    key=("model_id", "version"),
)

# Of an inspected image, beside its version's own columns.
_IMAGE = ("reference", "digest", "platform", "size_bytes", "ports", "labels")


def new_version(event: PublicEvent, facts: Any) -> Row:
    """The row of a version that somebody has asked for."""
    time = event.time.isoformat()
    return {
        "model_id": facts.model_id,
        "version": facts.version,
        "state": "importing",
        "source": facts.source,
        "origin": to_dict(facts.origin),
        "file_name": facts.file_name,
        "upload_id": facts.upload_id or None,
        "base_model_id": facts.base_model_id if facts.HasField("base_model_id") else None,
        "size_bytes": facts.size_bytes,
        "accepted_risks": [],
        "created_position": event.position,
        "created_at": time,
        "created_by": event.actor,
        "updated_at": time,
    }


def is_retriable(version: Row) -> bool:
    """Whether its import, once failed, can start again: an upload only from a whole archive."""
    return version["source"] != UPLOAD or version.get("archive_received_at") is not None


def _risk_accepted(version: Row, event: PublicEvent, facts: Any) -> None:
    version["accepted_risks"] = [
        *version["accepted_risks"],
        {
            "risks": list(facts.risks),
            "reason": facts.reason,
            "actor": event.actor,
            "at": event.time.isoformat(),
        },
    ]


def _archive_received(version: Row, _event: PublicEvent, facts: Any) -> None:
    version.update(size_bytes=facts.size_bytes, archive_received_at=version["updated_at"])


def _source_fetched(version: Row, _event: PublicEvent, facts: Any) -> None:
    version.update(
        resolved=dict(sorted(facts.resolved.items())),
        file_count=facts.file_count,
        size_bytes=facts.total_bytes,
        source_fetched_at=version["updated_at"],
    )


def _image_inspected(version: Row, _event: PublicEvent, facts: Any) -> None:
    image = to_dict(facts)
    version.update(
        state="validating",
        image={name: image[name] for name in _IMAGE},
        size_bytes=facts.size_bytes,
        files_stored_at=version["updated_at"],
    )


def _files_stored(version: Row, _event: PublicEvent, facts: Any) -> None:
    version.update(
        state="validating",
        manifest_uri=facts.manifest_uri,
        manifest_sha256=facts.manifest_sha256,
        file_count=facts.file_count,
        total_bytes=facts.total_bytes,
        files_stored_at=version["updated_at"],
    )


def _validated(version: Row, _event: PublicEvent, facts: Any) -> None:
    version.update(
        state="ready_to_deploy",
        failure=None,
        report=to_dict(facts.report),
        card=to_dict(facts.card),
        validated_at=version["updated_at"],
    )


def _failed(version: Row, _event: PublicEvent, facts: Any) -> None:
    version["state"] = "import_failed"
    version["failure"] = {"step": facts.step, "reason": facts.reason, "remedy": facts.remedy}
    if facts.HasField("report"):
        version["report"] = to_dict(facts.report)


def _cancelled(version: Row, _event: PublicEvent, _facts: Any) -> None:
    arrived = is_retriable(version)
    first = "extract" if version["source"] == UPLOAD else "fetch"
    step = "validate" if version["state"] == "validating" else first if arrived else "upload"
    version["state"] = "import_failed"
    version["failure"] = {
        "step": step,
        "reason": "The import was cancelled.",
        "remedy": "Retry the import, or delete the model."
        if arrived
        else "Delete the model and upload the file again.",
    }


def _retried(version: Row, _event: PublicEvent, _facts: Any) -> None:
    version.update(
        state="importing",
        failure=None,
        report=None,
        resolved=None,
        image=None,
        source_fetched_at=None,
        files_stored_at=None,
        validated_at=None,
    )


# Changes the version's row, whose `updated_at` is the event's time already.
CHANGES: Mapping[str, Callable[[Row, PublicEvent, Any], None]] = {
    "ModelRiskAccepted": _risk_accepted,
    "ModelArchiveReceived": _archive_received,
    "ModelSourceFetched": _source_fetched,
    "ModelImageInspected": _image_inspected,
    "ModelFilesStored": _files_stored,
    "ModelValidated": _validated,
    "ModelImportFailed": _failed,
    "ModelImportCancelled": _cancelled,
    "ModelImportRetried": _retried,
}
