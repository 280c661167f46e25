"""adapter_config.json: what PEFT writes beside an adapter's weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workers.importing.validation.files import ModelFiles, Unreadable, read_json, whole_number
from workers.importing.validation.report import plain

CONFIG = "adapter_config.json"
_MAX_CONFIG_BYTES = 1 << 20
_MAX_RANK = 1 << 16
_MAX_PATTERNS = 1000
_MAX_ALPHA = 1e9


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """adapter_config.json as far as it is checked."""

    peft_type: str
    rank: int | None
    alpha: float | None
    targets: list[str] | str | None
    parameters: list[str]
    to_save: list[str]
    rank_pattern: dict[str, int]
    base_name: str | None
    task: str | None
    transposed: bool
    fields: Mapping[str, Any]


def read_config(files: ModelFiles) -> AdapterConfig:
    """The fields that matter. Raises `Unreadable`."""
    fields = read_json(files, CONFIG, limit=_MAX_CONFIG_BYTES)
    peft_type = fields.get("peft_type")
    if not isinstance(peft_type, str) or not peft_type:
        raise Unreadable(f"{CONFIG} names no peft_type.")
    found = fields.get("r")
    number = whole_number(found)
    if (peft_type == "LORA" and number is None) or (number is not None and number > _MAX_RANK):
        raise Unreadable(f"{CONFIG} gives no usable rank: r is {found!r:.40}.")
    targets = fields.get("target_modules")
    if not (targets is None or isinstance(targets, str) or _texts(targets)):
        raise Unreadable(f"{CONFIG} gives target_modules that are neither names nor a pattern.")
    for name in ("modules_to_save", "target_parameters"):
        if fields.get(name) is not None and not _texts(fields[name]):
            raise Unreadable(f"{CONFIG} gives no list of names as {name}.")
    pattern = fields.get("rank_pattern") or {}
    if peft_type == "ADALORA":
        pattern = {}  # which of the ranks are left, not how many
    if not isinstance(pattern, dict) or not all(whole_number(n) for n in pattern.values()):
        raise Unreadable(f"{CONFIG} gives a rank_pattern that is not names with ranks.")
    if len(pattern) > _MAX_PATTERNS:
        raise Unreadable(f"{CONFIG} gives more than {_MAX_PATTERNS} patterns of ranks.")
    alpha = fields.get("lora_alpha", fields.get("alpha"))
    base_name = fields.get("base_model_name_or_path")
    task = fields.get("task_type")
    return AdapterConfig(
        peft_type=plain(peft_type, 60),
        rank=number,
        alpha=_usable(alpha),
        targets=targets,
        parameters=fields.get("target_parameters") or [],
        to_save=fields.get("modules_to_save") or [],
        rank_pattern=pattern,
        base_name=base_name if isinstance(base_name, str) and base_name else None,
        task=task if isinstance(task, str) else None,
        transposed=fields.get("fan_in_fan_out") is True,
        fields=fields,
    )


_UNTRAINED = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
_FEATURES = (
    ("use_dora", "DoRA"),
    ("lora_bias", "biases of its own (lora_bias)"),
    ("alora_invocation_tokens", "activation by tokens (aLoRA)"),
    ("layer_replication", "repeated layers (layer_replication)"),
    ("use_bdlora", "block-diagonal LoRA"),
    ("use_qalora", "QA-LoRA"),
    ("trainable_token_indices", "tokens trained one by one (trainable_token_indices)"),
)
# Heads of classifiers are served with the adapter; other weights that replace the base's are not.
_HEADS = {"classifier", "score"}


def features(adapter: AdapterConfig) -> list[str]:
    """What it does beyond LoRA, in words: an engine that knows only LoRA would leave it out."""
    found = [words for name, words in _FEATURES if adapter.fields.get(name)]
    if adapter.fields.get("bias", "none") != "none":
        found.append("changed biases of the base (bias)")
    start = adapter.fields.get("init_lora_weights")
    if isinstance(start, str) and start.lower() not in _UNTRAINED:
        found.append(f"a start that changes the base (init_lora_weights {plain(start, 40)})")
    whole = [plain(name, 100) for name in adapter.to_save if name not in _HEADS]
    if whole:
        found.append(f"weights saved whole ({', '.join(whole[:10])})")
    return found


def _usable(alpha: Any) -> float | None:
    # A bool is an int to isinstance; events hold neither infinity nor what is no number.
    number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    return alpha if number and abs(alpha) < _MAX_ALPHA else None


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
