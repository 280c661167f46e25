"""What imports from other systems need in a test: the systems, and settings that lead to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backend.infra.settings import Settings
from tests.api.client import ApiClient
from tests.rig.hub import Hub
from tests.rig.registry import Registry

CONFIGURATION = {
    "schemaVersion": 1,
    "port": 8080,
    "health": {"path": "/health"},
    "apis": [{"path": "/predict"}],
}


def reaching(settings: Settings, tmp_path: Path, hub: Hub | None = None) -> Settings:
    """The settings with a directory for imports, and with the test's own servers open."""
    roots = tmp_path / "models"
    roots.mkdir(exist_ok=True)
    return settings.model_copy(
        update={
            "import_roots": str(roots),
            "fetch_allowed_networks": "127.0.0.0/8",
            **({"huggingface_endpoint": hub.endpoint} if hub else {}),
        }
    )


def image_body(reference: str, configuration: str, **more: Any) -> dict[str, Any]:
    return {
        "source": "container_image",
        "reference": reference,
        "deploymentType": "real_time",
        "configuration": configuration,
        **more,
    }


def connect_registry(client: ApiClient, registry: Registry, name: str = "registry") -> None:
    """Saves the account that a test registry knows."""
    answer = client.command(
        "POST",
        "/api/connections",
        {"name": name, "kind": "registry", "endpoint": registry.endpoint, "secret": "ana:secret"},
    )
    assert answer.status_code == 201, answer.text
