"""The places that the deploy wizard offers, and that nothing else is accepted or rehearsed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.api.services import Services
from backend.application.engine_facts import EngineFacts
from backend.domain.engine_options import Quantization
from backend.infra.readings import MachineReport, Readings
from backend.infra.settings import Settings
from tests.api import worker
from tests.api.client import ApiClient
from tests.api.sources import reaching
from tests.rig.inference import VllmDouble

pytestmark = pytest.mark.usefixtures("views")
GIB = 1024**3
JSON = dict[str, Any]


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return reaching(settings, tmp_path)


@pytest.fixture
def vllm() -> Iterator[VllmDouble]:
    with VllmDouble("tiny") as double:
        yield double


def _machine(services: Services, memory_gib: float = 16.0, gpus: tuple[float, ...] = ()) -> None:
    facts = [
        {"index": index, "uuid": f"GPU-{index}", "name": "A", "memory_gib": memory}
        for index, memory in enumerate(gpus)
    ]
    Readings(services.pool).report(
        MachineReport("host:/data", "host", 8, memory_gib, facts, "", [], "")
    )


def _registered(admin: ApiClient, double: VllmDouble, name: str, **more: Any) -> None:
    body = {"name": name, "address": double.address, "engine": "vllm", **more}
    answer = admin.command("POST", "/api/servers", body)
    assert answer.status_code == 201, answer.text
    admin.get("/api/servers", params={"atLeast": answer.json()["position"]})


def _on(server: str, memory_gib: float = 4.0) -> JSON:
    """The hardware of a replica without GPUs."""
    return {
        "server": server, "accelerator": "cpu", "acceleratorCount": 0, "memoryGib": memory_gib,
    }  # fmt: skip


def _model(admin: ApiClient, services: Services, name: str = "tiny", **card: Any) -> str:
    model_id = admin.import_model(name)
    position = worker.make_ready(services, model_id, **card)
    admin.get(f"/api/models/{model_id}", params={"atLeast": position})
    return model_id


def _options(admin: ApiClient, model_id: str) -> JSON:
    found: JSON = admin.get("/api/deploy/options", params={"modelId": model_id}).json()
    return found


def _rehearsed(admin: ApiClient, model_id: str, configuration: JSON) -> tuple[bool, JSON]:
    """Whether it is allowed, and the checks that failed with what they say."""
    url = f"/api/models/{model_id}/deployment/dry-run"
    told = admin.command("POST", url, {"configuration": configuration}).json()
    return told["allowed"], {
        check["id"]: check["evidence"] for check in told["checks"] if check["outcome"] == "fail"
    }


def _refusal(admin: ApiClient, model_id: str, configuration: JSON) -> tuple[str, str] | None:
    """The field that the deployment is refused for and the words; None where it is accepted."""
    body = {**worker.deploy_body(), "configuration": configuration}
    answer = admin.command("PUT", f"/api/models/{model_id}/deployment", body)
    if answer.status_code == 202:
        return None
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    return error["field"].removeprefix("configuration."), answer.json()["detail"]


def test_the_servers_that_there_are(admin: ApiClient, vllm: VllmDouble, services: Services) -> None:
    _machine(services, memory_gib=2.0)
    for name, memory in (("gpu-1", 64), ("gpu-2", 1)):
        _registered(admin, vllm, name, pool="gpus", capacity={"memoryGib": memory})
    drained = admin.command("POST", "/api/servers/gpu-1/drain", {}).json()["position"]
    admin.get("/api/servers", params={"atLeast": drained})
    local, first, second, pool = admin.get("/api/deploy/options").json()["servers"]
    assert (local["name"], local["fits"], local["preset"]) == ("local", False, False)
    assert local["reason"] == (
        "The model needs about 2.5 GiB, and it has 2 GiB: 0.5 GiB are missing."
    )
    assert (first["name"], first["engines"], first["fits"]) == ("gpu-1", ["vllm"], True)
    assert first["busy"] == "It is being drained and takes no replicas."
    assert (second["name"], second["fits"], second["preset"]) == ("gpu-2", False, True)
    assert (pool["name"], pool["servers"], pool["fits"]) == ("gpus", 2, True)


def test_a_container_image_goes_where_containers_run(admin: ApiClient, services: Services) -> None:
    services.engine_facts.publish(EngineFacts("docker", "container", "cpu", "", {}, {}))
    model_id = _model(admin, services, format="container_image")
    options = _options(admin, model_id)
    docker = options["servers"][1]
    assert (docker["name"], docker["engines"]) == ("docker", ["container"])
    assert docker["memoryGib"] == options["servers"][0]["memoryGib"]
    wanted = {**options["defaults"], "engineArguments": {"port": "8080"}}
    assert (wanted["engine"], wanted["hardware"]["server"]) == ("container", "docker")
    assert not admin.get("/api/engines/container/options", params={"server": "docker"}).json()[
        "known"
    ]
    for server, said in (
        ("local", "has ollama, triton, vllm, not container"),
        ("kubernetes", "is not there"),
    ):
        elsewhere = {**wanted, "hardware": {**wanted["hardware"], "server": server}}
        field, detail = _refusal(admin, model_id, elsewhere) or ("", "")
        assert (field, said in detail) == ("hardware.server", True)
        assert _rehearsed(admin, model_id, elsewhere)[1].keys() == {"server"}
    assert _rehearsed(admin, model_id, wanted) == (True, {})
    assert _refusal(admin, model_id, wanted) is None


def test_what_nobody_has_said_of_a_server_hinders_nothing(
    admin: ApiClient, vllm: VllmDouble, services: Services
) -> None:
    _registered(admin, vllm, "gpu-7")
    model_id = _model(admin, services)
    server = _options(admin, model_id)["servers"][1]
    assert (server["memoryGib"], server["cpuCount"], server["fits"]) == (None, None, True)
    wanted = {**worker.configuration(), "hardware": _on("gpu-7", 300.0), "engineArguments": {}}
    assert _rehearsed(admin, model_id, wanted) == (True, {})
    assert _refusal(admin, model_id, wanted) is None


@pytest.mark.parametrize(
    ("format", "parts", "field", "said"),
    [
        ("triton", {"engine": "triton"}, "hardware.server", "has vllm, not triton"),
        (None, {"engineArguments": {"seed": "7"}}, "engineArguments.seed", "runs already"),
        (
            None,
            {"optimization": {"method": "vllm", "quantization": "fp8"}},
            "optimization.method",
            "serves what it was started with",
        ),
    ],
)
def test_a_server_that_runs_already_is_asked_for_nothing_that_it_cannot_become(
    admin: ApiClient,
    vllm: VllmDouble,
    services: Services,
    format: str | None,
    parts: JSON,
    field: str,
    said: str,
) -> None:
    _registered(admin, vllm, "gpu-7")
    model_id = _model(admin, services, **({"format": format} if format else {}))
    wanted = {**worker.configuration(), "hardware": _on("gpu-7"), **parts}
    refused, detail = _refusal(admin, model_id, wanted) or ("", "")
    assert (refused, said in detail) == (field, True)
    allowed, failed = _rehearsed(admin, model_id, wanted)
    assert not allowed
    assert said in failed["server"]


def test_a_model_may_be_split_over_the_gpus_of_the_machine(
    admin: ApiClient, services: Services
) -> None:
    _machine(services, gpus=(24.0, 24.0, 24.0))
    model_id = _model(admin, services, total_bytes=28 * GIB)
    options = _options(admin, model_id)
    (local,) = options["servers"]
    assert (local["fits"], local["accelerators"]) == (True, ["gpu", "cpu"])
    hardware = options["defaults"]["hardware"]
    assert (hardware["accelerator"], hardware["acceleratorCount"]) == ("gpu", 2)
    assert _rehearsed(admin, model_id, options["defaults"]) == (True, {})
    on_one = {**options["defaults"], "hardware": {**hardware, "acceleratorCount": 1}}
    assert _rehearsed(admin, model_id, on_one)[1] == {
        "server": "A replica may use 36.5 GiB, and local has 24 GiB: 12.5 GiB too little."
    }
    larger = _model(admin, services, "larger", total_bytes=70 * GIB)
    assert _options(admin, larger)["servers"][0]["reason"] == (
        "The model needs about 86.5 GiB, and its 3 GPUs have 72 GiB: 14.5 GiB are missing."
    )


def test_a_rehearsal_allows_nothing_that_the_deployment_is_refused(
    admin: ApiClient, services: Services
) -> None:
    """What GPUs can quantize to, this machine's processors cannot."""
    _machine(services, gpus=(24.0,))
    for accelerator, methods in (("gpu", {"fp8": Quantization(on_load=True)}), ("cpu", {})):
        known = methods or {"awq": Quantization(on_load=True)}
        services.engine_facts.publish(EngineFacts("local", "vllm", accelerator, "1", {}, known))
    model_id = _model(admin, services)
    wanted = {**worker.configuration(), "hardware": _on("local")}
    wanted["optimization"] = {"method": "vllm", "quantization": "fp8"}
    field, detail = _refusal(admin, model_id, wanted) or ("", "")
    assert field == "optimization.quantization"
    allowed, failed = _rehearsed(admin, model_id, wanted)
    assert (allowed, failed) == (False, {"request": detail})
