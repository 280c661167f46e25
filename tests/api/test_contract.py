"""Every operation of the OpenAPI document, with requests that nobody thought of."""

from __future__ import annotations

import json
import os
import random
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from backend.api.services import Services
from tests.api import worker
from tests.api.client import ApiClient
from tests.rig.api_server import ApiServer

SEED = int(os.environ.get("LOGGIA_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**9)
EXAMPLES = 10  # of each kind, for each operation
KINDS = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
# Its answer never ends.
ENDLESS = {"streamEvents", "streamDeploymentLogs"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def _gallery(admin: ApiClient, services: Services) -> list[str]:
    """Models in several states, so that requests meet something."""
    ids = [admin.import_model(name) for name in ("importing", "failed", "ready", "deployed")]
    services.object_store.put(
        f"manifests/{worker.MANIFEST}.json", [json.dumps({"files": []}).encode()]
    )
    worker.fail_import(services, ids[1])
    worker.make_ready(services, ids[2])
    position = worker.make_ready(services, ids[3])
    path = f"/api/models/{ids[3]}"
    deployed = admin.command("PUT", f"{path}/deployment", worker.deploy_body())
    assert deployed.status_code == 202, deployed.text
    _, position = worker.serve(services, ids[3], 1)
    admin.command("POST", f"{path}/api-keys", {"name": "key"})
    assert admin.get("/api/models", params={"atLeast": position}).json()["total"] == len(ids)
    return ids


@pytest.mark.usefixtures("views")
def test_every_answer_is_as_documented(
    server: ApiServer, admin: ApiClient, services: Services
) -> None:
    print(f"LOGGIA_TEST_SEED={SEED}")
    ids = _gallery(admin, services)
    token = admin.command("POST", "/api/tokens", {"name": "contract"}).json()["token"]
    schema = schemathesis.openapi.from_dict(admin.get("/schema/openapi.json").json())
    schema.config.update(base_url=server.url)
    asked: set[str] = set()

    def ask(operation: Any, kind: GenerationMode) -> None:
        @seed(SEED)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(
            case=operation.as_strategy(generation_mode=kind), known=st.sampled_from([*ids, None])
        )
        def fuzz(case: Any, known: str | None) -> None:
            if known is not None and "model_id" in (case.path_parameters or {}):
                case.path_parameters["model_id"] = known
            # A position that is never reached is waited for.
            (case.query or {}).pop("atLeast", None)
            case.call_and_validate(
                headers={"Authorization": f"Bearer {token}"}, checks=CHECKS, timeout=30
            )

        fuzz()

    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        name = operation.definition.raw["operationId"]
        if name not in ENDLESS:
            for kind in KINDS:
                ask(operation, kind)
            asked.add(name)
    assert {"listModels", "deployModel", "signIn", "createUpload"} <= asked
