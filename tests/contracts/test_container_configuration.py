"""The configuration file of container image models: what is accepted, and what people are told."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from backend.contracts.container_configuration import (
    check_configuration,
    check_parameter_schema,
    schema_text,
)

SOUND: dict[str, Any] = {
    "schemaVersion": 1,
    "port": 8080,
    "mode": "stream",
    "health": {"path": "/health", "port": 8081, "initialDelaySeconds": 30},
    "apis": [
        {
            "path": "/v1/predict",
            "method": "POST",
            "request": {
                "contentType": "application/json",
                "schema": {"type": "object", "properties": {"text": {"type": "string"}}},
            },
            "response": {"schema": {"type": "array"}},
        }
    ],
    "environment": [{"name": "TOKEN", "required": True, "secret": True}],
    "resources": {"cpu": 2, "memoryGib": 8, "gpu": 1, "gpuMemoryGib": 24},
}


def changed(**fields: Any) -> str:
    return json.dumps({**SOUND, **fields})


def test_the_published_schema_is_a_schema_and_documents_every_field() -> None:
    schema = json.loads(schema_text())
    Draft202012Validator.check_schema(schema)

    def fields(part: Any) -> None:
        for name, each in part.get("properties", {}).items():
            assert each.get("description"), name
            fields(each)

    fields(schema)
    for part in schema["$defs"].values():
        fields(part)


def test_a_sound_configuration_is_accepted_with_its_ports() -> None:
    checked = check_configuration(json.dumps(SOUND))
    assert checked.problems == []
    assert checked.ports == [8080, 8081]


@pytest.mark.parametrize(
    ("text", "path", "message", "remedy"),
    [
        (changed(health={}), "/health", "'path' is missing.", "Add 'path'."),
        (changed(prot="http"), "", "'prot' is not known here.", "Did you mean 'port'?"),
        (changed(port="8080"), "/port", "'port' is a string, not an integer.", "an integer"),
        (changed(port=0), "/port", "too small", "1 or more"),
        (changed(port=70000), "/port", "too large", "65535 or less"),
        (changed(mode="streams"), "/mode", '"streams"', 'Did you mean "stream"?'),
        (changed(schemaVersion=2), "/schemaVersion", "is 2", "Write 1."),
        (changed(apis=[]), "/apis", "too few", "1 or more"),
        (changed(apis=[{"path": "v1"}]), "/apis/0/path", '"v1"', "Begin the path with '/'"),
        (
            changed(apis=[{"path": "/a", "request": {"schema": {"type": "objekt"}}}]),
            "/apis/0/request/schema/type",
            "objekt",
            "",
        ),
        (changed(environment=[{"name": "1A"}]), "/environment/0/name", "1A", "digits"),
        (
            changed(environment=[{"name": "A", "secret": True, "default": "x"}]),
            "/environment/0/default",
            "not allowed for a secret",
            "when the model is deployed",
        ),
        (changed(environment=[{"name": "A"}] * 2), "/environment/1/name", "twice", "Keep one"),
        (changed(apis=[{"path": "/a"}, {"path": "/a"}]), "/apis/1/path", "twice", "Keep one"),
        ("[]", "", "is an array, not an object", "an object"),
        ('{"port": 1, "port": 2}', "", "'port' stands twice", "Correct"),
        ('{"port": NaN}', "", "NaN is no number", "Correct"),
        ("[" * 10_000, "", "10000 levels deep", "flatter"),
        (json.dumps({"a": "x" * 300_000}), "", "larger than 256 KiB", "Leave out"),
    ],
)
def test_each_fault_names_its_place_and_its_remedy(
    text: str, path: str, message: str, remedy: str
) -> None:
    problems = check_configuration(text).problems
    found = [p for p in problems if p.path == path and message in p.message]
    assert found, problems
    assert remedy in found[0].remedy


def test_a_fault_of_the_text_has_its_line_and_column() -> None:
    (problem,) = check_configuration('{\n  "port": 80,\n  oops\n}').problems
    assert (problem.line, problem.column) == (3, 3)


def test_parameters_are_json_schemas() -> None:
    assert check_parameter_schema('{"type": "object"}', "The input schema").problems == []
    (problem,) = check_parameter_schema('{"type": 7}', "The input schema").problems
    assert problem.path == "/type"
    (problem,) = check_parameter_schema("true", "The input schema").problems
    assert "no JSON object" in problem.message


def test_the_documented_example_is_valid() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs/importing.md").read_text()
    section = text.partition("### The configuration file")[2]
    example = re.search(r"```json\n(.*?)```", section, re.DOTALL)
    assert example is not None
    assert check_configuration(example[1]).problems == []
