"""How a model can be transformed before it is served, and what of it fits here."""

from __future__ import annotations

import msgspec

from backend.application.engine_facts import EngineFacts, EngineFactsTable
from backend.domain.configuration import METHODS
from backend.domain.servable import Imported, Obstacle, obstacle
from backend.domain.servable.vllm import DOCUMENTED_QUANTIZATIONS, RELEASE


class QuantizationOption(msgspec.Struct, rename="camel", frozen=True):
    """A way to store weights in fewer bits; `reason` says why it does not fit here."""

    name: str
    available: bool
    reason: str | None


class OptimizationOption(msgspec.Struct, rename="camel", frozen=True):
    """A way to transform the model before it is served, and the engine that then serves it.

    `quantizations` names the available ones, `methods` tells of all; `note` is for people.
    """

    method: str
    label: str
    available: bool
    reason: str | None
    quantizations: list[str]
    engine: str | None = None
    methods: list[QuantizationOption] = []
    note: str | None = None


def optimizations(
    facts: EngineFactsTable,
    imported: Imported | None,
    base: Imported | None,
    *,
    accelerator: str,
) -> list[OptimizationOption]:
    """What is offered for a model, or for models in general where none is given."""
    there = facts.offered()

    def hindered(engine: str, method: str) -> Obstacle | None:
        if imported is None:
            return None
        return obstacle(imported, base, engine=engine, method=method, offered=there)

    return [
        OptimizationOption("skip", "Serve the model as it is", True, None, []),
        _ctranslate2(hindered("triton", "ctranslate2"), facts.find("triton", accelerator)),
        _vllm(hindered("vllm", "vllm"), facts.find("vllm", accelerator)),
    ]


def _ctranslate2(hindered: Obstacle | None, known: EngineFacts | None) -> OptimizationOption:
    methods = [
        QuantizationOption(name, reason is None, reason)
        for name in METHODS["ctranslate2"]
        for reason in [_words(hindered) or _refusal(known, name)]
    ]
    note = (
        "CTranslate2 has not been installed on this server yet; which of these it can compute is "
        "known after the first conversion."
    )
    return OptimizationOption(
        "ctranslate2",
        "CTranslate2",
        hindered is None,
        _words(hindered),
        [method.name for method in methods if method.available],
        "triton",
        methods,
        note if hindered is None and known is None else None,
    )


def _refusal(known: EngineFacts | None, name: str) -> str | None:
    method = known.quantizations.get(name) if known is not None else None
    return (method.refusal or None) if method is not None else None


def _vllm(hindered: Obstacle | None, known: EngineFacts | None) -> OptimizationOption:
    label = "vLLM quantization"
    if hindered is not None:
        return OptimizationOption("vllm", label, False, _words(hindered), [], "vllm")
    if known is None or not known.quantizations:
        return OptimizationOption(
            "vllm",
            label,
            True,
            None,
            list(DOCUMENTED_QUANTIZATIONS),
            "vllm",
            [QuantizationOption(name, True, None) for name in DOCUMENTED_QUANTIZATIONS],
            f"vLLM has not been installed on this server yet. These are documented for its "
            f"release {RELEASE}; which of them this hardware can do is known after the first "
            "deployment.",
        )
    methods = [
        QuantizationOption(name, not reason, reason or None)
        for name, method in known.quantizations.items()
        for reason in [
            method.refusal
            or ("" if method.on_load else "It is read from models that were quantized with it.")
        ]
    ]
    usable = [method.name for method in methods if method.available]
    reason = None if usable else f"vLLM {known.version} has no quantization for this hardware."
    return OptimizationOption("vllm", label, bool(usable), reason, usable, "vllm", methods)


def _words(hindered: Obstacle | None) -> str | None:
    return f"{hindered.reason} {hindered.remedy}" if hindered else None
