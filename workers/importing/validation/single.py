"""One safetensors file without a config: what its header and its metadata tell."""

from __future__ import annotations

import json
from typing import Any

from workers.importing.names import shown
from workers.importing.safetensors_header import read_header
from workers.importing.validation.card import Facts, first_number
from workers.importing.validation.config import CONFIG, EXPECTED, text_config
from workers.importing.validation.files import ModelFiles
from workers.importing.validation.layout import TITLE, Layout, Wanted
from workers.importing.validation.report import Outcome, Report, plain
from workers.importing.validation.weights import check_weights

# Metadata that tools write into the header: a whole config as JSON, or the keys of the Stability
# 'modelspec' convention (its specification lists them).
_CONFIG_KEYS = ("config", "model_config")
_ARCHITECTURE = "modelspec.architecture"
_LICENSE = "modelspec.license"
_DESCRIPTION = "modelspec.description"


def recognises(files: ModelFiles) -> bool:
    """Safetensors at the top, but no config."""
    top = [path for path in files.sizes if "/" not in path]
    return "adapter_config.json" not in top and any(path.endswith(".safetensors") for path in top)


def check(files: ModelFiles, _: Wanted, report: Report) -> Facts | None:
    """The weights, and whether anything says what they are."""
    names = [path for path in files.sizes if path.endswith(".safetensors")]
    report.add(
        "layout", TITLE, Outcome.WARN, f"Weights alone ({shown(names[0])}), without a {CONFIG}.",
        f"No engine can serve weights alone. {EXPECTED}",
    )  # fmt: skip
    weights = check_weights(files, report)
    if weights is None:
        return None
    with files.open(names[0]) as source:
        metadata = read_header(source, files.sizes[names[0]], names[0]).metadata
    config = _config(metadata)
    architecture = _architecture(config) or metadata.get(_ARCHITECTURE)
    title = "The architecture is known"
    if not architecture:
        report.add(
            "config", title, Outcome.FAIL,
            f"{CONFIG} is missing, and the metadata of {shown(names[0])} names no architecture.",
            EXPECTED,
        )  # fmt: skip
        return None
    report.add(
        "config",
        title,
        Outcome.PASS,
        f"The metadata of {shown(names[0])} names {architecture:.100}.",
    )
    text = text_config(config)
    model_type = config.get("model_type")
    return Facts(
        architecture=plain(architecture, 200),
        model_type=plain(model_type, 200) if isinstance(model_type, str) else None,
        parameter_count=weights.parameter_count,
        dtype=weights.dtype,
        context_length=first_number(text, "max_position_embeddings", "n_positions"),
        vocabulary_size=first_number(text, "vocab_size"),
        hidden_size=first_number(text, "hidden_size", "n_embd", "d_model"),
        layers=first_number(text, "num_hidden_layers", "n_layer", "num_layers"),
        weight_format="safetensors",
        license=plain(metadata[_LICENSE], 200) if metadata.get(_LICENSE) else None,
        summary=plain(metadata.get(_DESCRIPTION, "")),
    )


def _config(metadata: dict[str, str]) -> dict[str, Any]:
    for key in _CONFIG_KEYS:
        try:
            value = json.loads(metadata.get(key, ""))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return {}


def _architecture(config: dict[str, Any]) -> str | None:
    names = config.get("architectures")
    first = names[0] if isinstance(names, list) and names else None
    return first if isinstance(first, str) else None


LAYOUT = Layout(
    "safetensors",
    "one safetensors file",
    "*.safetensors whose metadata names the architecture",
    recognises,
    check,
)
