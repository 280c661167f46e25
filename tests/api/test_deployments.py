"""Deployments over HTTP: asking, watching, comparing, rolling back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from backend.api.services import Services
from backend.infra.playground_tokens import PlaygroundTokens
from tests.api import worker
from tests.api.client import ApiClient

pytestmark = pytest.mark.usefixtures("views")


def _ready(admin: ApiClient, services: Services, name: str = "tiny") -> str:
    model_id = admin.import_model(name)
    worker.make_ready(services, model_id)
    return model_id


def test_a_deployment_from_the_first_request_to_its_end(
    admin: ApiClient, services: Services
) -> None:
    model_id = _ready(admin, services)
    url = f"/api/models/{model_id}/deployment"

    def state(position: int) -> dict[str, Any]:
        return admin.get(url, params={"atLeast": position}).json()  # type: ignore[no-any-return]

    assert admin.get(url).status_code == 404
    accepted = admin.command("PUT", url, worker.deploy_body(maxTokens=100))
    assert accepted.status_code == 202
    assert accepted.json()["revision"] == 1
    view = state(accepted.json()["position"])
    assert (view["state"], view["endpoint"]) == ("deploying", None)
    assert view["configuration"] == worker.configuration(maxTokens=100)

    replica, position = worker.serve(services, model_id, 1)
    view = state(position)
    assert (view["state"], view["servingRevision"]) == ("deployed", 1)
    assert view["endpoint"] == {
        "baseUrl": f"{services.settings.public_gateway_url}/v1",
        "model": "tiny",
    }
    assert view["replicas"][0]["id"] == str(replica)
    assert view["actions"]["redeploy"]["allowed"]
    assert not view["actions"]["delete"]["allowed"]

    admin.command("PUT", url, worker.deploy_body(maxTokens=200))
    view = state(worker.fail_revision(services, model_id, 2))
    assert (view["state"], view["servingRevision"], view["desiredRevision"]) == ("failed", 1, 2)
    assert view["failure"] == {
        "reason": "The engine ended.", "remedy": "Read the log.", "logTail": ["last words"],
    }  # fmt: skip

    rolled = admin.command("POST", f"{url}/rollback", {"revision": 1, "reason": "it was better"})
    assert rolled.status_code == 202
    history = admin.get(f"{url}/history", params={"atLeast": rolled.json()["position"]}).json()
    newest, failed, first = history["items"]
    assert (newest["trigger"], newest["outcome"], newest["reason"]) == (
        "rollback", "pending", "it was better",
    )  # fmt: skip
    assert newest["changes"] == [{"field": "parameters.maxTokens", "before": 200, "after": 100}]
    assert (failed["outcome"], failed["logTail"]) == ("failed", ["last words"])
    assert (first["outcome"], first["changes"], first["actor"]) == ("deployed", [], "user:admin")
    assert first["seconds"] >= 0

    stopped = admin.command("DELETE", url)
    assert state(stopped.json()["position"])["state"] == "stopping"
    assert admin.command("PUT", url, worker.deploy_body()).status_code == 409


def test_replicas_are_counted_and_scaling_decisions_stand_in_the_history(
    admin: ApiClient, services: Services
) -> None:
    model_id = _ready(admin, services)
    url = f"/api/models/{model_id}/deployment"

    def counted(position: int) -> tuple[int, int]:
        view = admin.get(url, params={"atLeast": position}).json()
        found = view["replicasReady"], view["replicasWanted"]
        listed = admin.get("/api/models", params={"atLeast": position}).json()["items"][0]
        if view["servingRevision"] is None:
            assert listed["replicas"] is None
        else:
            assert (listed["replicas"]["ready"], listed["replicas"]["wanted"]) == found
        return found

    asked = admin.command("PUT", url, worker.scaled_body(0, 2)).json()["position"]
    assert counted(asked) == (0, 1)
    replica, position = worker.serve(services, model_id, 1)
    assert counted(position) == (1, 1)
    assert counted(worker.scale(services, model_id, 1, 2)) == (1, 2)
    assert counted(worker.scale(services, model_id, 1, 0)) == (1, 0)
    retired = worker.retire(services, model_id, 1, replica)
    assert counted(retired) == (0, 0)
    assert admin.get(url).json()["state"] == "deployed"
    (entry,) = admin.get(f"{url}/history", params={"atLeast": retired}).json()["items"]
    down, up = entry["scalings"]
    assert (up["fromReplicas"], up["toReplicas"], down["toReplicas"]) == (1, 2, 0)
    assert (up["running"], up["waiting"], up["sustainedSeconds"]) == (9, 2, 30)
    assert up["reason"] == "At least 2 replicas were needed."
    # The next revision begins with what it must prove.
    asked = admin.command("PUT", url, worker.scaled_body(0, 2)).json()["position"]
    _, position = worker.serve(services, model_id, 2)
    assert counted(position) == (1, 1)


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"temperature": 3}, "configuration.parameters.temperature", "3.0 is out of range"),
        ({"maxTokens": 0}, "configuration.parameters.maxTokens", "0 is out of range"),
        ({"topK": "many"}, "configuration.parameters.topK", "Expected `int`"),
        ({"colour": 1}, "configuration.parameters.colour", "unknown field `colour`"),
    ],
)
def test_a_wrong_parameter_is_named(
    admin: ApiClient, services: Services, change: dict[str, Any], field: str, said: str
) -> None:
    model_id = _ready(admin, services)
    answer = admin.command(
        "PUT", f"/api/models/{model_id}/deployment", worker.deploy_body(**change)
    )
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == [field]
    assert said in answer.json()["detail"]


def test_terms_must_be_the_ones_in_force_and_accepted(admin: ApiClient, services: Services) -> None:
    url = f"/api/models/{_ready(admin, services)}/deployment"
    for terms in ({"version": "0", "accepted": True}, {"version": "1", "accepted": False}):
        answer = admin.command("PUT", url, {**worker.deploy_body(), "terms": terms})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "terms"
    assert admin.get(url).status_code == 404


def test_the_options_fit_the_model(admin: ApiClient, services: Services) -> None:
    model_id = admin.import_model("tiny")
    position = worker.make_ready(services, model_id)
    options = admin.get(
        "/api/deploy/options", params={"modelId": model_id, "atLeast": position}
    ).json()
    assert options["defaults"]["engineArguments"] == {"max_model_len": "512"}
    server = options["servers"][0]
    assert server["name"] == "local"
    assert server["fits"] is (server["reason"] is None)
    body = {
        "configuration": options["defaults"],
        "terms": {"version": options["terms"]["version"], "accepted": True},
    }
    assert admin.command("PUT", f"/api/models/{model_id}/deployment", body).status_code == 202


@pytest.mark.parametrize(
    ("card", "said", "said_of_vllm"),
    [
        ({"format": "gguf"}, "No Ollama server", "vLLM cannot load GGUF files."),
        ({"format": "onnx"}, "vLLM cannot load ONNX files.", "vLLM cannot load ONNX files."),
        ({"format": "external"}, "it has no files", "it has no files"),
        (
            {"format": "transformers", "architecture": "BertForMaskedLM"},
            "the gateway offers",
            "the gateway offers",
        ),
    ],
)
def test_what_no_engine_serves_is_not_offered_and_not_accepted(
    admin: ApiClient, services: Services, card: dict[str, Any], said: str, said_of_vllm: str
) -> None:
    model_id = admin.import_model("tiny")
    position = worker.make_ready(services, model_id, **card)
    detail = admin.get(f"/api/models/{model_id}", params={"atLeast": position}).json()
    offered = detail["actions"]["deploy"]
    assert not offered["allowed"]
    assert said in offered["reason"]
    assert detail["actions"]["publish"]["allowed"]
    (listed,) = admin.get("/api/models", params={"search": "tiny"}).json()["items"]
    assert listed["actions"] == detail["actions"]
    engines = admin.get("/api/deploy/options", params={"modelId": model_id}).json()["engines"]
    assert [engine["name"] for engine in engines] == ["vllm", "triton", "ollama", "container"]
    assert all(engine["reason"] and engine["remedy"] for engine in engines)
    assert not any(engine["available"] for engine in engines)
    engine = engines[0]
    assert said_of_vllm in engine["reason"]
    refused = admin.command("PUT", f"/api/models/{model_id}/deployment", worker.deploy_body())
    assert refused.status_code == 409
    assert said_of_vllm in refused.json()["detail"]
    assert refused.json()["remedy"] == engine["remedy"]
    assert admin.get(f"/api/models/{model_id}/deployment").status_code == 404


def test_an_adapter_is_offered_with_its_bases_memory_unless_something_stands_against_it(
    admin: ApiClient, services: Services
) -> None:
    base = admin.import_model("base")
    worker.make_ready(services, base, format="transformers")
    offered = {}
    for name, features in (("plain", []), ("decomposed", ["DoRA"])):
        adapter = admin.import_model(name, kind="adapter", baseModelId=base)
        facts = {"method": "LORA", "rank": 8, "features": features}
        position = worker.make_ready(services, adapter, format="peft", adapter=facts)
        options = admin.get(
            "/api/deploy/options", params={"modelId": adapter, "atLeast": position}
        ).json()
        detail = admin.get(f"/api/models/{adapter}").json()
        assert detail["card"]["adapter"]["features"] == features
        assert detail["actions"]["deploy"]["allowed"] == options["engines"][0]["available"]
        offered[name] = options["engines"][0]
    assert offered["plain"]["available"]
    assert offered["plain"]["methods"] == ["skip", "vllm"]
    assert offered["plain"]["reason"] is None
    assert "DoRA" in offered["decomposed"]["reason"]
    assert "Merge the adapter" in offered["decomposed"]["remedy"]


def test_an_engine_says_with_which_optimizations_it_serves_a_model(
    admin: ApiClient, services: Services
) -> None:
    base = admin.import_model("base")
    position = worker.make_ready(services, base, format="transformers")
    options = admin.get("/api/deploy/options", params={"modelId": base, "atLeast": position}).json()
    methods = {engine["name"]: engine["methods"] for engine in options["engines"]}
    assert methods == {
        "vllm": ["skip", "vllm"],
        "triton": ["ctranslate2"],
        "ollama": [],
        "container": [],
    }


def test_a_key_is_shown_once_and_ends_at_once(
    admin: ApiClient, services: Services, client_as: Callable[[str], ApiClient]
) -> None:
    model_id = _ready(admin, services)
    url = f"/api/models/{model_id}/api-keys"
    created = admin.command("POST", url, {"name": "shop", "requestsPerMinute": 60}, key="k").json()
    assert created["secret"].startswith(created["prefix"])
    assert (
        admin.command("POST", url, {"name": "shop", "requestsPerMinute": 60}, key="k").json()
        == created
    )
    listed = admin.get(url, params={"atLeast": created["position"]})
    assert created["secret"] not in listed.text
    assert listed.json()["items"][0]["requestsPerMinute"] == 60
    revoked = admin.command("DELETE", f"{url}/{created['id']}").json()
    items = admin.get(url, params={"atLeast": revoked["position"]}).json()["items"]
    assert items[0]["revokedAt"] is not None
    assert admin.command("DELETE", f"{url}/{uuid4()}").status_code == 404
    past = admin.command("POST", url, {"name": "old", "expiresAt": "2020-01-01T00:00:00Z"})
    assert past.json()["errors"][0]["field"] == "expiresAt"


def test_the_playground_gets_a_token_for_one_model(admin: ApiClient, services: Services) -> None:
    model_id = admin.import_model("tiny")
    at_least = worker.make_ready(services, model_id)
    admin.get("/api/models", params={"atLeast": at_least})
    answer = admin.command("POST", f"/api/models/{model_id}/playground-token").json()
    assert answer["model"] == "tiny"
    assert answer["gatewayUrl"] == services.settings.public_gateway_url
    tokens = PlaygroundTokens(services.settings.secret_key)
    assert str(tokens.verify(answer["token"], 0)) == model_id
