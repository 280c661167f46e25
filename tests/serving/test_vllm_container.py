"""vLLM as a container: the command line inside, and what a deployment may not reach from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backend.domain.configuration import DeployConfiguration
from backend.domain.errors import Invalid
from backend.domain.version import Version
from workers.serving.containers import Container, ContainerOrder, Images
from workers.serving.engine import AdapterFiles, Launch
from workers.serving.engines.vllm import Vllm
from workers.serving.subject import Subject

IMAGES = Images(vllm={"gpu": "vllm/gpu:v1", "cpu": "vllm/cpu:v1"})
GPUS = {"server": "kubernetes", "accelerator": "gpu", "accelerator_count": 2, "memory_gib": 40.0}


def container(
    arguments: dict[str, str] | None = None, adapter: AdapterFiles | None = None, **parts: Any
) -> Container:
    configuration = DeployConfiguration.from_dict({"engine_arguments": arguments or {}, **parts})
    launch = Launch(
        replica_id=uuid4(),
        model_name="tiny",
        model_directory=Path("/models/abc"),
        total_bytes=1_000_000,
        port=8000,
        configuration=configuration,
        adapter=adapter,
        adapter_rank=16,
        host="0.0.0.0",
    )
    version = Version(
        number="0.0.1",
        source="upload",
        origin={},
        file_name="tiny.zip",
        upload_id=None,
        base_model_id=None,
    )
    order = ContainerOrder(launch, Subject(uuid4(), "tiny", version), IMAGES, lambda name: name)
    return Vllm().container(order)


def test_it_serves_the_fetched_files_on_every_interface() -> None:
    made = container({"max_model_len": "256", "enforce_eager": "false"})
    assert (made.image, made.version, made.port) == ("vllm/cpu:v1", "v1", 8000)
    assert list(made.command) == ["python3"]
    assert "--host=0.0.0.0" in made.arguments
    assert "--model=/models/abc" in made.arguments
    assert "--max-model-len=256" in made.arguments
    assert "--no-enforce-eager" in made.arguments
    assert made.health.path == "/health"


def test_gpus_get_the_image_for_gpus_and_share_the_model() -> None:
    made = container(hardware=GPUS)
    assert made.image == "vllm/gpu:v1"
    assert "--tensor-parallel-size=2" in made.arguments


def test_what_was_measured_on_this_machine_stays_here() -> None:
    assert container().environment.keys().isdisjoint({"OMP_NUM_THREADS", "VLLM_RPC_BASE_PATH"})


def test_nobody_in_the_cluster_may_load_adapters_into_it() -> None:
    made = container()
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in made.environment
    assert "--enable-lora" not in made.arguments


def test_an_adapter_of_its_own_is_served_with_the_rank_that_holds_it() -> None:
    made = container(adapter=AdapterFiles("fine", Path("/models/def"), 12))
    assert "--max-lora-rank=16" in made.arguments
    assert any('"path":"/models/def"' in argument for argument in made.arguments)


@pytest.mark.parametrize("name", ["host", "model", "api_key", "worker_cls"])
def test_a_deployment_cannot_set_what_reaches_out(name: str) -> None:
    with pytest.raises(Invalid, match=name):
        container({name: "x"})
