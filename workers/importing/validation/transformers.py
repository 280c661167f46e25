"""A model in the layout of Hugging Face transformers."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from workers.importing.names import listed
from workers.importing.validation import pickles
from workers.importing.validation.card import Facts, first_number
from workers.importing.validation.config import (
    CONFIG,
    EXPECTED,
    check_config,
    check_generation_config,
    text_config,
)
from workers.importing.validation.estimates import memory_needs
from workers.importing.validation.files import ModelFiles
from workers.importing.validation.layout import TITLE, Layout, Wanted
from workers.importing.validation.report import Outcome, Report, plain
from workers.importing.validation.shapes import check_shapes
from workers.importing.validation.tokenizer import TokenizerFacts, check_tokenizer
from workers.importing.validation.weights import Weights, check_dtype, check_weights

_TASKS = {
    "ForCausalLM": "text-generation",
    "ForConditionalGeneration": "text-generation",
    "LMHeadModel": "text-generation",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "Model": "feature-extraction",
}


def recognises(files: ModelFiles) -> bool:
    """A config.json at the top, or a folder of safetensors that lacks one."""
    deeper = any(path.endswith(f"/{CONFIG}") for path in files.sizes)
    return CONFIG in files.sizes or (deeper and bool(_weights(files)))


def check(files: ModelFiles, wanted: Wanted, report: Report) -> Facts | None:
    """Layout, config, weights, shapes and tokenizer."""
    pickled = not _weights(files) and pickles.RISK in wanted.accepted_risks and _pickled(files)
    _check_layout(files, report, pickled=pickled)
    config = check_config(files, report)
    weights = None if pickled else check_weights(files, report)
    if config is not None and weights is not None:
        check_shapes(weights, config, report)
        check_dtype(weights, config, report)
    tokenizer = check_tokenizer(files, config, report)
    check_generation_config(files, report)
    if config is None or (weights is None and not pickled):
        return None
    return facts(config, weights, tokenizer)


def _quantization(config: dict[str, Any]) -> str | None:
    """The method that the weights were quantized with, as config.json names it."""
    described = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(described, dict):
        return None
    method = described.get("quant_method")
    return plain(method, 64) if isinstance(method, str) and method else "an unnamed method"


def facts(config: dict[str, Any], weights: Weights | None, tokenizer: TokenizerFacts) -> Facts:
    """What config.json, weights and tokenizer say about the model; pickled weights say nothing."""
    text = text_config(config)
    architecture = plain(config["architectures"][0], 200)
    return Facts(
        architecture=architecture,
        model_type=plain(config["model_type"], 200),
        task=next((task for end, task in _TASKS.items() if architecture.endswith(end)), None),
        parameter_count=weights.parameter_count if weights else None,
        dtype=weights.dtype if weights else None,
        quantization=_quantization(config),
        context_length=first_number(
            text, "max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"
        ),
        vocabulary_size=first_number(text, "vocab_size"),
        hidden_size=first_number(text, "hidden_size", "n_embd", "d_model"),
        layers=first_number(text, "num_hidden_layers", "n_layer", "num_layers"),
        tokenizer=tokenizer.kind,
        chat_template=tokenizer.has_chat_template,
        weight_format="safetensors" if weights else "pickle",
        memory=tuple(need.to_dict() for need in memory_needs(config, weights)) if weights else (),
    )


def _weights(files: ModelFiles) -> list[str]:
    return [path for path in files.sizes if path.endswith(".safetensors")]


def _pickled(files: ModelFiles) -> bool:
    return any(PurePosixPath(path).match("pytorch_model*.bin") for path in files.sizes)


def _check_layout(files: ModelFiles, report: Report, *, pickled: bool) -> None:
    weights = _weights(files)
    if CONFIG in files.sizes and any("/" not in path for path in weights):
        report.add(
            "layout", TITLE, Outcome.PASS,
            f"Hugging Face transformers with {len(weights)} safetensors "
            f"{'file' if len(weights) == 1 else 'files'}.",
        )  # fmt: skip
    elif CONFIG in files.sizes and pickled:
        report.add(
            "layout", TITLE, Outcome.WARN,
            "Hugging Face transformers with pickled weights; they are not checked, since reading "
            "their shapes would mean to unpickle them.",
            f"Convert the weights to safetensors. {EXPECTED}",
        )  # fmt: skip
    elif CONFIG in files.sizes:
        report.add(
            "layout", TITLE, Outcome.FAIL, "There are no .safetensors files beside config.json.",
            f"Convert the weights to safetensors. {EXPECTED}",
        )  # fmt: skip
    else:
        deeper = [path for path in files.sizes if path.endswith(f"/{CONFIG}")]
        report.add(
            "layout", TITLE, Outcome.FAIL,
            f"There is no config.json at the top of the archive; it lies in {listed(deeper)}.",
            EXPECTED,
        )  # fmt: skip


LAYOUT = Layout(
    "transformers",
    "Hugging Face transformers",
    "config.json, tokenizer.json, *.safetensors",
    recognises,
    check,
)
