"""What vLLM serves; the limits are those of its release that the deploy worker installs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.domain.servable.facts import (
    AS_SAFETENSORS,
    GENERATING,
    NO_ROUTE,
    Imported,
    Obstacle,
    Use,
    adapter_rank,
    use_of,
)

RELEASE = "0.32.0"
MAX_ADAPTER_RANK = 512
# What its documentation says it quantizes to while it loads plain weights.
DOCUMENTED_QUANTIZATIONS = ("fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "mxfp8")
# What a card without a format stands for: the first release imported nothing else.
_LOADED = {None, "transformers", "sentence-transformers", "peft"}
_FORMATS = {
    "gguf": Obstacle("vLLM cannot load GGUF files.", AS_SAFETENSORS),
    "onnx": Obstacle("vLLM cannot load ONNX files.", AS_SAFETENSORS),
    "ctranslate2": Obstacle("vLLM cannot load models converted for CTranslate2.", AS_SAFETENSORS),
    "diffusers": Obstacle(
        "vLLM makes no images: it cannot load diffusers pipelines.",
        "Use the model outside Loggia; its files can be exported.",
    ),
    "triton": Obstacle(
        "vLLM cannot load a Triton model repository.",
        "Import the model itself, in the layout of transformers.",
    ),
    "ollama": Obstacle("vLLM cannot load an Ollama model.", AS_SAFETENSORS),
    "container_image": Obstacle(
        "vLLM loads models, and no container images.", "Import the model that the image serves."
    ),
    "external": Obstacle(
        "The model is only described; it has no files that could be served.",
        "Import a version with weights.",
    ),
}  # fmt: skip
_WORD_RERANKER = Obstacle(
    "The reranker is a language model that answers in words; vLLM ranks with models that have a "
    "classification head.",
    "Import it converted to a model for sequence classification with one label.",
)


def obstacle(imported: Imported, base: Imported | None, method: str | None) -> Obstacle | None:
    """Why vLLM cannot serve it, or None."""
    if imported.kind == "adapter":
        found = _adapter_obstacle(imported.adapter or {}, base)
    else:
        found = _model_obstacle(imported)
    if found is None and method == "vllm":
        return _already_quantized(base or imported)
    return found


def _model_obstacle(imported: Imported) -> Obstacle | None:
    if imported.format not in _LOADED:
        return _FORMATS.get(
            imported.format or "",
            Obstacle(f"vLLM cannot load the format '{imported.format}'.", AS_SAFETENSORS),
        )
    use = use_of(imported)
    if use is None:
        return NO_ROUTE
    if use is Use.RERANK and (imported.architecture or "").endswith(GENERATING):
        return _WORD_RERANKER
    return None


def _adapter_obstacle(adapter: Mapping[str, Any], base: Imported | None) -> Obstacle | None:
    if base is None:
        return Obstacle(
            "The adapter's base model has been deleted.",
            "Import the base model again, then the adapter for it.",
        )
    merged = "Merge the adapter into its base and import the result as a base model"
    found = _model_obstacle(base)
    if found is not None:
        return Obstacle(f"Its base model cannot be served. {found.reason}", found.remedy)
    method = adapter.get("method") or "LORA"
    if method != "LORA":
        return Obstacle(
            f"vLLM serves LoRA adapters; this one is of the type {method}.",
            f"{merged}, or train a LoRA adapter.",
        )
    unknown = adapter.get("features") or []
    if unknown:
        return Obstacle(
            f"The adapter uses what vLLM's LoRA does not know: {', '.join(unknown)}.",
            f"{merged}, or train it without.",
        )
    rank = adapter_rank({"adapter": adapter})
    if rank > MAX_ADAPTER_RANK:
        return Obstacle(
            f"The adapter's rank is {rank}; vLLM serves ranks up to {MAX_ADAPTER_RANK}.",
            f"{merged}, or train it with a lower rank.",
        )
    return None


def _already_quantized(whole: Imported) -> Obstacle | None:
    """A quantized model is served as it is; vLLM finds out by itself how to read it."""
    if whole.quantization is None:
        return None
    return Obstacle(
        f"The model is quantized already, with {whole.quantization}.",
        "Choose 'skip': vLLM reads the quantization from the model's files.",
    )
