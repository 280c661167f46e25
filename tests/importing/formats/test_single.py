"""One safetensors file alone: only its metadata can say what it is."""

from __future__ import annotations

import json

from safetensors.numpy import save

from tests.builders.models import config, tensors
from tests.importing.memory import MemoryFiles
from workers.importing.validation import validate


def test_metadata_that_hold_a_config_make_a_card() -> None:
    data = save(tensors(), metadata={"config": json.dumps(config())})
    result = validate(MemoryFiles({"tiny.safetensors": data}))
    assert result.report.failures == []
    assert result.card is not None
    assert result.card["format"] == "safetensors"
    assert result.card["architecture"] == "LlamaForCausalLM"
    assert result.card["parameter_count"] == 361_088
    assert result.card["layers"] == 2
    layout = result.report.checks[0]
    assert (layout.id, layout.outcome) == ("layout", "warn")


def test_metadata_by_the_modelspec_convention_make_a_card() -> None:
    metadata = {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}
    data = save(tensors(), metadata={**metadata, "modelspec.license": "mit"})
    card = validate(MemoryFiles({"tiny.safetensors": data})).card
    assert card is not None
    assert card["architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert card["license"] == "mit"


def test_weights_that_nothing_describes_are_refused() -> None:
    for metadata in (
        None,
        {"config": "{"},
        {"config": "[" * 9999},
        {"config": '{"architectures": 3}'},
    ):
        result = validate(MemoryFiles({"m.safetensors": save(tensors(), metadata=metadata)}))
        assert result.card is None
        assert result.report.failures[0].evidence == (
            "config.json is missing, and the metadata of 'm.safetensors' names no architecture."
        )
