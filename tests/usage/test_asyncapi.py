"""The description of the topics is what the code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import yaml
from jsonschema import Draft202012Validator

from backend.contracts.codec import encode
from backend.contracts.usage import headers_of
from backend.infra import kafka
from backend.infra.settings import Settings
from backend.infra.telemetry import Telemetry
from tests.builders.histories import History
from tests.usage.records import record

DESCRIPTION = Path(__file__).resolve().parents[2] / "docs" / "asyncapi.yaml"


def description() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(DESCRIPTION.read_text())
    return found


def check(schema: dict[str, Any], value: Any) -> None:
    Draft202012Validator(schema).validate(value)
    assert set(value) <= set(schema["properties"])


def test_every_topic_is_described() -> None:
    described = {each["address"] for each in description()["channels"].values()}
    assert described == {each.name for each in kafka.topics(Settings(_env_file=None))}


def test_every_reference_leads_somewhere() -> None:
    document = description()

    def follow(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                place: Any = document
                for part in value["$ref"].removeprefix("#/").split("/"):
                    place = place[part]
            for each in value.values():
                follow(each)
        elif isinstance(value, list):
            for each in value:
                follow(each)

    follow(document)


def test_records_are_as_they_are_described() -> None:
    messages = description()["components"]["messages"]
    for event in History(seed=3).public(100):
        headers = {name: value.decode() for name, value in encode(event)[1]}
        check(messages["event"]["headers"], headers)
    told = {name: value.decode() for name, value in headers_of(record("a", 1))}
    check(messages["requestAnswered"]["headers"], told)
    reading = msgspec.to_builtins(Telemetry(uuid4(), kind="log", step="engine"))
    check(messages["reading"]["payload"], reading)
