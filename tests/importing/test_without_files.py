"""Imports that store no files, carried out as jobs. The registry is a test registry of our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from backend.application.commands import CommandContext, CommandRunner
from backend.application.connections import Connections
from backend.domain.model import ImportRequest
from backend.infra.connections import Seal
from backend.infra.settings import Settings
from tests.importing.workplace import Site, open_site
from tests.rig.registry import Registry

CONFIGURATION = {
    "schemaVersion": 1,
    "port": 8080,
    "health": {"path": "/health"},
    "apis": [{"path": "/predict"}],
}
ADMIN = CommandContext("user:admin")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry(sign_in="token") as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, postgres: str) -> Iterator[Site]:
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path / "data",
        postgres_dsn=postgres,
        kafka_bootstrap_servers="127.0.0.1:1",
        job_lease_seconds=30,
        fetch_allowed_networks="127.0.0.1/32",
    )
    with open_site(settings) as opened:
        yield opened


def connect(site: Site, registry: Registry, *, password: str = "secret") -> None:
    connections = Connections(
        CommandRunner(site.events, site.settings.secret_key), Seal(site.settings.secret_key)
    )
    connections.save(
        ADMIN, name="ours", kind="registry", endpoint=registry.endpoint, secret=f"ana:{password}"
    )


def request(site: Site, registry: Registry, **origin: Any) -> UUID:
    facts = {
        "reference": f"{registry.host}/acme/server:1.0",
        "connection": "ours",
        "deployment_type": "real_time",
        "configuration": json.dumps(CONFIGURATION),
        **origin,
    }
    asked = ImportRequest(
        source="container_image", origin={"container_image": facts}, name="classifier"
    )
    model_id = site.models.request_import(ADMIN, asked).id
    site.enqueue(model_id)
    return model_id


def test_an_image_becomes_a_model_that_is_ready(site: Site, registry: Registry) -> None:
    digest = registry.push("acme/server", "1.0")
    connect(site, registry)
    model_id = request(site, registry)
    site.run_one()
    assert site.event_names(model_id) == ["Created", "ImageInspected", "Validated"]
    version = site.model(model_id).latest
    assert version.state == "ready_to_deploy"
    assert version.image is not None
    assert version.image["digest"] == digest
    assert version.card["image"]["ports"] == ["8080"]
    assert site.residue() == {}


def test_a_refusal_carries_the_report_and_can_be_retried(site: Site, registry: Registry) -> None:
    connect(site, registry)
    model_id = request(site, registry)
    site.run_one()
    failure = site.last_event(model_id)
    assert failure.step == "validate"
    assert "has no image" in failure.reason
    assert "has been pushed" in failure.remedy
    assert failure.report["checks"][0]["id"] == "image"
    registry.push("acme/server", "1.0")
    site.retry(model_id)
    site.run_one()
    assert site.model(model_id).latest.state == "ready_to_deploy"


def test_a_tag_that_moves_during_the_import_changes_nothing(
    site: Site, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = registry.push("acme/server", "1.0")
    connect(site, registry)
    model_id = request(site, registry)
    original = type(site.models).record_validated

    def broken_once(*args: Any, **facts: Any) -> Any:
        monkeypatch.setattr(type(site.models), "record_validated", original)
        registry.push("acme/server", "1.0", ports=("9999/tcp",))
        raise OSError("the worker loses its database")

    monkeypatch.setattr(type(site.models), "record_validated", broken_once)
    monkeypatch.setattr(
        "workers.importing.executor.Executor._back_off", lambda _, claim: site.jobs.release(claim)
    )
    site.run_all()
    assert site.event_names(model_id) == ["Created", "ImageInspected", "Validated"]
    assert site.model(model_id).latest.card["image"] == {
        "digest": digest,
        "platform": "linux/amd64",
        "ports": ["8080"],
    }


@pytest.mark.parametrize(
    ("connection", "words", "remedy"),
    [
        ("gone", "There is no connection 'gone'", "Save a connection under this name"),
        ("ours", "does not accept the account 'ana'", "right user name and password"),
    ],
)
def test_an_unusable_connection_is_named(
    site: Site, registry: Registry, connection: str, words: str, remedy: str
) -> None:
    registry.push("acme/server", "1.0")
    connect(site, registry, password="guess")
    model_id = request(site, registry, connection=connection)
    site.run_one()
    assert words in site.last_event(model_id).reason
    assert remedy in site.last_event(model_id).remedy


def test_a_described_model_is_ready_without_files(site: Site) -> None:
    facts = {"type": "llm", "runtime": "vLLM 0.11", "resources": {"gpu": 1}}
    asked = ImportRequest(source="manual", origin={"manual": facts}, name="described")
    model_id = site.models.request_import(ADMIN, asked).id
    site.enqueue(model_id)
    site.run_one()
    assert site.event_names(model_id) == ["Created", "Validated"]
    assert site.model(model_id).latest.card["format"] == "external"
