"""Memory needs beside figures that anybody can check by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders.models import tiny_llama
from tests.importing.memory import MemoryFiles
from workers.importing.safetensors_header import Tensor
from workers.importing.validation import validate
from workers.importing.validation.estimates import MemoryNeed, memory_needs
from workers.importing.validation.weights import Weights

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "hidden_size": 4096,
}  # fmt: skip


def weights(**shapes: tuple[int, ...]) -> Weights:
    return Weights({name: Tensor("BF16", shape, (0, 1)) for name, shape in shapes.items()})


def need(config: dict[str, Any], dtype: str = "bfloat16") -> MemoryNeed:
    found = memory_needs(config, weights(q=(1000, 1000), embed=(500, 1000)))
    return next(need for need in found if need.dtype == dtype)


def test_weights_by_data_type_leave_embeddings_in_sixteen_bits() -> None:
    assert need(LLAMA_8B, "float32").weights_bytes == 6_000_000
    assert need(LLAMA_8B, "bfloat16").weights_bytes == 3_000_000
    assert need(LLAMA_8B, "int8").weights_bytes == 1_031_250 + 1_000_000
    assert need(LLAMA_8B, "int4").weights_bytes == 531_250 + 1_000_000


@pytest.mark.parametrize(
    ("changes", "full", "window"),
    [
        ({}, 131_072, 0),  # Llama 3 8B: 128 KiB for a token
        ({"num_key_value_heads": None}, 524_288, 0),  # every head has its own
        ({"head_dim": 64}, 65_536, 0),
        ({"multi_query": True}, 16_384, 0),
        ({"kv_lora_rank": 512, "qk_rope_head_dim": 64}, 36_864, 0),  # latent attention
        ({"sliding_window": 4096}, 0, 131_072),
        ({"sliding_window": 4096, "use_sliding_window": False}, 131_072, 0),
        ({"sliding_window": 4096, "max_window_layers": 24}, 98_304, 32_768),
        ({"sliding_window": 1024, "sliding_window_pattern": 4}, 32_768, 98_304),
        (
            {
                "layer_types": ["full_attention", "sliding_attention"] * 8
                + ["linear_attention"] * 16,
                "sliding_window": 128,
            },
            32_768,
            32_768,
        ),
        ({"architectures": ["BertModel"]}, 0, 0),
        ({"num_attention_heads": 0}, 0, 0),
        ({"num_hidden_layers": "32"}, 0, 0),
    ],
)
def test_the_cache_for_a_token(changes: dict[str, Any], full: int, window: int) -> None:
    found = need({**LLAMA_8B, **changes})
    assert (found.kv_cache_bytes_per_token, found.window_bytes_per_token) == (full, window)


def test_a_config_that_promises_anything_gives_numbers_that_events_can_hold() -> None:
    huge = 2**40 - 1
    found = need({**LLAMA_8B, "num_key_value_heads": huge, "head_dim": huge})
    assert found.kv_cache_bytes_per_token < 2**63


def test_a_nested_text_model_counts() -> None:
    nested = {"architectures": ["XForConditionalGeneration"], "text_config": LLAMA_8B}
    assert need(nested).kv_cache_bytes_per_token == 131_072


def test_layers_with_a_window_are_told_apart() -> None:
    found = need({**LLAMA_8B, "sliding_window": 1024, "sliding_window_pattern": 4})
    assert (found.kv_cache_bytes_per_token, found.window_bytes_per_token, found.window_tokens) == (
        32_768, 98_304, 1024,
    )  # fmt: skip


def test_a_quantized_model_is_served_as_it_is() -> None:
    found = weights(q=(10,))
    found.bytes_by_dtype["I32"] = 777
    [only] = memory_needs({**LLAMA_8B, "quantization_config": {"bits": 4}}, found)
    assert (only.dtype, only.weights_bytes, only.kv_cache_bytes_per_token) == (
        "stored", 777, 131_072,
    )  # fmt: skip


def test_the_model_card_holds_the_needs() -> None:
    card = validate(MemoryFiles(tiny_llama())).card
    assert card is not None
    assert [row["dtype"] for row in card["memory"]] == ["float32", "bfloat16", "int8", "int4"]
    assert card["memory"][0]["weights_bytes"] == 361_088 * 4
    assert card["memory"][0]["kv_cache_bytes_per_token"] == 2 * 2 * 2 * 64 * 4
