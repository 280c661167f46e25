"""Do the tensors have the shapes that config.json promises?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from workers.importing.names import shown
from workers.importing.validation.config import text_config
from workers.importing.validation.files import whole_number
from workers.importing.validation.report import Outcome, Report
from workers.importing.validation.weights import Weights

# Decoders that name and shape their tensors as Llama does.
_LLAMA_LIKE = {
    "LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM",
}  # fmt: skip
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
_TITLE = "Tensor shapes match config.json"
_HINT = "Weights and config.json belong to different models; take both from one source."


@dataclass(frozen=True, slots=True)
class _Dimensions:
    hidden: int
    vocabulary: int
    layers: int
    heads: int
    key_value_heads: int
    head: int
    intermediate: int
    tied: bool


def check_shapes(weights: Weights, config: dict[str, Any], report: Report) -> None:
    """Compares every tensor that the architecture defines with what config.json promises."""
    architecture = config["architectures"][0]
    if architecture not in _LLAMA_LIKE:
        _check_vocabulary_only(architecture, weights, config, report)
        return
    if config.get("quantization_config"):
        report.add(
            "shapes", _TITLE, Outcome.WARN, "Not checked: quantized weights are packed.",
            "Deploy the model to see whether its engine accepts it.",
        )  # fmt: skip
        return
    dimensions, missing = _dimensions(config)
    if dimensions is None:
        report.add(
            "shapes", _TITLE, Outcome.FAIL, f"config.json gives no usable {missing}.",
            "Take config.json from the model's source again.",
        )  # fmt: skip
        return
    fault = _first_fault(weights, dimensions)
    report.add(
        "shapes",
        _TITLE,
        Outcome.FAIL if fault else Outcome.PASS,
        fault
        or f"{dimensions.layers} layers of width {dimensions.hidden}, "
        f"vocabulary of {dimensions.vocabulary}.",
        _HINT if fault else "",
    )


def _dimensions(config: dict[str, Any]) -> tuple[_Dimensions | None, str]:
    """The sizes that config.json promises, or the name of the one that is not usable."""
    values: dict[str, int] = {}
    required = (
        "hidden_size", "vocab_size", "num_hidden_layers", "num_attention_heads",
        "intermediate_size",
    )  # fmt: skip
    for name in required:
        value = whole_number(config.get(name))
        if value is None:
            return None, name
        values[name] = value
    heads = values["num_attention_heads"]
    key_value_heads = heads
    if config.get("num_key_value_heads") is not None:
        given = whole_number(config["num_key_value_heads"])
        if given is None or heads % given:
            return None, "num_key_value_heads"
        key_value_heads = given
    if config.get("head_dim") is not None:
        head = whole_number(config["head_dim"])
    else:
        head = values["hidden_size"] // heads if values["hidden_size"] % heads == 0 else None
    if head is None:
        return None, "head_dim"
    return _Dimensions(
        hidden=values["hidden_size"],
        vocabulary=values["vocab_size"],
        layers=values["num_hidden_layers"],
        heads=heads,
        key_value_heads=key_value_heads,
        head=head,
        intermediate=values["intermediate_size"],
        tied=bool(config.get("tie_word_embeddings", False)),
    ), ""


def _first_fault(weights: Weights, d: _Dimensions) -> str:
    outer = {
        "model.embed_tokens.weight": (d.vocabulary, d.hidden),
        "model.norm.weight": (d.hidden,),
        "lm_head.weight": (d.vocabulary, d.hidden),
    }
    attention, shared = d.heads * d.head, d.key_value_heads * d.head
    inner = {
        "self_attn.q_proj.weight": (attention, d.hidden),
        "self_attn.k_proj.weight": (shared, d.hidden),
        "self_attn.v_proj.weight": (shared, d.hidden),
        "self_attn.o_proj.weight": (d.hidden, attention),
        "mlp.gate_proj.weight": (d.intermediate, d.hidden),
        "mlp.up_proj.weight": (d.intermediate, d.hidden),
        "mlp.down_proj.weight": (d.hidden, d.intermediate),
        "input_layernorm.weight": (d.hidden,),
        "post_attention_layernorm.weight": (d.hidden,),
    }
    optional = {
        "self_attn.q_proj.bias": (attention,),
        "self_attn.k_proj.bias": (shared,),
        "self_attn.v_proj.bias": (shared,),
        "self_attn.o_proj.bias": (d.hidden,),
        "self_attn.q_norm.weight": (d.head,),
        "self_attn.k_norm.weight": (d.head,),
    }
    # Counted first: a config may promise more layers than anybody could list.
    present = {int(match[1][:9]) for name in weights.tensors if (match := _LAYER.fullmatch(name))}
    if len(present) != d.layers or max(present, default=-1) != d.layers - 1:
        return f"config.json promises {d.layers} layers, the weights hold {len(present)}."
    for name, shape in outer.items():
        if name not in weights.tensors:
            if name == "lm_head.weight" and d.tied:
                continue
            return f"The tensor {shown(name)} is missing."
        if weights.tensors[name].shape != shape:
            return _contradiction(name, weights.tensors[name].shape, shape)
    for layer in range(d.layers):
        for suffix in inner:
            if f"model.layers.{layer}.{suffix}" not in weights.tensors:
                return f"The tensor {shown(f'model.layers.{layer}.{suffix}')} is missing."
    known = {**inner, **optional}
    for name, tensor in weights.tensors.items():
        match = _LAYER.fullmatch(name)
        expected = known.get(match[2]) if match else None
        if expected is not None and tensor.shape != expected:
            return _contradiction(name, tensor.shape, expected)
    return ""


def _check_vocabulary_only(
    architecture: str, weights: Weights, config: dict[str, Any], report: Report
) -> None:
    vocabulary = whole_number(text_config(config).get("vocab_size"))
    for name, tensor in weights.tensors.items():
        if name.endswith(("embed_tokens.weight", "wte.weight", "word_embeddings.weight")) and (
            vocabulary is not None and tensor.shape and tensor.shape[0] < vocabulary
        ):
            report.add(
                "shapes", _TITLE, Outcome.FAIL,
                f"{shown(name)} has {tensor.shape[0]} rows; config.json promises a vocabulary of "
                f"{vocabulary}.",
                _HINT,
            )  # fmt: skip
            return
    report.add(
        "shapes",
        _TITLE,
        Outcome.WARN,
        f"Not checked: the shapes of {shown(architecture)} are not known here.",
        "Deploy the model to see whether its engine accepts it.",
    )


def _contradiction(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    return (
        f"The tensor {shown(name)} has the shape {_text(found)}; config.json promises "
        f"{_text(expected)}."
    )


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "of a single number"
