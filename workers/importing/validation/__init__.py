"""Validation: reads a stored model's files, never runs anything of them, and reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workers.importing.validation import (
    adapters,
    ctranslate2,
    diffusers,
    gguf,
    ollama,
    onnx,
    sentence_transformers,
    single,
    transformers,
    triton,
)
from workers.importing.validation.card import check_readme, model_card
from workers.importing.validation.custom_code import check_custom_code
from workers.importing.validation.deploy_configuration import check_deploy_configuration
from workers.importing.validation.files import ModelFiles
from workers.importing.validation.layout import BaseModelFacts, Layout, Wanted, recognise
from workers.importing.validation.other_files import check_other_files
from workers.importing.validation.pickles import check_pickles
from workers.importing.validation.report import Check, Report

# How many checks a sound transformers model goes through; what progress counts to.
CHECKS = 14
# The first one that recognises the files has them: the more special stand before the more general.
LAYOUTS: tuple[Layout, ...] = (
    adapters.LAYOUT,
    triton.LAYOUT,
    diffusers.LAYOUT,
    sentence_transformers.LAYOUT,
    ctranslate2.LAYOUT,
    ollama.LAYOUT,
    gguf.LAYOUT,
    onnx.LAYOUT,
    transformers.LAYOUT,
    single.LAYOUT,
)


@dataclass(frozen=True)
class Validation:
    """The report, and the card where every check passed or warned."""

    report: Report
    card: dict[str, Any] | None


def validate(
    files: ModelFiles,
    *,
    kind: str = "base",
    base: BaseModelFacts | None = None,
    accepted_risks: frozenset[str] = frozenset(),
    origin: Mapping[str, Any] | None = None,
    leftovers: list[str] | None = None,
    on_check: Callable[[Check], None] | None = None,
) -> Validation:
    """Runs every check that what came before it leaves possible."""
    report = Report(on_check=on_check)
    wanted = Wanted(kind, base, accepted_risks, origin or {})
    layout = recognise(files, LAYOUTS, report)
    if layout is not None and kind == "adapter" and layout is not adapters.LAYOUT:
        adapters.refuse(layout, report)
    facts = layout.check(files, wanted, report) if layout else None
    check_pickles(files, layout, accepted_risks, report)
    custom_code = check_custom_code(files, accepted_risks, report)
    check_other_files(files, layout, leftovers or [], report)
    configuration = check_deploy_configuration(files, report)
    readme = check_readme(files, report)
    if report.failures or layout is None or facts is None:
        return Validation(report, None)
    card = model_card(files, layout.format, facts, readme, custom_code)
    return Validation(report, {**card, "deploy_configuration": configuration})
