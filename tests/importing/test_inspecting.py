"""Container images and described models. The registry here is a test registry of our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from backend.sources.addresses import AddressRules
from backend.sources.errors import FetchFailed
from backend.sources.exchange import Persistence
from backend.sources.guarded import GuardedClient
from backend.sources.registry_client import Credentials
from tests.rig.registry import Registry
from workers.importing.inspecting import (
    IMAGE_CHECKS,
    MANUAL_CHECKS,
    Inspection,
    inspect_container_image,
    inspect_manual,
)

CONFIGURATION: dict[str, Any] = {
    "schemaVersion": 1,
    "port": 8080,
    "health": {"path": "/health"},
    "apis": [{"path": "/predict"}],
    "environment": [{"name": "MODEL_DIR"}],
    "resources": {"cpu": 2, "memoryGib": 8},
}


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        yield server


def inspected(registry: Registry, image: str = "acme/server:1.0", **origin: Any) -> Inspection:
    full = {
        "reference": f"{registry.host}/{image}",
        "deployment_type": "real_time",
        "configuration": json.dumps(CONFIGURATION),
        "input_schema": None,
        "output_schema": None,
        "minimum": {"cpu": 4.0, "memory_gib": 16.0, "gpu": 0, "gpu_memory_gib": 0.0},
        **origin,
    }
    rules = AddressRules([ip_network("127.0.0.1/32")])
    with GuardedClient(rules, persistence=Persistence(2, 0.01, 0.02)) as client:
        account = Credentials(registry.endpoint, "ana", "secret")
        return inspect_container_image(full, account, client)


def outcome(inspection: Inspection, check: str) -> tuple[str, str, str]:
    found = next(each for each in inspection.report.checks if each.id == check)
    return found.outcome.value, found.evidence, found.hint


def test_a_sound_image_passes_every_check(registry: Registry) -> None:
    digest = registry.push("acme/server", "1.0", User="1000")
    result = inspected(registry)
    assert {check.outcome.value for check in result.report.checks} == {"pass"}
    assert len(result.report.checks) == IMAGE_CHECKS
    assert result.image is not None
    assert result.card == {
        "format": "container_image",
        "license": None,
        "summary": None,
        "total_bytes": result.image.size_bytes,
        "image": {"digest": digest, "platform": "linux/amd64", "ports": ["8080"]},
    }


def test_a_missing_image_fails_with_what_to_do(registry: Registry) -> None:
    result = inspected(registry, "acme/none:1")
    assert outcome(result, "image")[0] == "fail"
    assert "has no image" in outcome(result, "image")[1]
    assert outcome(result, "configuration")[0] == "pass"  # told all at once
    assert result.card is None


def test_an_image_for_another_system_is_refused(registry: Registry) -> None:
    registry.push("acme/server", "1.0", platform="windows/amd64")
    state, evidence, hint = outcome(inspected(registry), "platform")
    assert state == "fail"
    assert "windows/amd64" in evidence
    assert "linux/amd64" in hint
    registry.push("acme/server", "1.0", platform="linux/arm64")
    assert outcome(inspected(registry), "platform")[0] == "warn"


@pytest.mark.parametrize(
    ("ports", "words"),
    [((), "declares no ports"), (("9000/tcp",), "expects port 8080; the image declares port 9000")],
)
def test_ports_that_do_not_match_are_told(
    registry: Registry, ports: tuple[str, ...], words: str
) -> None:
    registry.push("acme/server", "1.0", ports=ports)
    state, evidence, _ = outcome(inspected(registry), "ports")
    assert state == "warn"
    assert words in evidence


def test_a_faulty_configuration_names_the_place(registry: Registry) -> None:
    registry.push("acme/server", "1.0")
    text = json.dumps({**CONFIGURATION, "port": "x", "health": {}})
    result = inspected(registry, configuration=text)
    state, evidence, hint = outcome(result, "configuration")
    assert state == "fail"
    assert evidence == "/health: 'path' is missing. 1 more fault in it."
    assert hint == "Add 'path'."
    assert result.card is None


def test_faulty_parameters_and_an_image_without_a_program(registry: Registry) -> None:
    registry.push("acme/server", "1.0", Entrypoint=None)
    result = inspected(registry, input_schema='{"type": 7}')
    assert outcome(result, "parameters")[0] == "fail"
    assert "/type" in outcome(result, "parameters")[1]
    assert outcome(result, "start")[0] == "fail"
    text = json.dumps({**CONFIGURATION, "command": ["/run"]})
    assert outcome(inspected(registry, configuration=text), "start")[0] == "warn"  # as root


def test_a_minimum_below_the_configuration_is_told(registry: Registry) -> None:
    registry.push("acme/server", "1.0")
    state, evidence, _ = outcome(inspected(registry, minimum={"cpu": 1.0}), "minimum")
    assert state == "warn"
    assert "cpu 2 (stated: 1)" in evidence


def test_a_registry_that_is_busy_is_asked_again_later(registry: Registry) -> None:
    registry.rate_limited = True
    with pytest.raises(FetchFailed) as failure:
        inspected(registry)
    assert failure.value.retryable


def test_a_described_model_needs_no_weights_and_says_so() -> None:
    result = inspect_manual({"type": "llm", "runtime": "vLLM", "resources": {}, "weights": None})
    assert len(result.report.checks) == MANUAL_CHECKS
    assert outcome(result, "weights")[0] == "warn"
    assert result.card == {"format": "external", "task": "text-generation"}
