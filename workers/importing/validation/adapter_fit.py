"""Would this adapter change the chosen base, and only in places that are there?"""

from __future__ import annotations

import json
from collections import Counter
from math import prod

from workers.importing.names import listed, shown
from workers.importing.safetensors_header import Header, Tensor
from workers.importing.validation.adapter_config import CONFIG, AdapterConfig
from workers.importing.validation.adapter_keys import (
    PREFIX,
    BaseModules,
    Matching,
    match,
    rank,
    shape_fault,
)
from workers.importing.validation.layout import BaseModelFacts
from workers.importing.validation.report import Outcome, Report, plain
from workers.importing.validation.sandbox import ParserFailed, parse

OTHER_BASE = "Choose the base model that the adapter was trained on."
_SOURCE = "Take the adapter's files from where it was trained again."
_ALL_LINEAR = "all-linear"
_KEYS = "Every tensor belongs to a weight of the base"
# GPT-2 stores its linear weights with the inputs first.
_TRANSPOSED_TYPES = {"gpt2", "gpt_bigcode", "openai-gpt", "imagegpt"}


def check_modules(
    adapter: AdapterConfig, header: Header, base: BaseModelFacts, report: Report
) -> list[str]:
    """Keys, targets, ranks and shapes; returns the last names of the modules that are adapted."""
    if not base.tensors:
        report.add(
            "adapter_keys", _KEYS, Outcome.WARN,
            f"Not checked: {shown(base.name)} has no safetensors weights to compare with.",
            "Deploy the adapter and compare its answers with those of its base.",
        )  # fmt: skip
        return sorted(adapter.targets) if isinstance(adapter.targets, list) else []
    modules = BaseModules(base.tensors)
    matching = match(header.tensors, modules, adapter.to_save)
    _check_keys(header, matching, base, report)
    targets = sorted({name.rpartition(".")[2] for name in matching.parts})
    if matching.nothing:
        return targets
    try:
        found = _patterns(adapter, modules.names)
    except ParserFailed as error:
        report.add(
            "adapter_targets", "Target modules exist in the base", Outcome.FAIL,
            f"A pattern in {CONFIG} cannot be used: {error}.", _SOURCE,
        )  # fmt: skip
        return targets
    _check_targets(adapter, modules, matching, found["targets"], base, report)
    _check_shapes(adapter, modules, matching, found["ranks"], base, report)
    return targets


def _check_keys(header: Header, matching: Matching, base: BaseModelFacts, report: Report) -> None:
    title = _KEYS
    if matching.nothing:
        report.add(
            "adapter_keys", title, Outcome.FAIL,
            f"None of the {len(header.tensors)} tensors belongs to a weight of {shown(base.name)}, "
            f"for example {shown(next(iter(header.tensors)))}. Served, the adapter would change "
            "nothing and answer as its base does.",
            OTHER_BASE,
        )  # fmt: skip
    elif matching.unmatched:
        report.add(
            "adapter_keys", title, Outcome.FAIL,
            f"{len(matching.unmatched)} of {len(header.tensors)} tensors belong to no weight of "
            f"{shown(base.name)}: {listed(matching.unmatched)}. They would be ignored.",
            OTHER_BASE,
        )  # fmt: skip
    elif matching.without_prefix:
        report.add(
            "adapter_keys", title, Outcome.WARN,
            f"{len(matching.without_prefix)} tensors are not named as PEFT names them "
            f"('{PREFIX}...'): {listed(matching.without_prefix)}. PEFT would ignore them.",
            "Save the adapter with peft's save_pretrained.",
        )  # fmt: skip
    else:
        report.add(
            "adapter_keys", title, Outcome.PASS,
            f"{len(header.tensors)} tensors for {len(matching.parts)} modules of "
            f"{shown(base.name)}"
            + (f", {len(matching.saved)} replace weights." if matching.saved else "."),
        )  # fmt: skip


def _patterns(adapter: AdapterConfig, names: list[str]) -> dict[str, list[int]]:
    """Which modules the patterns in the config mean, by their place in `names`.

    The patterns are the author's and may take for ever, so a child process matches them. Raises
    `ParserFailed`.
    """
    target = adapter.targets if isinstance(adapter.targets, str) else None
    if target is not None and target.lower() == _ALL_LINEAR:
        target = None
    if target is None and not adapter.rank_pattern:
        return {"targets": [], "ranks": []}
    asked = {"target": target, "ranks": list(adapter.rank_pattern), "names": names}
    return parse("patterns", json.dumps(asked).encode())


def _check_targets(
    adapter: AdapterConfig,
    modules: BaseModules,
    matching: Matching,
    found: list[int],
    base: BaseModelFacts,
    report: Report,
) -> None:
    title = "Target modules exist in the base"
    if isinstance(adapter.targets, list):
        ends = tuple(adapter.targets)
        missing = [
            end
            for end in ends
            if modules.resolve(end) is None
            and not any(name.endswith(f".{end}") for name in modules.names)
        ]
        if missing:
            every = len(missing) == len(ends)
            report.add(
                "adapter_targets", title, Outcome.FAIL if every else Outcome.WARN,
                f"{shown(base.name)} has no modules named {listed(missing)}.", OTHER_BASE,
            )  # fmt: skip
            return
        aimed = {name for name in modules.names if name.endswith(ends)}
    elif adapter.targets is not None and adapter.targets.lower() != _ALL_LINEAR:
        aimed = {modules.names[at] for at in found}
        if not aimed:
            report.add(
                "adapter_targets", title, Outcome.FAIL,
                f"The pattern {shown(adapter.targets)} fits no module of {shown(base.name)}.",
                OTHER_BASE,
            )  # fmt: skip
            return
    else:
        aimed = set(matching.parts)
    beside = [name for name in matching.parts if name not in aimed]
    if beside and not adapter.parameters and adapter.fields.get("trainable_token_indices") is None:
        report.add(
            "adapter_targets", title, Outcome.WARN,
            f"The adapter has tensors for {listed(beside)}, which target_modules do not name; "
            "PEFT would ignore them.",
            f"Correct target_modules in {CONFIG}.",
        )  # fmt: skip
        return
    kinds = Counter(name.rpartition(".")[2] for name in matching.parts)
    report.add(
        "adapter_targets", title, Outcome.PASS,
        ", ".join(f"{count} x {plain(name, 60)}" for name, count in kinds.most_common(12))
        or "No modules are adapted, only replaced.",
    )  # fmt: skip


def _check_shapes(
    adapter: AdapterConfig,
    modules: BaseModules,
    matching: Matching,
    patterns: list[int],
    base: BaseModelFacts,
    report: Report,
) -> None:
    title = "Ranks and shapes fit the base"
    transposed = adapter.transposed or base.card.get("model_type") in _TRANSPOSED_TYPES
    by_pattern = list(adapter.rank_pattern.values())
    ranks = {
        name: by_pattern[place]
        for name, place in zip(modules.names, patterns, strict=False)
        if place >= 0
    }
    unchecked = 0
    fault = _saved_fault(matching, modules)
    for name, parts in matching.parts.items():
        weight = modules.weight(name)
        unchecked += weight is None
        fault = fault or shape_fault(name, parts, weight, transposed=transposed)
        found, promised = rank(parts), ranks.get(name, adapter.rank)
        checked = adapter.peft_type == "LORA" and weight is not None and len(weight.shape) != 3
        if not fault and checked and found is not None and found != promised:
            fault = f"{shown(name)} has rank {found}; {CONFIG} promises {promised}"
    if fault:
        report.add("adapter_shapes", title, Outcome.FAIL, f"{fault}.", OTHER_BASE)
    elif unchecked:
        report.add(
            "adapter_shapes", title, Outcome.WARN,
            f"Not checked for {unchecked} of {len(matching.parts)} modules: the base's weights "
            "are packed or not single matrices.",
            "Deploy the adapter to see whether its engine accepts it.",
        )  # fmt: skip
    elif grown := _grown(matching, modules):
        report.add("adapter_shapes", title, Outcome.WARN, grown, "Not every engine serves that.")
    else:
        report.add(
            "adapter_shapes", title, Outcome.PASS,
            f"{len(matching.parts)} modules checked against the base's weights.",
        )  # fmt: skip


def _saved_fault(matching: Matching, modules: BaseModules) -> str:
    """Why a tensor cannot replace the base's, or an empty text. More rows are new tokens."""
    for saved in matching.saved:
        weight = modules.tensor(saved.name)
        if weight is None or weight.shape == saved.tensor.shape:
            continue
        more = saved.tensor.shape[:1] > weight.shape[:1]
        if not (by_token(saved.name) and more and saved.tensor.shape[1:] == weight.shape[1:]):
            return (
                f"{shown(saved.key)} has {list(saved.tensor.shape)} and cannot replace the base's "
                f"{list(weight.shape)}"
            )
    return ""


def _grown(matching: Matching, modules: BaseModules) -> str:
    for saved in matching.saved:
        weight = modules.tensor(saved.name)
        if weight is not None and weight.shape != saved.tensor.shape:
            return (
                f"{shown(saved.key)} has {saved.tensor.shape[0]} rows, the base "
                f"{weight.shape[0]}: the adapter enlarges the vocabulary."
            )
        if weight is None:
            return f"{shown(saved.key)} is a new head that the base does not have."
    return ""


def by_token(name: str) -> bool:
    """Whether a tensor has a row for each token."""
    return name.endswith(("embed_tokens.weight", "lm_head.weight", "wte.weight", "embed_in.weight"))


def check_prompt(header: Header, base: BaseModelFacts, report: Report) -> None:
    """A prompt in place of adapted modules: it must be as wide as the base."""
    title = "Ranks and shapes fit the base"
    width = base.card.get("hidden_size")
    tensor: Tensor | None = header.tensors.get("prompt_embeddings")
    if tensor is None or len(tensor.shape) != 2 or not prod(tensor.shape):
        fault = "There are no prompt_embeddings with two dimensions"
    elif width and tensor.shape[1] % width:
        fault = f"The prompt is {tensor.shape[1]} wide; the base is {width}"
    else:
        report.add(
            "adapter_shapes", title, Outcome.PASS, f"A prompt of {tensor.shape[0]} positions."
        )
        return
    report.add("adapter_shapes", title, Outcome.FAIL, f"{fault}.", OTHER_BASE)
