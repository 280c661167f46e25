"""Does an adapter belong to its base? The adapters were written by peft (adapters/make.py)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from tests.builders.models import tensors, tiny_llama
from tests.importing.kept_adapters import facts, kept
from tests.importing.memory import MemoryFiles
from workers.importing.validation import Validation, validate
from workers.importing.validation.layout import BaseModelFacts
from workers.importing.validation.report import Check

Files = dict[str, bytes]
Q = "base_model.model.model.layers.0.self_attn.q_proj"


def check(files: Files, base: BaseModelFacts | None = None) -> Validation:
    return validate(MemoryFiles(files), kind="adapter", base=base or facts())


def found(result: Validation) -> dict[str, Check]:
    return {check.id: check for check in result.report.checks}


def with_config(name: str = "lora", /, **changes: Any) -> Files:
    files = kept(name)
    config = {**json.loads(files["adapter_config.json"]), **changes}
    return {**files, "adapter_config.json": json.dumps(config).encode()}


def with_tensors(change: dict[str, Any] | None = None, *, name: str = "lora") -> Files:
    """The adapter with some tensors set, or removed where the new one is None."""
    files = kept(name)
    arrays = {**load(files["adapter_model.safetensors"]), **(change or {})}
    return {
        **files,
        "adapter_model.safetensors": save({k: v for k, v in arrays.items() if v is not None}),
    }


def renamed(old: str, new: str, *, name: str = "lora") -> Files:
    files = kept(name)
    arrays = load(files["adapter_model.safetensors"])
    changed = {key.replace(old, new): array for key, array in arrays.items()}
    return {**files, "adapter_model.safetensors": save(changed)}


def zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


LORA = [
    "lora", "lora_patterns", "embeddings", "saved_modules", "parameters", "tokens", "biased",
    "first_layer", "dora",
]  # fmt: skip


@pytest.mark.parametrize("name", LORA)
def test_what_peft_wrote_for_this_base_is_accepted(name: str) -> None:
    result = check(kept(name))
    own = [c for c in result.report.checks if c.id not in {"model_card", "license"}]
    assert [
        c for c in own if c.outcome != "pass" and not (name == "dora" and c.id == "dtype")
    ] == []
    assert result.card is not None
    assert result.card["format"] == "peft"


@pytest.mark.parametrize("name", ["adalora", "ia3", "loha", "prompt"])
def test_a_kind_of_adapter_that_no_engine_serves_is_a_warning(name: str) -> None:
    result = check(kept(name))
    assert found(result)["adapter_config"].outcome == "warn"
    assert "engines serve LoRA" in found(result)["adapter_config"].evidence
    assert result.card is not None


def test_the_card_says_what_the_adapter_does() -> None:
    card = check(kept("lora")).card
    assert card is not None
    assert card["adapter"] == {
        "rank": 8,
        "alpha": 16,
        "target_modules": ["q_proj", "v_proj"],
        "base_architecture": "LlamaForCausalLM",
        "method": "LORA",
        "max_rank": 8,
        "features": [],
    }


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lora_patterns", ""),
        ("embeddings", ""),
        ("first_layer", ""),
        ("dora", "DoRA"),
        ("biased", "lora_bias"),
        ("saved_modules", "saved whole (norm, input_layernorm)"),
        ("tokens", "trainable_token_indices"),
    ],
)
def test_the_card_names_what_goes_beyond_lora(name: str, said: str) -> None:
    card = check(kept(name)).card
    assert card is not None
    features = ", ".join(card["adapter"]["features"])
    assert said in features
    assert bool(said) == bool(features)


def test_heads_of_classifiers_and_plain_starts_are_lora() -> None:
    for changes in ({"modules_to_save": ["score"]}, {"init_lora_weights": "gaussian"}):
        card = check(with_config(**changes)).card
        assert card is not None
        assert card["adapter"]["features"] == []
    card = check(with_config(init_lora_weights="pissa", bias="all")).card
    assert card is not None
    assert len(card["adapter"]["features"]) == 2
    assert card["parameter_count"] == 8192
    assert card["vocabulary_size"] == 512


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), 10**400, "16", None, True])
def test_an_alpha_that_is_no_number_is_left_out_of_the_card(alpha: object) -> None:
    card = check(with_config(lora_alpha=alpha)).card
    assert card is not None
    assert card["adapter"]["alpha"] is None


def _half(suffix: str) -> dict[str, Any]:
    return {f"{Q}.{suffix}.weight": None}


def _without_effect() -> Files:
    arrays = load(kept("lora")["adapter_model.safetensors"])
    return with_tensors(
        {name: np.zeros_like(array) for name, array in arrays.items() if "lora_B" in name}
    )


REFUSED: dict[str, tuple[Files, str, str]] = {
    "of another model": (
        renamed("model.layers", "decoder.blocks"), "adapter_keys",
        "None of the 8 tensors belongs to a weight of 'tiny-llama'",
    ),
    "saved without peft": (
        renamed("lora_A.weight", "lora_A.default.weight"), "adapter_keys",
        "4 of 8 tensors belong to no weight",
    ),
    "a layer too many": (
        renamed("layers.1.", "layers.2."), "adapter_keys", "'base_model.model.model.layers.2.",
    ),
    "never trained": (_without_effect(), "weights", "would change nothing"),
    "rank differs": (with_config(r=16), "adapter_shapes", "has rank 8; adapter_config.json"),
    "rank by pattern": (
        with_config("lora_patterns", rank_pattern={}), "adapter_shapes", "rank 2",
    ),
    "half a pair": (with_tensors(_half("lora_B")), "adapter_shapes", "has lora_A, but no lora_B"),
    "other half": (with_tensors(_half("lora_A")), "adapter_shapes", "has lora_B, but no lora_A"),
    "ranks of a pair differ": (
        with_tensors({f"{Q}.lora_B.weight": np.ones((128, 4), np.float32)}),
        "adapter_shapes", "lora_A of rank 8 and a lora_B of rank 4",
    ),
    "too wide": (
        with_tensors({f"{Q}.lora_A.weight": zeros(8, 256)}), "adapter_shapes",
        "which do not fit the base's weight of 128 x 128",
    ),
    "shards not gathered": (
        with_tensors({f"{Q}.lora_A.weight": zeros(0)}), "adapter_shapes", "two dimensions",
    ),
    "embedding of other size": (
        with_tensors(
            {"base_model.model.model.embed_tokens.lora_embedding_A": zeros(2, 600)},
            name="embeddings",
        ),
        "adapter_shapes", "lora_embedding_A of 2 x 600",
    ),
    "magnitude of other size": (
        with_tensors({f"{Q}.lora_magnitude_vector": zeros(64)}), "adapter_shapes",
        "the base's weight has 128 outputs",
    ),
    "saved module of other size": (
        with_tensors(
            {"base_model.model.model.norm.weight": zeros(64)}, name="saved_modules"
        ),
        "adapter_shapes", "cannot replace the base's [128]",
    ),
    "smaller vocabulary": (
        with_tensors({"base_model.model.lm_head.weight": zeros(500, 128)}),
        "adapter_shapes", "cannot replace the base's [512, 128]",
    ),
    "prompt of other width": (
        with_tensors({"prompt_embeddings": zeros(4, 96)}, name="prompt"), "adapter_shapes",
        "96 wide; the base is 128",
    ),
    "no such modules": (
        with_config(target_modules=["qkv_proj"]), "adapter_targets", "no modules named 'qkv_proj'",
    ),
    "pattern of nothing": (
        with_config(target_modules="gpt.*"), "adapter_targets", "fits no module",
    ),
    "endless pattern": (
        with_config(target_modules="(?:model[.]|m|o|d|e|l|.)*(?:.|..|[a-z.]+)*!"),
        "adapter_targets", "seconds of computing",
    ),
    "broken pattern": (with_config(target_modules="("), "adapter_targets", "cannot be used"),
    "no rank": (with_config(r=None), "adapter_config", "no usable rank"),
    "rank is text": (with_config(r="8"), "adapter_config", "no usable rank: r is '8'"),
    "rank is huge": (with_config(r=10**9), "adapter_config", "no usable rank"),
    "no kind": (with_config(peft_type=3), "adapter_config", "names no peft_type"),
    "targets are numbers": (with_config(target_modules=[1]), "adapter_config", "target_modules"),
    "saved modules a text": (with_config(modules_to_save="x"), "adapter_config", "modules_to_save"),
    "odd pattern": (with_config(rank_pattern=[1]), "adapter_config", "rank_pattern"),
    "config no JSON": (
        {**kept("lora"), "adapter_config.json": b"{"}, "adapter_config", "not valid JSON",
    ),
    "config too large": (
        {**kept("lora"), "adapter_config.json": b" " * (2 << 20)}, "adapter_config", "at most",
    ),
    "weights as a pickle": (
        {"adapter_config.json": kept("lora")["adapter_config.json"], "adapter_model.bin": b"x"},
        "weights", "only adapter_model.bin, a pickle",
    ),
    "weights cut off": (
        {**kept("lora"), "adapter_model.safetensors": b"\7" * 9}, "weights", "claims a header",
    ),
    "no tensors": (
        {**kept("lora"), "adapter_model.safetensors": save({})}, "weights", "holds no tensors",
    ),
    "a base model": (tiny_llama(), "layout", "This is no adapter"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_adapter_that_does_not_fit_is_refused_with_the_reason(name: str) -> None:
    files, id, words = REFUSED[name]
    result = check(files)
    failed = {check.id: check for check in result.report.failures}
    assert id in failed
    assert words in failed[id].evidence
    assert failed[id].hint
    assert result.card is None


@pytest.mark.parametrize(
    ("files", "base", "id", "words"),
    [
        (with_config(base_model_name_or_path="x/other"), None, "adapter_base", "chosen is"),
        (with_config(base_model_name_or_path=None), None, "adapter_base", "does not say"),
        (kept("lora"), facts(dtype="bfloat16"), "dtype", "is float32, the base bfloat16"),
        (with_config(task_type="SEQ_CLS"), None, "adapter_architecture", "task is SEQ_CLS"),
        (
            with_config(auto_mapping={"base_model_class": "GPT2Model"}),
            None,
            "adapter_architecture",
            "made for 'GPT2Model'",
        ),
        (with_config(target_modules=["q_proj", "x"]), None, "adapter_targets", "named 'x'"),
        (with_config(target_modules=["q_proj"]), None, "adapter_targets", "do not name"),
        (renamed("base_model.model.", ""), None, "adapter_keys", "not named as PEFT"),
        (
            with_tensors({"base_model.model.lm_head.weight": zeros(520, 128)}),
            None,
            "adapter_shapes",
            "enlarges the vocabulary",
        ),
        (
            kept("lora"),
            facts(
                {n.replace(".weight", ".qweight"): a.astype(np.int32) for n, a in tensors().items()}
            ),
            "adapter_shapes",
            "Not checked for 4 of 4 modules",
        ),
        (
            kept("lora"),
            BaseModelFacts("tiny-llama", {"architecture": "LlamaForCausalLM"}, {}),
            "adapter_keys",
            "no safetensors weights to compare with",
        ),
        ({**kept("lora"), "x.safetensors": save({"a": zeros(1)})}, None, "weights", "'x.safe"),
    ],
)
def test_what_a_person_should_know_is_a_warning(
    files: Files, base: BaseModelFacts | None, id: str, words: str
) -> None:
    result = check(files, base)
    assert found(result)[id].outcome == "warn"
    assert words in found(result)[id].evidence
    assert found(result)[id].hint
    assert result.card is not None


def test_names_of_the_base_and_of_its_class_may_differ_in_a_prefix() -> None:
    bare = {name.removeprefix("model."): array for name, array in tensors().items()}
    assert check(kept("lora"), facts(bare)).card is not None


def test_weights_with_their_inputs_first_fit_when_the_config_says_so() -> None:
    base = {**tensors(), "model.layers.0.self_attn.q_proj.weight": zeros(128, 384)}
    shapes = with_tensors({f"{Q}.lora_B.weight": np.ones((384, 8), np.float32)})
    assert check(shapes, facts(base)).card is None
    assert check(shapes, facts(base, model_type="gpt2")).card is not None


def test_an_adapter_needs_a_base_and_is_none() -> None:
    alone = validate(MemoryFiles(kept("lora")), kind="adapter")
    assert "No base model was chosen" in found(alone)["layout"].evidence
    as_base = validate(MemoryFiles(kept("lora")))
    assert "This is an adapter" in found(as_base)["layout"].evidence
    assert as_base.card is None
