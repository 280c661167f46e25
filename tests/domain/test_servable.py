"""What can be served of what was imported, and as what."""

from __future__ import annotations

import pytest

from backend.domain.servable import ENGINES, Imported, Use, obstacle, obstacles_by_engine, use_of

LLAMA = Imported("base", "transformers", "text-generation", "LlamaForCausalLM")


@pytest.mark.parametrize(
    ("format", "task", "architecture", "use"),
    [
        (None, None, None, Use.GENERATE),
        ("transformers", "text-generation", "LlamaForCausalLM", Use.GENERATE),
        ("transformers", "text-generation", "GPT2LMHeadModel", Use.GENERATE),
        ("transformers", "summarization", "BartForConditionalGeneration", Use.GENERATE),
        ("transformers", "feature-extraction", "BertModel", Use.EMBED),
        ("transformers", None, "BertModel", Use.EMBED),
        ("sentence-transformers", "sentence-similarity", "BertModel", Use.EMBED),
        ("sentence-transformers", "sentence-similarity", "Qwen3ForCausalLM", Use.EMBED),
        ("transformers", "text-ranking", "BertForSequenceClassification", Use.RERANK),
        ("transformers", "text-classification", "XLMRobertaForSequenceClassification", Use.RERANK),
        ("transformers", "fill-mask", "BertForMaskedLM", None),
        ("transformers", "automatic-speech-recognition", "WhisperForConditionalGeneration", None),
    ],
)
def test_task_and_architecture_say_what_the_gateway_offers(
    format: str | None, task: str | None, architecture: str | None, use: Use | None
) -> None:
    imported = Imported("base", format, task, architecture)
    assert use_of(imported) is use
    assert (obstacle(imported) is None) == (use is not None)


@pytest.mark.parametrize(
    "format",
    ["gguf", "onnx", "diffusers", "ollama", "container_image", "external", "of-tomorrow"],
)
def test_a_format_that_no_engine_loads_is_refused_with_a_remedy(format: str) -> None:
    found = obstacle(Imported("base", format, "text-generation", "LlamaForCausalLM"))
    assert found is not None
    assert found.reason.endswith(".")
    assert found.remedy


def test_a_language_model_that_ranks_in_words_is_refused() -> None:
    found = obstacle(Imported("base", "transformers", "text-ranking", "Qwen3ForCausalLM"))
    assert found is not None
    assert "classification head" in found.reason


def test_an_adapter_is_as_servable_as_its_base() -> None:
    adapter = Imported("adapter", "peft", adapter={"rank": 8})
    assert obstacle(adapter, LLAMA) is None
    assert "deleted" in _reason(adapter, None)
    assert "GGUF" in _reason(adapter, Imported("base", "gguf"))


@pytest.mark.parametrize(
    ("format", "engine"),
    [("transformers", "vllm"), ("triton", "triton"), ("ctranslate2", "triton"), ("gguf", "ollama"),
     ("ollama", "ollama"), ("container_image", "container")],
)  # fmt: skip
def test_each_format_is_at_home_with_an_engine(format: str, engine: str) -> None:
    imported = Imported("base", format, "text-generation", "LlamaForCausalLM")
    hindered = obstacles_by_engine(imported, offered=ENGINES)
    assert hindered[engine] is None
    assert obstacle(imported, offered=ENGINES) is None
    assert all(found is None or (found.reason and found.remedy) for found in hindered.values())


def test_an_engine_that_the_installation_does_not_have_is_said_to_be_missing() -> None:
    found = obstacle(Imported("base", "gguf"), offered={"vllm"})
    assert found is not None
    assert "Ollama server" in found.reason
    assert obstacle(Imported("base", "gguf"), offered={"vllm", "ollama"}) is None


def test_a_quantized_model_is_not_quantized_again() -> None:
    packed = Imported("base", "transformers", architecture="LlamaForCausalLM", quantization="awq")
    assert obstacle(packed, engine="vllm", method="skip") is None
    found = obstacle(packed, engine="vllm", method="vllm")
    assert found is not None
    assert "already, with awq" in found.reason
    adapter = Imported("adapter", "peft", adapter={"rank": 8})
    assert obstacle(adapter, packed, engine="vllm", method="vllm") == found


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        ({"rank": 512}, None),
        ({"rank": 513}, "rank is 513"),
        ({"rank": 8, "max_rank": 1024}, "rank is 1024"),
        ({"rank": 8, "method": "IA3"}, "IA3"),
        ({"rank": 8, "features": ["DoRA", "weights saved whole (norm)"]}, "DoRA, weights saved"),
    ],
)
def test_the_limits_of_adapters_are_known_before(
    adapter: dict[str, object], said: str | None
) -> None:
    imported = Imported("adapter", "peft", adapter=adapter)
    if said is None:
        assert obstacle(imported, LLAMA) is None
    else:
        assert said in _reason(imported, LLAMA)


def _reason(imported: Imported, base: Imported | None) -> str:
    found = obstacle(imported, base)
    assert found is not None
    return found.reason


@pytest.mark.parametrize(
    ("imported", "method", "said"),
    [
        (Imported("base", "triton"), "skip", None),
        (Imported("base", "triton"), "ctranslate2", "no conversion"),
        (Imported("base", "ctranslate2", "text-generation"), "skip", None),
        (Imported("base", "ctranslate2", "translation"), "skip", "generate text"),
        (LLAMA, "ctranslate2", None),
        (LLAMA, "skip", "converted for CTranslate2"),
        (LLAMA, None, None),
        (Imported("base", "transformers", None, "T5ForConditionalGeneration"), "ctranslate2",
         "generate text"),
        (Imported("base", "transformers", None, "BertModel"), "ctranslate2", "generate text"),
        (Imported("base", "transformers", None, "LlamaForCausalLM", quantization="awq"),
         "ctranslate2", "quantized already"),
        (Imported("base", "gguf"), "ctranslate2", "cannot load the format 'gguf'"),
        (Imported("adapter", "peft"), "skip", "no adapters"),
    ],
)  # fmt: skip
def test_triton_serves_repositories_and_what_ctranslate2_makes(
    imported: Imported, method: str | None, said: str | None
) -> None:
    found = obstacle(imported, LLAMA, engine="triton", method=method)
    if said is None:
        assert found is None
    else:
        assert found is not None
        assert said in found.reason
        assert found.remedy


def test_an_imported_repository_is_for_tensors() -> None:
    assert use_of(Imported("base", "triton", "text-generation", "double")) is Use.INFER
