"""The base model of an adapter, as the adapter's validation sees it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from backend.application.store import EventStore
from backend.domain.errors import DomainError
from backend.domain.model import Model
from backend.infra.object_store import ObjectStore
from workers.importing.refusals import ImportRefused
from workers.importing.storing import StoredFile, StoredModel, manifest_path
from workers.importing.validation.layout import BaseModelFacts
from workers.importing.validation.report import Report
from workers.importing.validation.weights import check_weights


def base_model_facts(
    events: EventStore, store: ObjectStore, roots: Sequence[Path], model_id: UUID
) -> BaseModelFacts:
    """The card and the tensors of the base model's current version; reads headers only.

    A base model without safetensors weights has no tensors to compare with. Raises
    `ImportRefused` where the base model is no longer there.
    """
    try:
        model = events.load(Model, model_id)
        version = model.require_ready("use the base model")
    except DomainError as gone:
        raise ImportRefused(
            "base_model_gone",
            f"The base model cannot be used: {gone.detail}",
            "Import the base model again, then the adapter with it.",
            step="validate",
        ) from gone
    if version.manifest_sha256 is None:
        return BaseModelFacts(model.name, version.card, {})
    with store.open(manifest_path(version.manifest_sha256)) as source:
        rows = json.loads(source.read())["files"]
    weights = check_weights(
        StoredModel(store, [StoredFile(**row) for row in rows], roots), Report()
    )
    return BaseModelFacts(model.name, version.card, weights.tensors if weights else {})
