"""The marketplace: what consumers see of published models.

Models that are not published have a row as well: it keeps what the listing will say once they are.
"""

from __future__ import annotations

from typing import Any

from backend.contracts.codec import PublicEvent, to_dict
from projections.tables import Fold, Handlers, Rows, Table

LISTINGS = Table(
    name="listings",
    columns={
        "model_id": "uuid",
        "published": "boolean NOT NULL",
        "published_at": "timestamptz",
        # Its endpoint answers.
        "deployed": "boolean NOT NULL",
        "serving_revision": "int",
        "name": "text NOT NULL",
        "description": "text NOT NULL",
        "labels": "text[] NOT NULL",
        "architecture": "text",
        "parameter_count": "bigint",
        "license": "text",
        # What the listing says of each usable version, so that an earlier one can come back.
        "versions": "jsonb NOT NULL",
    },
    key=("model_id",),
    indexes=("(published_at DESC, model_id) WHERE published",),
)


def _requested(rows: Rows, _event: PublicEvent, facts: Any) -> None:
    rows.insert(
        LISTINGS,
        {
            "model_id": facts.model_id,
            "published": False,
            "deployed": False,
            "serving_revision": None,
            "name": facts.name,
            "description": facts.description,
            "labels": list(facts.labels),
            "versions": {},
        },
    )


def _validated(rows: Rows, _event: PublicEvent, facts: Any) -> None:
    card = to_dict(facts.card)
    said = {name: card[name] for name in ("architecture", "parameter_count", "license")}
    row = rows.change(LISTINGS, facts.model_id)
    row["versions"] = {**row["versions"], facts.version: said}
    row.update(said)


def _current_selected(rows: Rows, _event: PublicEvent, facts: Any) -> None:
    row = rows.change(LISTINGS, facts.model_id)
    row.update(row["versions"][facts.version])


def _edited(rows: Rows, _event: PublicEvent, facts: Any) -> None:
    rows.change(LISTINGS, facts.model_id).update(
        description=facts.description, labels=list(facts.labels)
    )


def _published(rows: Rows, event: PublicEvent, facts: Any) -> None:
    rows.change(LISTINGS, facts.model_id).update(
        published=True, published_at=event.time.isoformat()
    )


def _withdrawn(rows: Rows, _event: PublicEvent, facts: Any) -> None:
    rows.change(LISTINGS, facts.model_id)["published"] = False


def _deleted(rows: Rows, _event: PublicEvent, facts: Any) -> None:
    rows.delete(LISTINGS, facts.model_id)


def _serve(rows: Rows, model_id: str, revision: int | None) -> None:
    # A deployment that was asked for in the instant of the deletion has no row any more.
    if row := rows.find(LISTINGS, model_id):
        row.update(serving_revision=revision, deployed=revision is not None)


def _deployed(rows: Rows, _event: PublicEvent, facts: Any) -> None:
    _serve(rows, facts.model_id, facts.revision)


def _failed(rows: Rows, _event: PublicEvent, facts: Any) -> None:
    row = rows.find(LISTINGS, facts.model_id)
    if row and row["serving_revision"] == facts.revision:
        _serve(rows, facts.model_id, None)


def _stopped(rows: Rows, _event: PublicEvent, facts: Any) -> None:
    _serve(rows, facts.model_id, None)


MARKETPLACE = Handlers(
    name="marketplace",
    description="What is published",
    tables=(LISTINGS,),
    folds={
        event_type: Fold(apply, (LISTINGS,))
        for event_type, apply in {
            "ModelImportRequested": _requested,
            "ModelValidated": _validated,
            "ModelCurrentVersionSelected": _current_selected,
            "ModelConfigurationEdited": _edited,
            "ModelPublished": _published,
            "ModelWithdrawn": _withdrawn,
            "ModelDeleted": _deleted,
            "RevisionDeployed": _deployed,
            "RevisionFailed": _failed,
            "DeploymentStopped": _stopped,
        }.items()
    },
)
