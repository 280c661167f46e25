"""Real Triton under the real roles: a model that CTranslate2 converts, an imported repository."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import openai
import psutil
import pytest
import tritonclient.http as triton_http
from openai.types import Completion
from openai.types.chat import ChatCompletionMessageParam

from backend.domain.configuration import Hardware
from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool
from backend.infra.settings import Settings
from tests.builders.models import tiny_llama
from tests.builders.repositories import doubling
from tests.rig.waiting import eventually
from tests.serving.conftest import Gallery, Worker
from workers.serving.engine import Load
from workers.serving.engines.triton import Triton
from workers.serving.environments import EngineEnvironments
from workers.serving.optimization.conversion import environment_spec

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

START_SECONDS = 240
INT8 = {"method": "ctranslate2", "quantization": "int8"}


@pytest.fixture
def real_settings(settings: Settings) -> Settings:
    cache = Path(os.environ.get("LOGGIA_CACHE_DIR", "~/.cache/loggia")).expanduser()
    return settings.model_copy(
        update={
            "cache_dir": cache,
            "engine_pip_arguments": os.environ.get("LOGGIA_ENGINE_PIP_ARGUMENTS", ""),
        }
    )


@pytest.fixture
def real_gallery(real_settings: Settings, pool: Pool) -> Iterator[Gallery]:
    gallery = Gallery(real_settings, pool)
    yield gallery
    gallery.close()


@pytest.fixture
def real_worker(real_settings: Settings, real_gallery: Gallery, tmp_path: Path) -> Iterator[Worker]:
    environments = EngineEnvironments(
        real_settings.cache, pip_arguments=real_settings.engine_pip_arguments
    )
    for spec in (Triton().environment(Hardware()), environment_spec()):
        environments.ensure(spec, print, lambda: False)
    worker = Worker(real_settings, tmp_path / "worker.log")
    worker.start_roles()
    yield worker
    worker.kill()
    print(worker.log.read_text())


def client(gallery: Gallery, worker: Worker, model_id: UUID) -> tuple[str, str]:
    """Where the real gateway answers, and a key for the model."""
    key = gallery.key(model_id)
    url = worker.start_gateway()
    ready = url.removesuffix("/v1") + "/readyz"

    def answers() -> bool:
        try:
            return httpx.get(ready, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    eventually(answers, "the gateway is ready")
    return url, key


def test_a_converted_model_is_served_streamed_batched_and_reused(
    real_gallery: Gallery, real_worker: Worker
) -> None:
    gallery = real_gallery
    llama = gallery.import_model(
        tiny_llama(), card={"format": "transformers", "context_length": 512}
    )
    gallery.deploy(llama, engine="triton", optimization=INT8, parameters={"batch_size": 4})
    gallery.await_state(llama, "deployed", seconds=START_SECONDS)

    (started,) = gallery.recorded(llama, "OptimizationStarted")
    assert (started["method"], started["quantization"]) == ("ctranslate2", "int8")
    (finished,) = gallery.recorded(llama, "OptimizationFinished")
    assert not finished["reused"]
    assert 0 < finished["size_after_bytes"] < finished["size_before_bytes"]
    found = {check["id"]: check for check in finished["checks"]}
    assert found["quality"]["outcome"] == "pass", found
    assert "perplexity" in found["quality"]["evidence"]
    objects = ObjectStore.from_settings(gallery.settings)
    assert objects.exists(f"manifests/{finished['artefact_sha256']}.json")

    url, key = client(gallery, real_worker, llama)
    with openai.OpenAI(base_url=url, api_key=key) as consumer:
        assert_answers(consumer)
    assert_generates_by_tritons_own_protocol(url, key)
    assert_load_is_told(gallery, llama)

    gallery.deploy(llama, engine="triton", optimization=INT8, parameters={"batch_size": 2})
    gallery.await_recorded(llama, "RevisionDeployed", 2, seconds=START_SECONDS)
    again = gallery.recorded(llama, "OptimizationFinished")[1]
    assert again["reused"]
    assert again["artefact_sha256"] == finished["artefact_sha256"]

    eventually(lambda: len(gallery.engines()) == 1, "the replaced engine has gone", seconds=60)
    leader = gallery.engines()[0].pid
    servers = [
        child for child in psutil.Process(leader).children(recursive=True)
        if "tritonserver" in child.name()
    ]  # fmt: skip
    servers[0].send_signal(signal.SIGKILL)
    gallery.await_recorded(llama, "ReplicaReady", 3, seconds=START_SECONDS)
    assert "Triton ended" in gallery.recorded(llama, "ReplicaLost")[-1]["reason"]

    left = gallery.engines()
    gallery.stop(llama)
    gallery.await_state(llama, "stopped", seconds=60)
    assert not any(process.is_running() for process in left)
    assert not list(Path("/dev/shm").glob(f"loggia-triton-{leader}-*"))


def assert_answers(consumer: openai.OpenAI) -> None:
    """Both routes, whole and streamed, say the same; many at once say it too."""
    asked: dict[str, Any] = {
        "model": "tiny",
        "prompt": "The fox",
        "max_tokens": 12,
        "temperature": 0,
    }
    whole = consumer.completions.create(**asked)
    text = whole.choices[0].text
    assert text
    assert whole.usage.completion_tokens <= 12
    assert whole.usage.prompt_tokens > 0
    pieces = list(
        consumer.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == text
    assert len(pieces) > 3, "a stream comes in pieces"
    assert pieces[-1].usage == whole.usage

    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is 3 + 4?"}]
    said = consumer.chat.completions.create(
        model="tiny", messages=messages, max_tokens=8, temperature=0
    )
    chunks = consumer.chat.completions.create(
        model="tiny", messages=messages, max_tokens=8, temperature=0, stream=True
    )
    told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert told == said.choices[0].message.content

    prompts = ["The fox", "A gallery keeps models, and a model keeps", "What", "Every event is"] * 3

    def one(prompt: str) -> str:
        answer: Completion = consumer.completions.create(**{**asked, "prompt": prompt})
        return answer.choices[0].text

    alone = {prompt: one(prompt) for prompt in set(prompts)}
    with ThreadPoolExecutor(len(prompts)) as threads:
        assert list(threads.map(one, prompts)) == [alone[prompt] for prompt in prompts]

    several = consumer.completions.create(**{**asked, "prompt": ["The fox", "What"]}, n=2)
    assert [choice.text for choice in several.choices] == [
        alone["The fox"], alone["The fox"], alone["What"], alone["What"],
    ]  # fmt: skip
    stop = text[2:4]
    assert (
        consumer.completions.create(**asked, stop=[stop]).choices[0].text
        == text[: text.index(stop)]
    )
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        consumer.completions.create(**{**asked, "max_tokens": 100_000})
    with pytest.raises(openai.NotFoundError, match="does not answer"):
        consumer.embeddings.create(model="tiny", input="a fox")


def assert_generates_by_tritons_own_protocol(url: str, key: str) -> None:
    """`/v2` reaches the same model, without the control of the server."""
    base, headers = url.removesuffix("/v1"), {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=base, headers=headers, timeout=60, trust_env=False) as consumer:
        assert consumer.get("/v2/models/tiny/ready").status_code == 200
        body = {
            "text_input": "The fox",
            "sampling_parameters": '{"temperature": 0, "max_tokens": 4}',
        }
        answer = consumer.post("/v2/models/tiny/generate", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["text_output"]
        with consumer.stream(
            "POST", "/v2/models/tiny/generate_stream", json={**body, "stream": True}
        ) as stream:
            events = [line for line in stream.iter_lines() if line.startswith("data: ")]
        assert len(events) > 1
        stats = consumer.get("/v2/models/tiny/stats").json()["model_stats"][0]
        assert stats["inference_stats"]["success"]["count"] > 0
        for refused in ("/v2/repository/index", "/v2/repository/models/tiny/unload", "/v2/logging"):
            assert consumer.post(refused, json={}).status_code == 404
        assert httpx.get(f"{base}/v2/models/tiny/ready", trust_env=False).status_code == 401
        assert consumer.get("/v2/models/other/ready").status_code in {400, 404}


def assert_load_is_told(gallery: Gallery, model_id: UUID) -> None:
    with httpx.Client(trust_env=False) as asking:
        assert Triton().load(asking, gallery.endpoint(model_id)) == Load(0, 0)


def test_an_imported_repository_answers_inference(
    real_gallery: Gallery, real_worker: Worker
) -> None:
    gallery = real_gallery
    model_id = gallery.import_model(
        doubling(), "numbers", card={"format": "triton", "architecture": "double"},
        risks=("custom_code",),
    )  # fmt: skip
    gallery.deploy(model_id, engine="triton")
    gallery.await_state(model_id, "deployed", seconds=START_SECONDS)
    url, key = client(gallery, real_worker, model_id)
    address = url.removesuffix("/v1").removeprefix("http://")
    consumer = triton_http.InferenceServerClient(address)
    headers = {"Authorization": f"Bearer {key}"}
    assert consumer.is_model_ready("numbers", headers=headers)
    for binary in (True, False):
        x = triton_http.InferInput("x", [1, 3], "FP32")
        x.set_data_from_numpy(np.array([[1, 2, 3]], dtype=np.float32), binary_data=binary)
        y = triton_http.InferRequestedOutput("y", binary_data=binary)
        # The client writes into the headers that it is given.
        answer = consumer.infer("numbers", [x], outputs=[y], headers=dict(headers))
        assert answer.as_numpy("y").tolist() == [[2, 4, 6]]
    with (
        openai.OpenAI(base_url=url, api_key=key) as generating,
        pytest.raises(openai.NotFoundError, match="does not answer"),
    ):
        generating.completions.create(model="numbers", prompt="x")


def test_a_repository_that_triton_refuses_fails_with_its_words(
    real_gallery: Gallery, real_worker: Worker
) -> None:
    files = doubling() | {"double/1/model.py": b"raise RuntimeError('no such thing')"}
    model_id = real_gallery.import_model(
        files, "broken", card={"format": "triton"}, risks=("custom_code",)
    )
    real_gallery.deploy(model_id, engine="triton")
    real_gallery.await_state(model_id, "failed", seconds=START_SECONDS)
    (failure,) = real_gallery.recorded(model_id, "RevisionFailed")
    assert "could not load 'double'" in failure["reason"]
    assert any("no such thing" in line for line in failure["log_tail"])
    assert real_gallery.engines() == []


def test_a_model_that_cannot_be_converted_fails_with_the_reason(
    real_gallery: Gallery, real_worker: Worker
) -> None:
    files = {**tiny_llama(), "model.safetensors": b"no tensors"}
    model_id = real_gallery.import_model(files, card={"format": "transformers"})
    real_gallery.deploy(model_id, engine="triton", optimization=INT8)
    real_gallery.await_state(model_id, "failed", seconds=START_SECONDS)
    (failure,) = real_gallery.recorded(model_id, "RevisionFailed")
    assert failure["reason"]
    assert failure["log_tail"]
    assert real_gallery.recorded(model_id, "OptimizationFinished") == []
