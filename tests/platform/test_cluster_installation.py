"""The manifests for Loggia's own roles, against the published schemas and Loggia's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.infra.settings import Settings
from tests.rig.kubernetes_schemas import problems

MANIFESTS: list[dict[str, Any]] = list(
    yaml.safe_load_all((Path(__file__).parents[2] / "docs/kubernetes/loggia.yaml").read_text())
)
ROLES = {("api",), ("gateway",), ("relay",), ("project",), ("work", "import"), ("work", "deploy")}


def of(kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in MANIFESTS if manifest["kind"] == kind]


@pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda m: f"{m['kind']}-{m['metadata']['name']}"
)
def test_every_manifest_satisfies_its_published_schema(manifest: dict[str, Any]) -> None:
    assert problems(manifest) == []


def test_every_role_runs_once() -> None:
    containers = [
        manifest["spec"]["template"]["spec"]["containers"][0] for manifest in of("Deployment")
    ]
    assert {tuple(container["args"]) for container in containers} == ROLES


def test_every_variable_is_a_setting() -> None:
    names = {f"LOGGIA_{name.upper()}" for name in Settings.model_fields}
    given = {name for manifest in of("ConfigMap") for name in manifest["data"]}
    assert given <= names


def test_the_deploy_worker_may_do_what_its_launcher_does_and_no_more() -> None:
    (role,) = of("Role")
    rights = {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    mirrored = {"deployments", "inferenceservices", "services"}
    assert rights == {
        *(
            (kind, verb)
            for kind in mirrored
            for verb in ("get", "list", "watch", "create", "delete")
        ),
        *(
            (kind, verb)
            for kind in ("horizontalpodautoscalers", "secrets")
            for verb in ("get", "create", "delete")
        ),
        ("pods", "list"),
        ("pods", "watch"),
        ("pods/log", "get"),
    }
