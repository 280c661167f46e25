"""A container image that is a model, as its import would have recorded it."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from backend.application.commands import CommandContext
from backend.domain.model import ImportRequest
from tests.serving.conftest import ADA, Gallery

IMAGE = "registry.test/acme/classifier:1.0"
DIGEST = "sha256:" + "5" * 64
PINNED = f"registry.test/acme/classifier@{DIGEST}"
CONFIGURATION: dict[str, Any] = {
    "schemaVersion": 1,
    "port": 8080,
    "health": {"path": "/ready", "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 2},
    "apis": [
        {"path": "/classify", "method": "POST"},
        {"path": "/v1/completions", "method": "POST"},
    ],
    "environment": [
        {"name": "PORT", "required": True},
        {"name": "GREETING", "default": "hi"},
        {"name": "MODE"},
        {"name": "TOKEN", "secret": True},
    ],
}


def import_image(gallery: Gallery, *, connection: str | None = None, **changed: Any) -> UUID:
    """A model that is a container image, ready to deploy; `changed` replaces parts of its
    configuration."""
    facts = {
        "reference": IMAGE,
        "connection": connection,
        "deployment_type": "real_time",
        "configuration": json.dumps({**CONFIGURATION, **changed}),
    }
    worker = CommandContext("worker:import")
    model_id = gallery.models.request_import(
        CommandContext(ADA),
        ImportRequest(
            source="container_image", origin={"container_image": facts}, name="classifier"
        ),
    ).id
    gallery.models.record_image_inspected(
        worker,
        model_id,
        "0.0.1",
        reference=IMAGE,
        digest=DIGEST,
        platform="linux/amd64",
        size_bytes=1000,
        ports=["8080"],
        labels={},
        fence=lambda _: None,
    )
    card = {"format": "container_image", "total_bytes": 1000}
    gallery.models.record_validated(
        worker, model_id, "0.0.1", report={"checks": []}, card=card, fence=lambda _: None
    )
    return model_id
