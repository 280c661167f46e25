"""Adapters as PEFT saves them: do they belong to the chosen base, and would they change it at all?

The format is that of `peft.PeftModel.save_pretrained`: adapter_config.json and
adapter_model.safetensors.
"""

from __future__ import annotations

from typing import BinaryIO

from workers.importing.names import listed, shown
from workers.importing.refusals import ImportRefused
from workers.importing.safetensors_header import Header, read_header
from workers.importing.validation.adapter_config import (
    CONFIG,
    AdapterConfig,
    features,
    read_config,
)
from workers.importing.validation.adapter_fit import (
    OTHER_BASE,
    by_token,
    check_modules,
    check_prompt,
)
from workers.importing.validation.card import Facts
from workers.importing.validation.files import ModelFiles, Unreadable
from workers.importing.validation.layout import TITLE, BaseModelFacts, Layout, Wanted
from workers.importing.validation.report import Outcome, Report
from workers.importing.validation.tokenizer import TOKENIZER, check_tokenizer
from workers.importing.validation.weights import DTYPE_NAMES

WEIGHTS = "adapter_model.safetensors"
_PICKLED = "adapter_model.bin"
_PROMPTS = {"PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING"}
_TASK_ENDS = {
    "CAUSAL_LM": ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration"),
    "SEQ_2_SEQ_LM": ("ForConditionalGeneration",),
    "SEQ_CLS": ("ForSequenceClassification",),
    "TOKEN_CLS": ("ForTokenClassification",),
    "QUESTION_ANS": ("ForQuestionAnswering",),
}
_SOURCE = "Take the adapter's files from where it was trained again."


def recognises(files: ModelFiles) -> bool:
    """adapter_config.json at the top, and no whole model beside it."""
    return CONFIG in files.sizes and "config.json" not in files.sizes


def check(files: ModelFiles, wanted: Wanted, report: Report) -> Facts | None:
    """Every check of an adapter that its base allows."""
    if not _check_kind(wanted, report):
        return None
    adapter = _check_config(files, report)
    header = _check_weights(files, report)
    if adapter is None or header is None or wanted.base is None:
        return None
    base = wanted.base
    _check_base_name(adapter, base, report)
    _check_architecture(adapter, base, report)
    if adapter.peft_type in _PROMPTS:
        check_prompt(header, base, report)
        targets: list[str] = []
    else:
        targets = check_modules(adapter, header, base, report)
    dtype = _check_dtype(header, base, report)
    if TOKENIZER in files.sizes:
        check_tokenizer(files, {"vocab_size": _vocabulary(header, base)}, report)
    card = base.card
    return Facts(
        weight_format="safetensors",
        architecture=card.get("architecture"),
        model_type=card.get("model_type"),
        task=card.get("task"),
        parameter_count=header.parameter_count,
        dtype=dtype,
        context_length=card.get("context_length"),
        vocabulary_size=card.get("vocabulary_size"),
        hidden_size=card.get("hidden_size"),
        layers=card.get("layers"),
        adapter={
            "rank": adapter.rank,
            "alpha": adapter.alpha,
            "target_modules": targets,
            "base_architecture": card.get("architecture"),
            "method": adapter.peft_type,
            "max_rank": max([adapter.rank or 0, *adapter.rank_pattern.values()]) or None,
            "features": features(adapter),
        },
    )


def refuse(layout: Layout, report: Report) -> None:
    """Says that what was to be an adapter is something else."""
    report.add(
        "layout", TITLE, Outcome.FAIL, f"This is no adapter, but {layout.title}.",
        "Import it as a base model, or choose the adapter's own files: "
        f"{CONFIG} and {WEIGHTS}.",
    )  # fmt: skip


def _check_kind(wanted: Wanted, report: Report) -> bool:
    if wanted.kind == "adapter" and wanted.base is not None:
        report.add("layout", TITLE, Outcome.PASS, "Adapter in the layout of PEFT.")
        return True
    report.add(
        "layout", TITLE, Outcome.FAIL,
        f"This is an adapter ({CONFIG}), not a base model."
        if wanted.kind != "adapter" else "No base model was chosen for this adapter.",
        "Import it as an adapter and choose the base model that it was trained on.",
    )  # fmt: skip
    return False


# -- adapter_config.json -----------------------------------------------------------------------


def _check_config(files: ModelFiles, report: Report) -> AdapterConfig | None:
    title = f"{CONFIG} is valid"
    try:
        adapter = read_config(files)
    except Unreadable as error:
        report.add("adapter_config", title, Outcome.FAIL, str(error), _SOURCE)
        return None
    if adapter.peft_type == "LORA":
        report.add(
            "adapter_config", title, Outcome.PASS,
            f"LoRA of rank {adapter.rank}, alpha {adapter.alpha}.",
        )  # fmt: skip
    else:
        report.add(
            "adapter_config", title, Outcome.WARN,
            f"The adapter is of the type {shown(adapter.peft_type)}; engines serve LoRA.",
            "Merge the adapter into its base and import the result as a base model, or train a "
            "LoRA adapter.",
        )  # fmt: skip
    return adapter


# -- weights -----------------------------------------------------------------------------------


def _check_weights(files: ModelFiles, report: Report) -> Header | None:
    title = "Weights are whole"
    if WEIGHTS not in files.sizes:
        pickled = _PICKLED in files.sizes
        report.add(
            "weights", title, Outcome.FAIL,
            f"There is no {WEIGHTS}" + (f", only {_PICKLED}, a pickle." if pickled else "."),
            "Save the adapter with peft's save_pretrained(safe_serialization=True).",
        )  # fmt: skip
        return None
    try:
        with files.open(WEIGHTS) as source:
            header = read_header(source, files.sizes[WEIGHTS], WEIGHTS)
            idle = bool(header.tensors) and _idle(source, header, files.sizes[WEIGHTS])
    except ImportRefused as refusal:
        report.add("weights", title, Outcome.FAIL, refusal.reason, refusal.remedy)
        return None
    if not header.tensors:
        report.add("weights", title, Outcome.FAIL, f"{WEIGHTS} holds no tensors.", _SOURCE)
        return None
    if idle:
        report.add(
            "weights", title, Outcome.FAIL,
            "Every lora_B is zero, as before training: the adapter would change nothing and "
            "answer as its base does.",
            _SOURCE,
        )  # fmt: skip
        return None
    others = [p for p in files.sizes if p.endswith(".safetensors") and p != WEIGHTS]
    report.add(
        "weights", title, Outcome.WARN if others else Outcome.PASS,
        f"{len(header.tensors)} tensors with {header.parameter_count} parameters; every offset, "
        "size and shape fits."
        + (f" Not part of the adapter: {listed(others)}." if others else ""),
        "Leave the files out that the adapter does not use." if others else "",
    )  # fmt: skip
    return header


def _idle(source: BinaryIO, header: Header, size: int) -> bool:
    """Whether nothing but LoRA pairs is there, and the second of each pair is all zeros."""
    start = size - max(tensor.data_offsets[1] for tensor in header.tensors.values())
    for name, tensor in header.tensors.items():
        if ".lora_A" in name or ".lora_embedding_A" in name or ".lora_E" in name:
            continue
        if ".lora_B" not in name and ".lora_embedding_B" not in name:
            return False
        source.seek(start + tensor.data_offsets[0])
        left = tensor.data_offsets[1] - tensor.data_offsets[0]
        while left > 0 and (chunk := source.read(min(left, 1 << 20))):
            if chunk.strip(b"\0"):
                return False
            left -= len(chunk)
    return True


def _check_dtype(header: Header, base: BaseModelFacts, report: Report) -> str | None:
    title = "Data type fits the base"
    [(most, _)] = header.bytes_by_dtype().most_common(1)
    dtype, wanted = DTYPE_NAMES.get(most, most), base.card.get("dtype")
    if wanted is None or dtype == wanted:
        report.add("dtype", title, Outcome.PASS, f"{dtype}, as the base has.")
    else:
        report.add(
            "dtype", title, Outcome.WARN, f"The adapter is {dtype}, the base {wanted}.",
            "The engine converts the adapter when it loads it; save it in the base's data type if "
            "that is not meant.",
        )  # fmt: skip
    return dtype


# -- against the base --------------------------------------------------------------------------


def _check_base_name(adapter: AdapterConfig, base: BaseModelFacts, report: Report) -> None:
    title = "Adapter names this base"
    if adapter.base_name is None:
        evidence = f"{CONFIG} does not say which base model the adapter was trained on."
    elif _plain_name(adapter.base_name) == _plain_name(base.name):
        report.add("adapter_base", title, Outcome.PASS, f"Trained on {shown(adapter.base_name)}.")
        return
    else:
        evidence = (
            f"The adapter was trained on {shown(adapter.base_name)}; chosen is {shown(base.name)}."
        )
    report.add(
        "adapter_base", title, Outcome.WARN, evidence,
        "Make sure that both are the same model; an adapter on another base answers badly without "
        "any error.",
    )  # fmt: skip


def _plain_name(name: str) -> str:
    last = name.rstrip("/").rpartition("/")[2]
    return "".join(c for c in last.lower() if c.isalnum())


def _check_architecture(adapter: AdapterConfig, base: BaseModelFacts, report: Report) -> None:
    title = "Architecture fits the base"
    architecture = base.card.get("architecture") or "an unknown architecture"
    mapping = adapter.fields.get("auto_mapping")
    named = mapping.get("base_model_class") if isinstance(mapping, dict) else None
    ends = _TASK_ENDS.get(adapter.task or "")
    if isinstance(named, str) and named != architecture:
        evidence = f"The adapter was made for {shown(named)}; the base is {architecture}."
    elif ends and not architecture.endswith(ends):
        evidence = f"The adapter's task is {adapter.task}; the base is {architecture}."
    else:
        report.add("adapter_architecture", title, Outcome.PASS, f"{architecture}.")
        return
    report.add("adapter_architecture", title, Outcome.WARN, evidence, OTHER_BASE)


def _vocabulary(header: Header, base: BaseModelFacts) -> int | None:
    rows = [t.shape[0] for name, t in header.tensors.items() if by_token(name) and t.shape]
    return max([*rows, base.card.get("vocabulary_size") or 0]) or None


LAYOUT = Layout(
    "peft",
    "adapter of PEFT",
    f"{CONFIG}, {WEIGHTS}",
    recognises,
    check,
)
