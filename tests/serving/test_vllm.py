"""Real vLLM under the real roles, in the environment that the user's cache keeps."""

from __future__ import annotations

from uuid import UUID

import httpx
import openai
import pytest

from tests.builders.models import HIDDEN, tiny_embedder, tiny_reranker
from tests.serving.conftest import Gallery, Worker
from tests.serving.real_engines import LORA_CARD, START_SECONDS, consumers, idle, lora_files

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]


def test_a_configuration_that_vllm_refuses_fails_with_its_words(
    real_gallery: Gallery, real_worker: Worker, llama: UUID
) -> None:
    real_gallery.deploy(llama, {"max_model_len": "100000"})
    real_gallery.await_state(llama, "failed", seconds=START_SECONDS)
    (failure,) = real_gallery.recorded(llama, "RevisionFailed")
    assert "max_model_len" in failure["reason"]
    assert failure["log_tail"]
    assert real_gallery.engines() == []


def test_an_adapter_is_callable_by_its_name_and_answers_otherwise_than_its_base(
    real_gallery: Gallery, real_worker: Worker, llama: UUID
) -> None:
    gallery = real_gallery
    files = lora_files()
    adapter = gallery.import_model(files, "fine-tuned", card=LORA_CARD, base=llama)
    for model_id in (llama, adapter):
        gallery.deploy(model_id, {"max_model_len": "128"}, hardware={"memory_gib": 2.5})
    for model_id in (llama, adapter):
        gallery.await_state(model_id, "deployed", seconds=2 * START_SECONDS)
    assert gallery.recorded(adapter, "ReplicaReady")[0]["warnings"] == []

    of = consumers(gallery, real_worker, llama, adapter)
    texts = {}
    for name, model_id in {"tiny": llama, "fine-tuned": adapter}.items():
        with of(model_id) as consumer:
            assert [model.id for model in consumer.models.list()] == [name]
            answer = consumer.completions.create(
                model=name, prompt="The fox", max_tokens=8, temperature=0
            )
            texts[name] = answer.choices[0].text
    assert texts["tiny"] != texts["fine-tuned"]
    with of(adapter) as consumer, pytest.raises(openai.NotFoundError):
        consumer.completions.create(model="tiny", prompt="The fox")


def test_an_adapter_that_changes_nothing_is_found_out(
    real_gallery: Gallery, real_worker: Worker, llama: UUID
) -> None:
    files = lora_files()
    adapter = real_gallery.import_model(idle(files), "idle", card=LORA_CARD, base=llama)
    real_gallery.deploy(adapter, {"max_model_len": "128"}, hardware={"memory_gib": 2.5})
    real_gallery.await_state(adapter, "deployed", seconds=START_SECONDS)
    (warning,) = real_gallery.recorded(adapter, "ReplicaReady")[0]["warnings"]
    assert "no effect" in warning


def test_models_for_embeddings_and_for_ranking_serve_what_they_are_for(
    real_gallery: Gallery, real_worker: Worker
) -> None:
    gallery = real_gallery
    embedder = gallery.import_model(
        tiny_embedder(), "embedder", card={"format": "sentence-transformers"}
    )
    architecture = "LlamaForSequenceClassification"
    reranker = gallery.import_model(
        tiny_reranker(), "reranker", card={"format": "transformers", "architecture": architecture}
    )
    for model_id in (embedder, reranker):
        gallery.deploy(model_id, {"max_model_len": "128"}, hardware={"memory_gib": 2.5})
    for model_id in (embedder, reranker):
        gallery.await_state(model_id, "deployed", seconds=2 * START_SECONDS)

    of = consumers(gallery, real_worker, embedder, reranker)
    with of(embedder) as consumer:
        vectors = consumer.embeddings.create(model="embedder", input=["a fox", "a boat"]).data
        assert [len(vector.embedding) for vector in vectors] == [HIDDEN, HIDDEN]
        assert sum(x * x for x in vectors[0].embedding) == pytest.approx(1, abs=1e-3)
        with pytest.raises(openai.NotFoundError, match="does not answer"):
            consumer.completions.create(model="embedder", prompt="a fox")
    with of(reranker) as consumer:
        body = {"model": "reranker", "query": "a fox", "documents": ["a dog", "a boat"]}
        ranked = consumer.post("/rerank", cast_to=httpx.Response, body=body).json()
        assert sorted(result["index"] for result in ranked["results"]) == [0, 1]
        assert ranked["usage"]["total_tokens"] > 0
