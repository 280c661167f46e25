"""The `deployconfig.json` of an export: what counts is used, and what does not is named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.domain.configuration import DeployConfiguration
from tests.builders.models import tiny_llama
from tests.importing.memory import MemoryFiles
from workers.importing.validation import Validation, validate
from workers.importing.validation.report import Check


def imported(content: bytes) -> tuple[Check, Any]:
    result: Validation = validate(MemoryFiles({**tiny_llama(), "deployconfig.json": content}))
    assert result.card is not None, "it never speaks against the model"
    (check,) = (c for c in result.report.checks if c.id == "deploy_configuration")
    text = result.card["deploy_configuration"]
    return check, text and json.loads(text)


def test_a_model_without_one_has_no_such_check() -> None:
    result = validate(MemoryFiles(tiny_llama()))
    assert "deploy_configuration" not in [check.id for check in result.report.checks]
    assert result.card is not None
    assert result.card["deploy_configuration"] is None


def test_what_is_known_is_kept_and_what_is_left_out_has_its_default() -> None:
    check, found = imported(
        json.dumps(
            {
                "schemaVersion": 1,
                "parameters": {"topP": 0.5, "max_tokens": 7},
                "engineArguments": {"max_model_len": "64"},
            }
        ).encode()
    )
    assert check.outcome == "pass"
    assert found["parameters"]["topP"] == 0.5
    assert found["parameters"]["maxTokens"] == 7
    assert found["engineArguments"] == {"max_model_len": "64"}
    assert found["scaling"]["maxReplicas"] == DeployConfiguration().scaling.max_replicas


def test_unknown_fields_are_named_at_any_depth() -> None:
    check, found = imported(
        b'{"colour": 1, "scaling": {"min_replicas": 2, "max_replicas": 3, "x": 1}}'
    )
    assert check.outcome == "warn"
    assert "colour" in check.evidence
    assert "scaling.x" in check.evidence
    assert found["scaling"]["minReplicas"] == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "does not hold a JSON object"),
        (b'{"parameters": {"temperature": 9}}', "parameters.temperature"),
        (b'{"parameters": {"temperature": "hot"}}', "parameters.temperature"),
        (b'{"parameters": 3}', "parameters"),
        (b'{"engine": "steam"}', "'steam' is not available"),
        (b'{"schemaVersion": 2}', "not known to this Loggia"),
        (b'{"parameters": {"stop": [1]}}', "parameters.stop"),
        (b'{"a":' * 12_000, "too deeply"),
        (b'{"parameters": {"stop": ["\\ud800"]}}', "parameters.stop"),
        (b'{"parameters": {"stop": ["\\u0000"]}}', "parameters.stop"),
        (b'{"parameters": {"temperature": NaN}}', "parameters.temperature"),
        (b" " * 70_000, "70000 bytes"),
    ],
)
def test_one_that_cannot_be_used_is_a_warning(content: bytes, said: str) -> None:
    check, found = imported(content)
    assert check.outcome == "warn"
    assert check.evidence.startswith("deployconfig.json is not used: ")
    assert said in check.evidence
    assert check.hint
    assert found is None
