"""How much memory a model needs, by its config and its tensors: an estimate, before any engine.

Counted are the weights and the cache of keys and values; engines add activations and buffers,
usually a few hundred megabytes to a few gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from workers.importing.validation.config import text_config
from workers.importing.validation.files import whole_number
from workers.importing.validation.weights import Weights

# Bits for each parameter in the matrices of the layers. Quantized ones come in groups of 128 with
# a scale and a zero point of 16 bits each.
_BITS = {"float32": 32.0, "bfloat16": 16.0, "int8": 8.25, "int4": 4.25}
# Embeddings, heads and norms are not quantized; and quantized weights compute in 16 bits.
_OTHER_BITS = {"float32": 32, "bfloat16": 16, "int8": 16, "int4": 16}
_BY_TOKEN = ("embed", "wte", "wpe", "lm_head", "word_embeddings")
_DECODERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_FULL, _WINDOW = "full", "window"
_KINDS = {
    "full_attention": _FULL, "sliding_attention": _WINDOW, "chunked_attention": _WINDOW,
}  # fmt: skip
# Configs can promise anything; events hold numbers of 64 bits.
_MOST = 1 << 40


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """The need in one data type.

    `kv_cache_bytes_per_token` grows with the whole context; `window_bytes_per_token` only up to
    `window_tokens`, for layers that look back no further.
    """

    dtype: str
    weights_bytes: int
    kv_cache_bytes_per_token: int = 0
    window_bytes_per_token: int = 0
    window_tokens: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The need as it stands in the model card."""
        return asdict(self)


def memory_needs(config: dict[str, Any], weights: Weights) -> list[MemoryNeed]:
    """The need in each data type that the model could be served in.

    A model that is quantized already is served as it is.
    """
    cache = _Cache.of(config)
    if config.get("quantization_config"):
        stored = sum(weights.bytes_by_dtype.values())
        return [cache.need("stored", stored, 2)]
    layers = sum(prod(tensor.shape) for tensor in _matrices(weights))
    others = weights.parameter_count - layers
    return [
        cache.need(
            dtype,
            int(layers * bits + others * _OTHER_BITS[dtype]) // 8,
            4 if dtype == "float32" else 2,
        )
        for dtype, bits in _BITS.items()
    ]


def _matrices(weights: Weights) -> Iterable[Any]:
    for name, tensor in weights.tensors.items():
        if len(tensor.shape) >= 2 and not any(part in name for part in _BY_TOKEN):
            yield tensor


@dataclass(frozen=True, slots=True)
class _Cache:
    """Values that the cache holds for each token."""

    full: int = 0
    window: int = 0
    window_tokens: int = 0

    @classmethod
    def of(cls, config: dict[str, Any]) -> _Cache:
        text = text_config(config)
        names = config.get("architectures") or []
        if not any(isinstance(name, str) and name.endswith(_DECODERS) for name in names):
            return cls()  # encoders keep nothing
        width = _width(text)
        kinds = _layers(text)
        window = whole_number(text.get("sliding_window")) or 0
        return cls(
            full=width * kinds.count(_FULL),
            window=width * kinds.count(_WINDOW),
            window_tokens=window if _WINDOW in kinds else 0,
        )

    def need(self, dtype: str, weights_bytes: int, value_bytes: int) -> MemoryNeed:
        return MemoryNeed(
            dtype,
            weights_bytes,
            min(self.full * value_bytes, _MOST),
            min(self.window * value_bytes, _MOST),
            self.window_tokens,
        )


def _number(text: dict[str, Any], *names: str) -> int | None:
    return next((n for name in names if (n := whole_number(text.get(name))) is not None), None)


def _width(text: dict[str, Any]) -> int:
    """Values that one layer keeps for a token; 0 where the config does not say."""
    latent = _number(text, "kv_lora_rank")
    if latent is not None:  # multi-head latent attention, as DeepSeek has it
        return latent + (_number(text, "qk_rope_head_dim") or 0)
    heads = _number(text, "num_attention_heads", "n_head", "num_heads")
    if heads is None:
        return 0
    hidden = _number(text, "hidden_size", "n_embd", "d_model") or 0
    head = _number(text, "head_dim", "d_kv", "kv_channels") or hidden // heads
    shared = _number(text, "num_key_value_heads", "multi_query_group_num", "num_kv_heads")
    if text.get("multi_query") is True:
        shared = 1
    return (shared or heads) * (head + (_number(text, "v_head_dim") or head))


def _layers(text: dict[str, Any]) -> list[str]:
    """How far each layer that keeps something looks back; those that keep nothing are left out."""
    count = _number(text, "num_hidden_layers", "n_layer", "num_decoder_layers", "num_layers") or 0
    count = min(count, 10_000)
    types = text.get("layer_types")
    if isinstance(types, list) and len(types) == count:
        kinds = {
            "full_attention": _FULL,
            "sliding_attention": _WINDOW,
            "chunked_attention": _WINDOW,
        }
        return [kinds[kind] for kind in types if isinstance(kind, str) and kind in kinds]
    window = _number(text, "sliding_window")
    if window is None or text.get("use_sliding_window") is False:
        return [_FULL] * count
    every = _number(text, "sliding_window_pattern")
    if every is not None:  # each so-manieth layer sees everything, as Gemma has it
        return [_WINDOW if (at + 1) % every else _FULL for at in range(count)]
    first = _number(text, "max_window_layers") if "max_window_layers" in text else 0
    return [_FULL if at < (first or 0) else _WINDOW for at in range(count)]
