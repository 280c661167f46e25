"""What an installed engine says about itself: served, and used to refuse what it does not have."""

from __future__ import annotations

from typing import Any

import pytest

from backend.api.services import Services
from backend.application.engine_facts import EngineFacts
from backend.domain.engine_options import Option, Quantization
from tests.api import worker
from tests.api.client import ApiClient

pytestmark = pytest.mark.usefixtures("views")
OPTIONS = {
    "max_model_len": Option("--max-model-len", help="Longest context."),
    "dtype": Option("--dtype", choices=("auto", "bfloat16")),
    "host": Option("--host", refusal="is set by Loggia itself."),
}
METHODS = {
    "fp8_per_tensor": Quantization(on_load=True),
    "fp8_per_block": Quantization(on_load=True, refusal="No kernel on this hardware."),
    "awq": Quantization(on_load=False),
}


@pytest.fixture
def model(admin: ApiClient, services: Services) -> str:
    model_id = admin.import_model("tiny")
    position = worker.make_ready(
        services, model_id, format="transformers", architecture="LlamaForCausalLM"
    )
    assert admin.get(f"/api/models/{model_id}", params={"atLeast": position}).status_code == 200
    return model_id


def installed(services: Services) -> None:
    services.engine_facts.publish(EngineFacts("local", "vllm", "cpu", "0.32.0", OPTIONS, METHODS))


def body(**parts: Any) -> dict[str, Any]:
    asked = worker.deploy_body()
    asked["configuration"].update(parts)
    return asked


def quantized(name: str) -> dict[str, Any]:
    return body(optimization={"method": "vllm", "quantization": name})


def quantizations(admin: ApiClient, model: str) -> dict[str, Any]:
    options = admin.get("/api/deploy/options", params={"modelId": model}).json()
    (found,) = (way for way in options["optimizations"] if way["method"] == "vllm")
    return dict(found)


def test_the_options_of_an_engine_are_listed_once_it_is_installed(
    admin: ApiClient, services: Services
) -> None:
    before = admin.get("/api/engines/vllm/options").json()
    assert (before["known"], before["options"]) == (False, [])
    installed(services)
    known = admin.get("/api/engines/vllm/options").json()
    assert (known["known"], known["version"]) == (True, "0.32.0")
    assert [option["name"] for option in known["options"]] == ["dtype", "max_model_len"]
    assert known["options"][0]["choices"] == ["auto", "bfloat16"]
    assert known["options"][1]["help"] == "Longest context."
    assert not admin.get("/api/engines/vllm/options", params={"accelerator": "gpu"}).json()["known"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"max_modl_len": "9"}, "no such option"),
        ({"dtype": "float8"}, "not a choice"),
        ({"host": "0.0.0.0"}, "set by Loggia"),
    ],
)
def test_an_option_that_the_engine_does_not_have_is_refused_at_once(
    admin: ApiClient, services: Services, model: str, arguments: dict[str, str], said: str
) -> None:
    installed(services)
    (name,) = arguments
    refused = admin.command(
        "PUT", f"/api/models/{model}/deployment", body(engineArguments=arguments)
    )
    assert refused.status_code == 422
    assert said in refused.json()["detail"]
    assert refused.json()["remedy"]
    (error,) = refused.json()["errors"]
    assert error["field"] == f"configuration.engineArguments.{name}"


def test_before_the_engine_is_installed_its_options_are_left_to_the_worker(
    admin: ApiClient, model: str
) -> None:
    accepted = admin.command(
        "PUT", f"/api/models/{model}/deployment", body(engineArguments={"max_modl_len": "9"})
    )
    assert accepted.status_code == 202


def test_quantizations_are_the_documented_ones_until_the_engine_has_been_asked(
    admin: ApiClient, services: Services, model: str
) -> None:
    documented = quantizations(admin, model)
    assert documented["available"]
    assert "fp8_per_tensor" in documented["quantizations"]
    assert "not been installed" in documented["note"]
    installed(services)
    known = quantizations(admin, model)
    assert known["quantizations"] == ["fp8_per_tensor"]
    assert known["note"] is None
    reasons = {method["name"]: method["reason"] for method in known["methods"]}
    assert reasons["fp8_per_tensor"] is None
    assert reasons["fp8_per_block"] == "No kernel on this hardware."
    assert "quantized with it" in reasons["awq"]


def test_a_quantization_that_does_not_fit_is_refused_at_once(
    admin: ApiClient, services: Services, model: str
) -> None:
    installed(services)
    url = f"/api/models/{model}/deployment"
    for name, said in (
        ("fp8_per_block", "No kernel"),
        ("awq", "quantized with it"),
        ("q4", "does not know"),
    ):
        refused = admin.command("PUT", url, quantized(name))
        assert refused.status_code == 422
        assert said in refused.json()["detail"]
        assert "fp8_per_tensor" in refused.json()["remedy"]
        (error,) = refused.json()["errors"]
        assert error["field"] == "configuration.optimization.quantization"
    assert admin.command("PUT", url, quantized("fp8_per_tensor")).status_code == 202


def test_what_every_release_refuses_is_refused_before_the_engine_is_known(
    admin: ApiClient, model: str
) -> None:
    url = f"/api/models/{model}/deployment"
    twice = quantized("fp8_per_tensor")["configuration"]
    twice["engineArguments"] = {"quantization": "awq"}
    crowded = body(
        engine="triton",
        optimization={"method": "ctranslate2", "quantization": "int8"},
        engineArguments={"instances": "99"},
    )["configuration"]
    for configuration, name in ((twice, "quantization"), (crowded, "instances")):
        refused = admin.command("PUT", url, body(**configuration))
        assert refused.status_code == 422, refused.text
        (error,) = refused.json()["errors"]
        assert error["field"] == f"configuration.engineArguments.{name}"
        assert refused.json()["remedy"]


def test_a_model_that_is_quantized_already_is_recognised(
    admin: ApiClient, services: Services
) -> None:
    model = admin.import_model("packed")
    position = worker.make_ready(
        services,
        model,
        format="transformers",
        architecture="LlamaForCausalLM",
        quantization="compressed-tensors",
    )
    admin.get(f"/api/models/{model}", params={"atLeast": position})
    offered = quantizations(admin, model)
    assert not offered["available"]
    assert "already, with compressed-tensors" in offered["reason"]
    refused = admin.command("PUT", f"/api/models/{model}/deployment", quantized("fp8_per_tensor"))
    assert refused.status_code == 409
    assert "Choose 'skip'" in refused.json()["remedy"]
