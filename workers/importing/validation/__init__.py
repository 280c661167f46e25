"""Validation: reads a stored model's files, never runs anything of them, and reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workers.importing.validation.card import check_readme, model_card
from workers.importing.validation.files import ModelFiles
from workers.importing.validation.layout import (
    check_config,
    check_generation_config,
    check_layout,
)
from workers.importing.validation.report import Check, Report
from workers.importing.validation.safety import (
    check_custom_code,
    check_other_files,
    check_unsafe_files,
)
from workers.importing.validation.shapes import check_shapes
from workers.importing.validation.tokenizer import check_tokenizer
from workers.importing.validation.weights import check_dtype, check_weights

# How many checks a sound model goes through; what progress counts to.
CHECKS = 14


@dataclass(frozen=True)
class Validation:
    """The report, and the card where every check passed or warned."""

    report: Report
    card: dict[str, Any] | None


def validate(
    files: ModelFiles,
    *,
    leftovers: list[str] | None = None,
    on_check: Callable[[Check], None] | None = None,
) -> Validation:
    """Runs every check that what came before it leaves possible."""
    report = Report(on_check=on_check)
    check_layout(files, report)
    check_unsafe_files(files, report)
    config = check_config(files, report)
    weights = check_weights(files, report)
    if config is not None and weights is not None:
        check_shapes(weights, config, report)
        check_dtype(weights, config, report)
    tokenizer = check_tokenizer(files, config, report)
    check_generation_config(files, report)
    check_custom_code(files, config, report)
    check_other_files(files, leftovers or [], report)
    readme = check_readme(files, report)
    if report.failures or config is None or weights is None:
        return Validation(report, None)
    return Validation(report, model_card(files, config, weights, tokenizer, readme))
