"""Whether what was imported can be served, as what, and why not.

vLLM is the engine that serves; the limits here are those of its release that the deploy worker
installs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_ADAPTER_RANK = 512


class Use(StrEnum):
    """What a served model does for those who call it."""

    GENERATE = "generate"
    EMBED = "embed"
    RERANK = "rerank"


@dataclass(frozen=True)
class Obstacle:
    """Why a model cannot be served, and what helps."""

    reason: str
    remedy: str


@dataclass(frozen=True)
class Imported:
    """What is known of a usable version and decides how it is served."""

    kind: str
    format: str | None = None
    task: str | None = None
    architecture: str | None = None
    adapter: Mapping[str, Any] | None = None

    @classmethod
    def from_card(cls, kind: str, card: Mapping[str, Any]) -> Imported:
        """Of a version with this model card."""
        return cls(
            kind=kind,
            format=card.get("format"),
            task=card.get("task"),
            architecture=card.get("architecture"),
            adapter=card.get("adapter"),
        )


_AS_SAFETENSORS = "Import the model with safetensors weights, in the layout of transformers."
_FORMATS = {
    "gguf": Obstacle("vLLM cannot load GGUF files.", _AS_SAFETENSORS),
    "onnx": Obstacle("vLLM cannot load ONNX files.", _AS_SAFETENSORS),
    "ctranslate2": Obstacle("vLLM cannot load models converted for CTranslate2.", _AS_SAFETENSORS),
    "diffusers": Obstacle(
        "vLLM makes no images: it cannot load diffusers pipelines.",
        "Use the model outside Loggia; its files can be exported.",
    ),
    "triton": Obstacle(
        "A Triton model repository needs a Triton server, which is not available.",
        "Import the model itself, in the layout of transformers.",
    ),
    "ollama": Obstacle(
        "An Ollama model needs an Ollama server, which is not available.", _AS_SAFETENSORS
    ),
    "container_image": Obstacle(
        "A container image needs a launcher that runs containers, which is not available.",
        "Run the image elsewhere, or import the model that it serves.",
    ),
    "external": Obstacle(
        "The model is only described; it has no files that could be served.",
        "Import a version with weights.",
    ),
}  # fmt: skip
# What a card without a format stands for: the first release imported nothing else.
_LOADED = {None, "transformers", "sentence-transformers", "peft"}

_EMBEDDING_TASKS = {"feature-extraction", "sentence-similarity"}
_RERANKING_TASK = "text-ranking"
_OTHER_TASKS = {
    "automatic-speech-recognition", "audio-classification", "text-to-speech", "text-to-audio",
    "text-to-image", "image-to-image", "text-to-video", "image-classification",
    "object-detection", "image-segmentation", "zero-shot-image-classification",
}  # fmt: skip
_GENERATING = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "ChatModel")
_CLASSIFYING = "ForSequenceClassification"
_OTHER_HEADS = (
    "ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering", "ForCTC", "ForMultipleChoice",
    "ForSpeechSeq2Seq", "ForAudioClassification", "ForImageClassification", "ForPreTraining",
)  # fmt: skip
_NO_ROUTE = Obstacle(
    "The model neither generates text nor makes embeddings nor ranks documents, and the gateway "
    "offers nothing else.",
    "Import a model for one of these tasks; where the task in its README.md is wrong, correct it.",
)
_WORD_RERANKER = Obstacle(
    "The reranker is a language model that answers in words; vLLM ranks with models that have a "
    "classification head.",
    "Import it converted to a model for sequence classification with one label.",
)


def use_of(imported: Imported) -> Use | None:
    """What the gateway offers of it; None where that is nothing."""
    architecture, task = imported.architecture or "", imported.task
    if task in _OTHER_TASKS or architecture.endswith(_OTHER_HEADS):
        return None
    if task == _RERANKING_TASK or architecture.endswith(_CLASSIFYING):
        return Use.RERANK
    if imported.format == "sentence-transformers" or task in _EMBEDDING_TASKS:
        return Use.EMBED
    if architecture.endswith("Model") and not architecture.endswith(_GENERATING):
        return Use.EMBED
    return Use.GENERATE


def obstacle(imported: Imported, base: Imported | None = None) -> Obstacle | None:
    """Why it cannot be served, or None; `base` is the adapter's base model where it is there."""
    if imported.kind == "adapter":
        return _adapter_obstacle(imported.adapter or {}, base)
    if imported.format not in _LOADED:
        return _FORMATS.get(
            imported.format or "",
            Obstacle(f"vLLM cannot load the format '{imported.format}'.", _AS_SAFETENSORS),
        )
    use = use_of(imported)
    if use is None:
        return _NO_ROUTE
    if use is Use.RERANK and (imported.architecture or "").endswith(_GENERATING):
        return _WORD_RERANKER
    return None


def adapter_rank(card: Mapping[str, Any]) -> int:
    """The largest rank that any module of the adapter has."""
    adapter = card.get("adapter") or {}
    return int(adapter.get("max_rank") or adapter.get("rank") or 0)


def _adapter_obstacle(adapter: Mapping[str, Any], base: Imported | None) -> Obstacle | None:
    if base is None:
        return Obstacle(
            "The adapter's base model has been deleted.",
            "Import the base model again, then the adapter for it.",
        )
    merged = "Merge the adapter into its base and import the result as a base model"
    found = obstacle(base)
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
