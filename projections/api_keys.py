"""The API keys of models: a table of the read model of deployments."""

from __future__ import annotations

from typing import Any

from backend.contracts.codec import PublicEvent, to_dict
from projections.tables import Fold, Rows, Table

API_KEYS = Table(
    name="api_keys",
    columns={
        "model_id": "uuid",
        "key_id": "uuid",
        "name": "text NOT NULL",
        "prefix": "text NOT NULL",
        "created_at": "timestamptz NOT NULL",
        "created_by": "text NOT NULL",
        "expires_at": "timestamptz",
        "requests_per_minute": "int",
        "revoked_at": "timestamptz",
        "revoked_by": "text",
    },
    key=("model_id", "key_id"),
)


def _key_created(rows: Rows, event: PublicEvent, facts: Any) -> None:
    rows.insert(
        API_KEYS,
        {
            "model_id": facts.model_id,
            "key_id": facts.key_id,
            "name": facts.name,
            "prefix": facts.prefix,
            "created_at": event.time.isoformat(),
            "created_by": event.actor,
            "expires_at": to_dict(facts)["expires_at"],
            "requests_per_minute": facts.requests_per_minute
            if facts.HasField("requests_per_minute")
            else None,
        },
    )


def _key_revoked(rows: Rows, event: PublicEvent, facts: Any) -> None:
    rows.change(API_KEYS, facts.model_id, facts.key_id).update(
        revoked_at=event.time.isoformat(), revoked_by=event.actor
    )


API_KEY_FOLDS = {
    "ApiKeyCreated": Fold(_key_created, ()),
    "ApiKeyRevoked": Fold(_key_revoked, (API_KEYS,)),
}
