"""The published schema and the domain's own checks are one set of rules; one document, one text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from backend.domain import configuration as values
from backend.domain.configuration import DeployConfiguration, completed
from backend.domain.configuration_document import read, schema, text_of, wire_of
from backend.domain.errors import Invalid
from backend.domain.servable import ENGINES

SCHEMA = schema()
VALIDATOR = Draft202012Validator(SCHEMA)
JSON = dict[str, Any]

# Mostly what is allowed, and what lies just beside it.
_numbers = st.one_of(
    st.sampled_from(
        [-2, -1, 0, 0.01, 0.5, 1, 1.0, 1.5, 2, 2.1, 8, 64, 65, 256, 4096, 4097, 86_400]
    ),
    st.sampled_from([86_401, 1_000_000, 1_000_001, 1_048_576, 1_048_577]),
    st.integers(-5, 2_000_000),
    st.floats(allow_nan=False, allow_infinity=False),
)
_texts = st.one_of(
    st.text(max_size=70),
    st.text(alphabet=st.sampled_from("az09_-.A\n \u2028\x7f"), max_size=4),
    st.sampled_from(["local", "x" * 64, "x" * 65, "fp8", "", "seed\n", "größe", "\x00"]),
)
_anything = st.one_of(st.none(), st.booleans(), _numbers, _texts, st.lists(_texts, max_size=5))


def _objects(known: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    good = st.fixed_dictionaries({}, optional=known)
    odd = st.dictionaries(st.sampled_from([*known, "colour"]), _anything, max_size=3)
    return st.one_of(good, good, good, odd, _anything)


_documents = _objects(
    {
        "schemaVersion": st.sampled_from([1, 1, 1, 1.0, 2, True, "1"]),
        "engine": st.sampled_from([*ENGINES, "magic"]),
        "optimization": _objects(
            {
                "method": st.sampled_from([*values.METHODS, "magic"]),
                "quantization": st.one_of(
                    st.none(), st.sampled_from(["int8", "bfloat16", "fp8", "awq"]), _texts
                ),
            }
        ),
        "parameters": _objects(
            {
                **dict.fromkeys(["temperature", "maxTokens", "topP", "topK"], _numbers),
                "batchSize": _numbers,
                "stop": st.lists(_texts, max_size=5),
            }
        ),
        "scaling": _objects(
            dict.fromkeys(["minReplicas", "maxReplicas", "scaleUpDelaySeconds"], _numbers)
            | {"scaleDownDelaySeconds": _numbers}
        ),
        "hardware": _objects(
            {
                "server": _texts,
                "accelerator": st.sampled_from([*values.ACCELERATORS, "tpu"]),
                "acceleratorCount": st.sampled_from([0, 0.0, 1, 2, 64, 65]),
                "memoryGib": _numbers,
                "gpuSharing": st.sampled_from([*values.GPU_SHARING, "time"]),
            }
        ),
        "engineArguments": _objects(
            {"seed": _texts, "max_model_len": st.just("256"), "A": _texts, "a\n": st.just("1")}
        ),
    }
)


def _accepted_by_the_domain(document: Any) -> Invalid | None:
    if not isinstance(document, dict):
        return Invalid("no object", remedy="")
    known, unknown = read(document)
    try:
        DeployConfiguration.from_dict(known | dict.fromkeys(unknown))
    except Invalid as refusal:
        return refusal
    return None


@settings(max_examples=500)
@given(_documents)
@example({"optimization": {"method": "ctranslate2", "quantization": "int8"}, "engine": "triton"})
@example({"optimization": {"method": "ctranslate2"}})
@example({"optimization": {"method": "vllm", "quantization": "fp8"}})
@example({"optimization": {"method": "vllm"}})
@example({"hardware": {"accelerator": "gpu"}})
@example({"engineArguments": {"a\n": "1"}})
@example({"parameters": {"topK": 0}})
@example({"parameters": {"maxTokens": True}})
def test_the_schema_accepts_what_the_domain_accepts(document: Any) -> None:
    refusal = _accepted_by_the_domain(document)
    errors = [error.message for error in VALIDATOR.iter_errors(document)]
    if refusal is not None and "more than the maximum" in refusal.detail:
        return  # the one rule between two numbers, which the schema only describes
    assert (refusal is None) == (not errors), (refusal and refusal.detail, errors)


def test_the_schema_is_a_schema_that_describes_every_field() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    whole = wire_of(DeployConfiguration().to_dict())
    assert set(SCHEMA["properties"]) == set(whole)
    for part in values.PARTS:
        assert set(SCHEMA["properties"][part]["properties"]) == set(whole[part])
    assert not list(VALIDATOR.iter_errors(whole))


@given(_documents)
def test_one_configuration_is_one_text(document: Any) -> None:
    if _accepted_by_the_domain(document) is not None:
        return
    configuration = DeployConfiguration.from_dict(read(document)[0])
    text = text_of(configuration.to_dict())
    known, unknown = read(json.loads(text))
    assert not unknown
    again = DeployConfiguration.from_dict(known)
    assert again == configuration
    assert text_of(again.to_dict()) == text


def test_however_it_is_written_the_text_is_the_same() -> None:
    one = {"hardware": {"memory_gib": 4}, "engine_arguments": {"b": "2", "a": "1"}}
    other = {"engineArguments": {"a": "1", "b": "2"}, "hardware": {"memoryGib": 4.0}}
    texts = {text_of(DeployConfiguration.from_dict(read(d)[0]).to_dict()) for d in (one, other)}
    assert len(texts) == 1
    assert '"memoryGib": 4,\n' in texts.pop()


@pytest.mark.parametrize("told", [{}, {"gpu_sharing": ""}])
def test_what_events_lack_that_are_older_than_a_field_has_its_default(told: JSON) -> None:
    whole = DeployConfiguration().to_dict()
    hardware = {name: value for name, value in whole["hardware"].items() if name != "gpu_sharing"}
    old = {**whole, "hardware": {**hardware, **told}}
    assert completed(old) == whole
    assert text_of(old) == text_of(whole)
    assert not list(VALIDATOR.iter_errors(json.loads(text_of(old))))


@pytest.mark.parametrize(
    ("document", "unknown"),
    [
        ({"colour": 1, "parameters": {"heat": 2, "topK": 3}}, ["colour", "parameters.heat"]),
        ({"engineArguments": {"anything": "1"}}, []),
    ],
)
def test_unknown_fields_are_named(document: JSON, unknown: list[str]) -> None:
    assert read(document)[1] == unknown
