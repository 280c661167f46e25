"""Arguments that an engine refuses whatever its release: known before anything is deployed."""

from __future__ import annotations

from typing import Any

import pytest

from backend.domain.configuration import DeployConfiguration
from backend.domain.engine_options import check_arguments
from backend.domain.errors import Invalid

QUANTIZED = {"optimization": {"method": "vllm", "quantization": "fp8_per_tensor"}}
CONVERTED = {
    "engine": "triton",
    "optimization": {"method": "ctranslate2", "quantization": "int8"},
}


def check(given: dict[str, str], parts: dict[str, Any]) -> None:
    check_arguments(DeployConfiguration.from_dict({"engine_arguments": given, **parts}))


@pytest.mark.parametrize(
    ("given", "parts", "remedy"),
    [
        ({"quantization": "awq"}, QUANTIZED, "'skip'"),
        ({"instances": "0"}, CONVERTED, "from 1 to 16"),
        ({"instances": "99"}, CONVERTED, "from 1 to 16"),
        ({"instances": "many"}, CONVERTED, "whole number"),
    ],
)
def test_what_is_always_refused_is_named(
    given: dict[str, str], parts: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(Invalid) as refused:
        check(given, parts)
    assert refused.value.field == f"engine_arguments.{next(iter(given))}"
    assert remedy in refused.value.remedy


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"quantization": "awq"}, {}),
        ({"seed": "7"}, QUANTIZED),
        ({"instances": "16"}, CONVERTED),
        ({"instances": "99"}, {"engine": "container"}),
    ],
)
def test_the_rest_is_the_engines_to_judge(given: dict[str, str], parts: dict[str, Any]) -> None:
    check(given, parts)
