"""One document: published, rehearsed, kept for later, and the same bytes wherever it goes."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator

from backend.api.services import Services
from backend.application.commands import CommandContext
from tests.api import worker
from tests.api.client import ApiClient
from tests.builders.models import tiny_llama
from tests.importing.memory import MemoryFiles
from workers.importing.validation import validate

pytestmark = pytest.mark.usefixtures("views")
JSON = dict[str, Any]


def _ready(admin: ApiClient, services: Services, name: str = "tiny", **card: Any) -> str:
    model_id = admin.import_model(name)
    position = worker.make_ready(services, model_id, **card)
    admin.get(f"/api/models/{model_id}", params={"atLeast": position})
    return model_id


def _deployed(admin: ApiClient, services: Services, **parameters: Any) -> str:
    """A model whose first revision serves."""
    model_id = _ready(admin, services)
    url = f"/api/models/{model_id}/deployment"
    assert admin.command("PUT", url, worker.deploy_body(**parameters)).status_code == 202
    _, position = worker.serve(services, model_id, 1)
    admin.get(url, params={"atLeast": position})
    return model_id


def _rehearsed(admin: ApiClient, model_id: str, **body: Any) -> JSON:
    given = {"configuration": worker.configuration(), **body}
    answer = admin.command("POST", f"/api/models/{model_id}/deployment/dry-run", given)
    assert answer.status_code == 200, answer.text
    found: JSON = answer.json()
    return found


def _outcomes(rehearsal: JSON) -> dict[str, str]:
    return {check["id"]: check["outcome"] for check in rehearsal["checks"]}


def test_the_schema_is_public_and_describes_what_the_api_gives(
    anonymous: ApiClient, admin: ApiClient, services: Services
) -> None:
    answer = anonymous.get("/schema/deployconfig-1.json")
    assert answer.headers["content-type"].startswith("application/schema+json")
    validator = Draft202012Validator(answer.json())
    validator.check_schema(answer.json())
    model_id = _deployed(admin, services)
    options = admin.get("/api/deploy/options", params={"modelId": model_id}).json()
    text = admin.get(f"/api/models/{model_id}/deployment/configuration").text
    for document in (options["defaults"], json.loads(text)):
        assert not list(validator.iter_errors(document))
    assert list(validator.iter_errors({**options["defaults"], "colour": 1}))


def test_the_document_is_the_same_bytes_through_export_import_and_deploy(
    admin: ApiClient, services: Services
) -> None:
    written = worker.configuration(temperature=0.7, stop=["</s>", "Ende\n"], topP=0.9)
    written["engineArguments"] = {"seed": "7", "max_model_len": "128"}
    first = _ready(admin, services, "first")
    url = f"/api/models/{first}/deployment"
    body = {**worker.deploy_body(), "configuration": written}
    position = admin.command("PUT", url, body).json()["position"]
    exported = admin.get(f"{url}/configuration", params={"atLeast": position}).content
    assert exported.startswith(b'{\n  "schemaVersion": 1,\n')

    imported = validate(MemoryFiles({**tiny_llama(), "deployconfig.json": exported}))
    assert imported.card is not None
    second = _ready(
        admin, services, "second", deploy_configuration=imported.card["deploy_configuration"]
    )
    options = admin.get("/api/deploy/options", params={"modelId": second}).json()
    again = f"/api/models/{second}/deployment"
    body = {**worker.deploy_body(), "configuration": options["defaults"]}
    position = admin.command("PUT", again, body).json()["position"]
    assert admin.get(f"{again}/configuration", params={"atLeast": position}).content == exported


def test_a_revision_of_before_gpus_were_shared_is_told_by_the_schema(
    admin: ApiClient, services: Services
) -> None:
    model_id = _deployed(admin, services)
    url = f"/api/models/{model_id}/deployment"
    written = admin.get(f"{url}/configuration").content
    assert b'"gpuSharing": "exclusive"' in written
    with services.pool.connection() as connection:
        connection.execute(
            "UPDATE deployments.revisions SET configuration = "
            "jsonb_set(configuration, '{hardware,gpu_sharing}', '\"\"')"
        )
    assert admin.get(f"{url}/configuration").content == written
    assert admin.get(url).json()["configuration"] == json.loads(written)


def test_a_models_export_carries_the_same_document(admin: ApiClient, services: Services) -> None:
    model_id = _deployed(admin, services, temperature=0.3)
    manifest = json.dumps({"files": []}).encode()
    services.object_store.put(f"manifests/{worker.MANIFEST}.json", [manifest])
    answer = admin.get(f"/api/models/{model_id}/export")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        inside = archive.read("deployconfig.json")
    assert inside == admin.get(f"/api/models/{model_id}/deployment/configuration").content


def test_a_dry_run_tells_what_would_happen_and_writes_nothing(
    admin: ApiClient, services: Services
) -> None:
    model_id = _deployed(admin, services)
    before = services.store.recorder.max_notification_id()
    told = _rehearsed(admin, model_id, configuration=worker.configuration(maxTokens=9))
    assert services.store.recorder.max_notification_id() == before
    assert told["allowed"]
    assert told["revision"] == 2
    assert told["changes"] == [{"field": "parameters.maxTokens", "before": 256, "after": 9}]
    assert [event["type"] for event in told["events"]] == ["TermsAccepted", "DeploymentRequested"]
    assert told["events"][1]["data"]["configuration"]["parameters"]["maxTokens"] == 9
    assert [(event["type"], event["count"]) for event in told["expected"]] == [
        ("RevisionPrepared", 1),
        ("ReplicaStarted", 1),
        ("ReplicaReady", 1),
        ("RevisionDeployed", 1),
        ("RevisionRetired", 1),
    ]
    assert _outcomes(told) == {
        "state": "pass",
        "configuration": "pass",
        "engine": "pass",
        "optimization": "pass",
        "arguments": _outcomes(told)["arguments"],
        "server": "pass",
        "memory": "warn",
        "terms": "warn",
    }
    accepted = _rehearsed(admin, model_id, termsAccepted=True)
    assert _outcomes(accepted)["terms"] == "pass"


def test_a_dry_run_is_what_the_deployment_then_does(admin: ApiClient, services: Services) -> None:
    model_id = _ready(admin, services)
    told = _rehearsed(admin, model_id, termsAccepted=True)
    accepted = admin.command(
        "PUT", f"/api/models/{model_id}/deployment", {**worker.deploy_body(), "reason": ""}
    )
    assert accepted.json()["revision"] == told["revision"] == 1
    position = accepted.json()["position"]
    events = admin.get("/api/events", params={"modelId": model_id, "atLeast": position}).json()
    written = events["items"][1::-1]
    assert [event["type"] for event in written] == [event["type"] for event in told["events"]]
    assert [event["data"] for event in written] == [event["data"] for event in told["events"]]


def _changed(**parts: JSON) -> JSON:
    configuration = worker.configuration()
    for name, part in parts.items():
        configuration[name] = part if name == "engineArguments" else {**configuration[name], **part}
    return configuration


@pytest.mark.parametrize(
    ("configuration", "failed", "said"),
    [
        (_changed(parameters={"temperature": 3}), "configuration", "parameters.temperature: 3"),
        (_changed(hardware={"server": "nowhere"}), "server", "no server 'nowhere'"),
        (_changed(hardware={"memoryGib": 4096}), "server", "GiB too little"),
        (_changed(hardware={"memoryGib": 2}), "memory", "Weights and engine need about 2.9 GiB"),
        (
            _changed(hardware={"accelerator": "gpu", "acceleratorCount": 64}),
            "server",
            "local has no GPU.",
        ),
        (
            _changed(optimization={"method": "vllm", "quantization": "no-such-one"}),
            "optimization",
            "",
        ),
    ],
)
def test_a_dry_run_says_what_speaks_against_it(
    admin: ApiClient, services: Services, configuration: JSON, failed: str, said: str
) -> None:
    memory = [{"dtype": "bfloat16", "weights_bytes": 10**9, "kv_cache_bytes_per_token": 1000}]
    model_id = _ready(admin, services, memory=memory)
    told = _rehearsed(admin, model_id, configuration=configuration)
    assert not told["allowed"]
    assert (told["events"], told["expected"]) == ([], [])
    check = next(check for check in told["checks"] if check["id"] == failed)
    assert check["outcome"] == "fail"
    assert said in check["evidence"]
    assert check["hint"]


def test_the_memory_is_estimated_at_the_chosen_context(
    admin: ApiClient, services: Services
) -> None:
    memory = [
        {"dtype": "float32", "weights_bytes": 2000, "kv_cache_bytes_per_token": 20},
        {"dtype": "bfloat16", "weights_bytes": 1000, "kv_cache_bytes_per_token": 10},
    ]
    model_id = _ready(admin, services, memory=memory)
    configuration = _changed(engineArguments={"max_model_len": "64"}, parameters={"batchSize": 3})
    found = _rehearsed(admin, model_id, configuration=configuration)["memory"]
    assert (found["dtype"], found["weightsBytes"], found["cacheBytes"]) == (
        "bfloat16",
        1000,
        10 * 64 * 3,
    )
    assert found["totalBytes"] == 1000 + 1920 + found["engineBytes"]
    configuration["engineArguments"] = {"dtype": "float32"}
    found = _rehearsed(admin, model_id, configuration=configuration)["memory"]
    assert (found["weightsBytes"], found["contextTokens"]) == (2000, 512)


def test_an_engine_that_cannot_serve_the_model_is_said_once(
    admin: ApiClient, services: Services
) -> None:
    model_id = _ready(admin, services, format="onnx")
    told = _rehearsed(admin, model_id)
    assert not told["allowed"]
    assert _outcomes(told)["engine"] == "fail"
    assert _outcomes(told)["state"] == "pass"


def test_changes_are_kept_shown_and_deployed_only_when_asked(
    admin: ApiClient, services: Services
) -> None:
    model_id = _deployed(admin, services)
    url = f"/api/models/{model_id}/deployment"
    body = {"configuration": worker.configuration(maxTokens=9), "reason": "for the night"}
    saved = admin.command("PUT", f"{url}/configuration", body)
    assert saved.status_code == 200
    position = saved.json()["position"]
    view = admin.get(url, params={"atLeast": position}).json()
    assert (view["state"], view["servingRevision"], view["desiredRevision"]) == ("deployed", 1, 1)
    assert view["configuration"] == worker.configuration()
    pending = view["pending"]
    assert pending["configuration"]["parameters"]["maxTokens"] == 9
    assert pending["changes"] == [{"field": "parameters.maxTokens", "before": 256, "after": 9}]
    assert (pending["savedBy"], pending["reason"]) == ("user:admin", "for the night")
    (listed,) = admin.get("/api/models", params={"atLeast": position}).json()["items"]
    assert listed["pendingChanges"]

    body = {**worker.deploy_body(maxTokens=9), "reason": ""}
    position = admin.command("PUT", url, body).json()["position"]
    view = admin.get(url, params={"atLeast": position}).json()
    assert view["pending"] is None
    assert view["configuration"]["parameters"]["maxTokens"] == 9
    (listed,) = admin.get("/api/models", params={"atLeast": position}).json()["items"]
    assert not listed["pendingChanges"]


def test_kept_changes_are_discarded_on_request_and_checked_like_any(
    admin: ApiClient, services: Services
) -> None:
    model_id = _deployed(admin, services)
    url = f"/api/models/{model_id}/deployment"
    wrong = admin.command(
        "PUT", f"{url}/configuration", {"configuration": worker.configuration(temperature=3)}
    )
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["field"] == "configuration.parameters.temperature"
    assert admin.command("DELETE", f"{url}/configuration").status_code == 409
    admin.command("PUT", f"{url}/configuration", {"configuration": worker.configuration(topK=5)})
    position = admin.command("DELETE", f"{url}/configuration").json()["position"]
    assert admin.get(url, params={"atLeast": position}).json()["pending"] is None
    stale = admin.command(
        "PUT", f"{url}/configuration", {"configuration": worker.configuration(topK=5)}, version=1
    )
    assert stale.status_code == 409


def test_nothing_is_kept_for_a_model_that_was_never_deployed(
    admin: ApiClient, services: Services
) -> None:
    model_id = _ready(admin, services)
    url = f"/api/models/{model_id}/deployment/configuration"
    refused = admin.command("PUT", url, {"configuration": worker.configuration()})
    assert refused.status_code == 409
    assert "never been deployed" in refused.json()["detail"]
    assert admin.get(url).status_code == 404


def test_a_stopping_deployment_is_in_no_state_for_another(
    admin: ApiClient, services: Services
) -> None:
    model_id = _deployed(admin, services)
    services.deployments.stop(CommandContext(actor="user:admin"), UUID(model_id))
    told = _rehearsed(admin, model_id)
    (state,) = (check for check in told["checks"] if check["id"] == "state")
    assert (told["allowed"], state["outcome"]) == (False, "fail")
    assert "being stopped" in state["evidence"]
