"""Embedding models in the layout of sentence-transformers: modules.json lists their parts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from workers.importing.names import listed, shown
from workers.importing.validation import transformers
from workers.importing.validation.card import Facts
from workers.importing.validation.config import check_config
from workers.importing.validation.files import (
    ModelFiles,
    Unreadable,
    read_json,
    read_whole,
    whole_number,
)
from workers.importing.validation.layout import TITLE, Layout, Wanted
from workers.importing.validation.parts import Part, is_folder_name
from workers.importing.validation.report import Outcome, Report
from workers.importing.validation.shapes import check_shapes
from workers.importing.validation.tokenizer import check_tokenizer
from workers.importing.validation.weights import check_dtype, check_weights

MODULES = "modules.json"
_SETTINGS = "sentence_bert_config.json"
_PACKAGE = "sentence_transformers."
_MAX_MODULES = 32
_SOURCE = "Take the model's folder from its source again, with all its folders."


def recognises(files: ModelFiles) -> bool:
    """A modules.json at the top."""
    return MODULES in files.sizes


def check(files: ModelFiles, _: Wanted, report: Report) -> Facts | None:
    """The list of modules, the transformer as such, and how its output is pooled."""
    try:
        modules = _modules(files)
    except Unreadable as error:
        report.add("layout", TITLE, Outcome.FAIL, str(error), _SOURCE)
        return None
    report.add(
        "layout", TITLE, Outcome.PASS,
        f"sentence-transformers with {len(modules)} modules: "
        f"{listed((kind for kind, _ in modules), most=6)}.",
    )  # fmt: skip
    folder = modules[0][1]
    part: ModelFiles = Part(files, folder) if folder else files
    config = check_config(part, report)
    weights = check_weights(part, report)
    if config is not None and weights is not None:
        check_shapes(weights, config, report)
        check_dtype(weights, config, report)
    tokenizer = check_tokenizer(part, config, report, chats=False)
    if config is None or weights is None:
        return None
    facts = transformers.facts(config, weights, tokenizer)
    _check_modules(files, modules[1:], facts.hidden_size, report)
    return replace(
        facts,
        task="sentence-similarity",
        context_length=_longest(part) or facts.context_length,
    )


def _modules(files: ModelFiles) -> list[tuple[str, str]]:
    """Each module's class and folder; the first is the transformer. Raises `Unreadable`."""
    listing = _list(files)
    if not isinstance(listing, list) or not 0 < len(listing) <= _MAX_MODULES:
        raise Unreadable(f"{MODULES} does not list the model's modules.")
    modules: list[tuple[str, str]] = []
    for entry in listing:
        kind = entry.get("type") if isinstance(entry, dict) else None
        folder = entry.get("path") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or not (folder == "" or is_folder_name(folder)):
            raise Unreadable(f"{MODULES} describes a module without a class or a folder.")
        if not kind.startswith(_PACKAGE):
            raise Unreadable(
                f"{MODULES} names the class {shown(kind)}, which is the model's own code."
            )
        modules.append((kind.rsplit(".", 1)[-1], str(folder)))
    if modules[0][0] != "Transformer":
        raise Unreadable(f"The first module is {shown(modules[0][0])}; readable is 'Transformer'.")
    return modules


def _list(files: ModelFiles) -> Any:
    try:
        return json.loads(read_whole(files, MODULES, limit=1 << 20))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{MODULES} is not valid JSON: {error}.") from None


def _check_modules(
    files: ModelFiles, modules: list[tuple[str, str]], width: int | None, report: Report
) -> None:
    """Each module behind the transformer takes what the one before it gives."""
    title = "Modules fit together"
    for kind, folder in modules:
        part = Part(files, folder)
        if kind == "Normalize":
            continue  # has no files
        try:
            config = read_json(part, "config.json") if "config.json" in part.sizes else None
        except Unreadable as error:
            report.add("modules", title, Outcome.FAIL, f"{folder}: {error}", _SOURCE)
            return
        if config is None:
            report.add(
                "modules", title, Outcome.FAIL,
                f"The module {kind:.60} has no config.json in {shown(folder)}.", _SOURCE,
            )  # fmt: skip
            return
        taken = whole_number(
            config.get("word_embedding_dimension", config.get("embedding_dimension"))
            if kind == "Pooling" else config.get("in_features")
        )  # fmt: skip
        if taken is not None and width is not None and taken != width:
            report.add(
                "modules", title, Outcome.FAIL,
                f"{shown(folder)} takes vectors of {taken} numbers; what comes before it gives "
                f"{width}.",
                "Weights and modules belong to different models; take both from one source.",
            )  # fmt: skip
            return
        if kind == "Dense":
            scratch = Report()
            if check_weights(part, scratch) is None:
                failure = scratch.failures[0]
                report.add(
                    "modules", title, Outcome.FAIL, f"{folder}: {failure.evidence}", failure.hint
                )
                return
            width = whole_number(config.get("out_features"))
    report.add(
        "modules", title, Outcome.PASS,
        f"The result has {width} numbers." if width else "The size of the result is not given.",
    )  # fmt: skip


def _longest(part: ModelFiles) -> int | None:
    """How many tokens the model takes by its own settings."""
    try:
        settings = read_json(part, _SETTINGS) if _SETTINGS in part.sizes else {}
    except Unreadable:
        return None
    return whole_number(settings.get("max_seq_length"))


LAYOUT = Layout(
    "sentence-transformers",
    "sentence-transformers",
    "modules.json beside a transformers model",
    recognises,
    check,
)
