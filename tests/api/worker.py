"""What the workers would record, so that the API's answers can be seen in every state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from backend.api.services import Services
from backend.application.commands import CommandContext
from backend.domain.model import ImportRequest
from backend.domain.terms import VERSION

CARD: dict[str, Any] = {
    "architecture": "LlamaForCausalLM",
    "model_type": "llama",
    "task": "text-generation",
    "parameter_count": 1000,
    "dtype": "float32",
    "context_length": 512,
    "vocabulary_size": 512,
    "hidden_size": 128,
    "layers": 2,
    "license": "apache-2.0",
    "tokenizer": "bpe",
    "chat_template": True,
    "languages": ["en"],
    "summary": "A tiny model.",
    "weight_format": "safetensors",
    "total_bytes": 4000,
}
REPORT = {
    "checks": [
        {"id": "layout", "title": "Layout", "outcome": "pass", "evidence": "3 files", "hint": ""}
    ]
}
MANIFEST = "ab" * 32


def _context() -> CommandContext:
    return CommandContext(actor="worker:import")


def nothing(_: Any) -> None:
    """A fence that lets everything through."""


def store_files(services: Services, model_id: str) -> int:
    return services.models.record_files_stored(
        _context(),
        UUID(model_id),
        "0.0.1",
        manifest_uri=f"file:///manifests/{MANIFEST}.json",
        manifest_sha256=MANIFEST,
        file_count=1,
        total_bytes=4000,
        fence=nothing,
    ).position


def make_ready(services: Services, model_id: str, **card: Any) -> int:
    """Finishes an import; returns the position to wait for."""
    store_files(services, model_id)
    return services.models.record_validated(
        _context(), UUID(model_id), "0.0.1", report=REPORT, card=CARD | card, fence=nothing
    ).position


def add_version(services: Services, model_id: str) -> int:
    """A further version, whose import fails."""
    origin = {"path": {"path": "/models/tiny", "mode": "copy", "template": None}}
    request = ImportRequest(source="path", origin=origin)
    asked = services.models.request_version(CommandContext("user:admin"), UUID(model_id), request)
    return fail_import(services, model_id, asked.result["version"])


def fail_import(services: Services, model_id: str, version: str = "0.0.1") -> int:
    return services.models.record_import_failed(
        _context(),
        UUID(model_id),
        version,
        step="extract",
        reason="The archive is not a zip file.",
        remedy="Upload a zip file.",
    ).position


def serve(
    services: Services, model_id: str, revision: int, *, devices: Sequence[str] = ()
) -> tuple[UUID, int]:
    """Brings a revision to serve; returns its replica and the position to wait for."""
    deployments, model, replica_id = services.deployments, UUID(model_id), uuid4()
    deployments.record_replica_started(
        _context(),
        model,
        revision=revision,
        replica_id=replica_id,
        server="local",
        engine="vllm",
        engine_version="1",
        devices=devices,
    )
    deployments.record_replica_ready(
        _context(),
        model,
        revision=revision,
        replica_id=replica_id,
        endpoint="http://127.0.0.1:1",
        startup_seconds=1.0,
    )
    return replica_id, deployments.record_revision_deployed(
        _context(), model, revision=revision
    ).position


def scale(services: Services, model_id: str, revision: int, replicas: int) -> int:
    """Wants another number of replicas; returns the position to wait for."""
    return services.deployments.scale(
        _context(),
        UUID(model_id),
        revision=revision,
        replicas=replicas,
        running=9,
        waiting=2,
        sustained_seconds=30.0,
        reason="At least 2 replicas were needed.",
    ).position


def retire(services: Services, model_id: str, revision: int, replica_id: UUID) -> int:
    return services.deployments.retire_replica(
        _context(), UUID(model_id), revision=revision, replica_id=replica_id, reason="Scaled down."
    ).position


def fail_revision(services: Services, model_id: str, revision: int) -> int:
    return services.deployments.record_revision_failed(
        _context(),
        UUID(model_id),
        revision=revision,
        reason="The engine ended.",
        remedy="Read the log.",
        log_tail=["last words"],
    ).position


def configuration(**parameters: Any) -> dict[str, Any]:
    """A configuration on the wire."""
    return {
        "schemaVersion": 1,
        "engine": "vllm",
        "optimization": {"method": "skip", "quantization": None},
        "parameters": {
            "temperature": 1.0,
            "maxTokens": 256,
            "topP": 1.0,
            "topK": -1,
            "stop": [],
            "batchSize": 8,
            **parameters,
        },
        "scaling": {
            "minReplicas": 1,
            "maxReplicas": 1,
            "scaleUpDelaySeconds": 30,
            "scaleDownDelaySeconds": 300,
        },
        "hardware": {
            "server": "local",
            "accelerator": "cpu",
            "acceleratorCount": 0,
            "memoryGib": 4.0,
            "gpuSharing": "exclusive",
        },
        "engineArguments": {"max_model_len": "256"},
    }


def scaled_body(least: int, most: int) -> dict[str, Any]:
    """A deployment between so many replicas."""
    body = deploy_body()
    body["configuration"]["scaling"] |= {"minReplicas": least, "maxReplicas": most}
    return body


def deploy_body(**parameters: Any) -> dict[str, Any]:
    return {
        "configuration": configuration(**parameters),
        "terms": {"version": VERSION, "accepted": True},
        "reason": "because",
    }
