"""Checks manifests against the published schemas of Kubernetes and KServe, vendored in `schemas`.

Each file there names its source in `$comment`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

JSON = dict[str, Any]

_FOLDER = Path(__file__).with_name("schemas")
_KUBERNETES = "kubernetes-1.37.json"
_DEFINITIONS = {
    ("apps/v1", "Deployment"): "io.k8s.api.apps.v1.Deployment",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): (
        "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler"
    ),
    ("batch/v1", "Job"): "io.k8s.api.batch.v1.Job",
    ("rbac.authorization.k8s.io/v1", "Role"): "io.k8s.api.rbac.v1.Role",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "io.k8s.api.rbac.v1.RoleBinding",
    **{
        ("v1", kind): f"io.k8s.api.core.v1.{kind}"
        for kind in (
            "ConfigMap", "Namespace", "PersistentVolumeClaim", "Secret", "Service", "ServiceAccount"
        )
    },
}  # fmt: skip


def problems(manifest: JSON) -> list[str]:
    """Everything that is wrong with a manifest; of a Pod nothing is known."""
    named = (manifest.get("apiVersion", ""), manifest.get("kind", ""))
    if named == ("v1", "Pod"):
        return []
    if named[1] == "InferenceService":
        reference = "kserve-0.21.json"
    elif named in _DEFINITIONS:
        reference = f"{_KUBERNETES}#/definitions/{_DEFINITIONS[named]}"
    else:
        return [f"there is no schema for {named}"]
    errors = Draft7Validator({"$ref": reference}, registry=_registry()).iter_errors(manifest)
    return [f"{'/'.join(map(str, error.path))}: {error.message[:300]}" for error in errors]


@cache
def _registry() -> Registry[bool | Mapping[str, Any]]:
    return Registry().with_resources(
        (path.name, DRAFT7.create_resource(json.loads(path.read_text())))
        for path in _FOLDER.glob("*.json")
    )
