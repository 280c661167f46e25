"""config.json and generation_config.json, as the Hugging Face libraries write them."""

from __future__ import annotations

from typing import Any

from workers.importing.validation.files import ModelFiles, Unreadable, read_json
from workers.importing.validation.report import Outcome, Report

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

EXPECTED = (
    "Pack one folder that holds config.json, tokenizer.json and the weights as .safetensors files."
)


def check_config(files: ModelFiles, report: Report) -> dict[str, Any] | None:
    """The content of config.json, or None where there is no usable one."""
    title = "config.json is valid"
    hint = "Take config.json from the model's source again."
    if CONFIG not in files.sizes:
        report.add("config", title, Outcome.FAIL, "config.json is missing.", EXPECTED)
        return None
    try:
        config = read_json(files, CONFIG)
    except Unreadable as error:
        report.add("config", title, Outcome.FAIL, str(error), hint)
        return None
    architectures = config.get("architectures")
    named = isinstance(architectures, list) and architectures
    if not named or not all(isinstance(name, str) for name in architectures or []):
        report.add("config", title, Outcome.FAIL, "config.json names no architecture.", hint)
        return None
    if not isinstance(config.get("model_type"), str):
        report.add("config", title, Outcome.FAIL, "config.json names no model_type.", hint)
        return None
    report.add(
        "config",
        title,
        Outcome.PASS,
        f"Architecture {config['architectures'][0]:.100}, type {config['model_type']:.100}.",
    )
    return config


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a config that describes the language model; multimodal models nest it."""
    nested = config.get("text_config")
    return nested if isinstance(nested, dict) else config


def check_generation_config(files: ModelFiles, report: Report) -> None:
    """generation_config.json is optional, but must parse where it is there."""
    name, title = "generation_config.json", "Generation defaults are readable"
    if name not in files.sizes:
        report.add("generation_config", title, Outcome.PASS, f"There is no {name}; none is needed.")
        return
    try:
        settings = read_json(files, name)
    except Unreadable as error:
        report.add(
            "generation_config", title, Outcome.FAIL, str(error), f"Correct {name} or leave it out."
        )
        return
    report.add("generation_config", title, Outcome.PASS, f"{len(settings)} settings in {name}.")
