"""What is known of an imported version and decides how, and by which engine, it is served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Use(StrEnum):
    """What a served model does for those who call it."""

    GENERATE = "generate"
    EMBED = "embed"
    RERANK = "rerank"
    # Tensors in and out, as the model's own repository defines them.
    INFER = "infer"


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
    quantization: str | None = None

    @classmethod
    def from_card(cls, kind: str, card: Mapping[str, Any]) -> Imported:
        """Of a version with this model card."""
        return cls(
            kind=kind,
            format=card.get("format"),
            task=card.get("task"),
            architecture=card.get("architecture"),
            adapter=card.get("adapter"),
            quantization=card.get("quantization"),
        )


AS_SAFETENSORS = "Import the model with safetensors weights, in the layout of transformers."
NO_ROUTE = Obstacle(
    "The model neither generates text nor makes embeddings nor ranks documents, and the gateway "
    "offers nothing else.",
    "Import a model for one of these tasks; where the task in its README.md is wrong, correct it.",
)
GENERATING = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "ChatModel")

_EMBEDDING_TASKS = {"feature-extraction", "sentence-similarity"}
_RERANKING_TASK = "text-ranking"
_OTHER_TASKS = {
    "automatic-speech-recognition", "audio-classification", "text-to-speech", "text-to-audio",
    "text-to-image", "image-to-image", "text-to-video", "image-classification",
    "object-detection", "image-segmentation", "zero-shot-image-classification",
}  # fmt: skip
_CLASSIFYING = "ForSequenceClassification"
_OTHER_HEADS = (
    "ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering", "ForCTC", "ForMultipleChoice",
    "ForSpeechSeq2Seq", "ForAudioClassification", "ForImageClassification", "ForPreTraining",
)  # fmt: skip


def use_of(imported: Imported) -> Use | None:
    """What the gateway offers of it; None where that is nothing."""
    if imported.format == "triton":
        return Use.INFER
    architecture, task = imported.architecture or "", imported.task
    if task in _OTHER_TASKS or architecture.endswith(_OTHER_HEADS):
        return None
    if task == _RERANKING_TASK or architecture.endswith(_CLASSIFYING):
        return Use.RERANK
    if imported.format == "sentence-transformers" or task in _EMBEDDING_TASKS:
        return Use.EMBED
    if architecture.endswith("Model") and not architecture.endswith(GENERATING):
        return Use.EMBED
    return Use.GENERATE


def adapter_rank(card: Mapping[str, Any]) -> int:
    """The largest rank that any module of the adapter has."""
    adapter = card.get("adapter") or {}
    return int(adapter.get("max_rank") or adapter.get("rank") or 0)
