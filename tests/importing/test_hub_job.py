"""Imports from a hub, carried out as jobs. The hub is a test hub of our own."""

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
from tests.builders.models import tiny_llama
from tests.importing.workplace import Site, open_site
from tests.rig.hub import Hub

ADMIN = CommandContext("user:admin")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        server.tokens = {"hf_good": "ana", "hf_other": "ben"}
        server.add("acme/tiny", tiny_llama())
        yield server


@pytest.fixture
def site(tmp_path: Path, postgres: str, hub: Hub) -> Iterator[Site]:
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path / "data",
        postgres_dsn=postgres,
        kafka_bootstrap_servers="127.0.0.1:1",
        job_lease_seconds=30,
        fetch_allowed_networks="127.0.0.1/32",
        huggingface_endpoint=hub.endpoint,
    )
    with open_site(settings) as opened:
        yield opened


def request(site: Site, **facts: Any) -> UUID:
    origin = {"huggingface": {"repository": "acme/tiny", **facts}}
    asked = ImportRequest(source="huggingface", origin=origin)
    model_id = site.models.request_import(ADMIN, asked).id
    site.enqueue(model_id)
    return model_id


def stored(site: Site, model_id: UUID) -> set[str]:
    event = next(
        each for each in site.events.events.get(model_id) if type(each).__name__ == "FilesStored"
    )
    path = f"manifests/{event.manifest_sha256}.json"  # type: ignore[attr-defined]
    with site.store.open(path) as source:
        return {row["path"] for row in json.load(source)["files"]}


def test_a_repository_becomes_a_model_at_its_commit(site: Site, hub: Hub) -> None:
    commit = hub.repositories["acme/tiny"].commit
    model_id = request(site)
    site.run_one()
    assert site.event_names(model_id) == ["Created", "SourceFetched", "FilesStored", "Validated"]
    version = site.model(model_id).latest
    assert site.model(model_id).name == "tiny"
    assert version.resolved == {"repository": "acme/tiny", "revision": commit}
    assert version.card["format"] == "transformers"
    assert stored(site, model_id) == set(tiny_llama())
    assert site.objects("staging") == []


def test_an_import_that_breaks_off_stays_with_its_commit(
    site: Site, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = hub.repositories["acme/tiny"]
    commit = repository.commit
    model_id = request(site)
    hub.cuts["model.safetensors"] = [1000, *[0] * 100]
    pushed: list[bool] = []

    def push_and_heal(_: object, claim: Any) -> None:
        if not pushed:
            pushed.append(True)
            repository.push({**tiny_llama(), "config.json": b"{}"})
            hub.cuts.clear()
        site.jobs.release(claim)

    monkeypatch.setattr("workers.importing.executor.Executor._back_off", push_and_heal)
    monkeypatch.setattr("backend.sources.exchange.Exchange.pause_before", lambda *_: None)
    site.run_all()
    assert pushed
    assert site.model(model_id).latest.state == "ready_to_deploy"
    assert site.model(model_id).latest.resolved == {
        "repository": "acme/tiny",
        "revision": commit,
    }


def test_a_gated_repository_is_explained_and_comes_with_its_connection(
    site: Site, hub: Hub
) -> None:
    repository = hub.repositories["acme/tiny"]
    repository.gated, repository.readers = "auto", {"hf_good"}
    model_id = request(site, connection="team")
    site.run_one()
    assert "There is no connection 'team'" in site.last_event(model_id).reason
    seal = Seal(site.settings.secret_key)
    connections = Connections(CommandRunner(site.events, site.settings.secret_key), seal)

    def save(token: str) -> None:
        connections.save(
            ADMIN, name="team", kind="huggingface", endpoint=hub.endpoint, secret=token
        )

    save("hf_other")
    site.retry(model_id)
    site.run_one()
    failure = site.last_event(model_id)
    assert failure.step == "fetch"
    assert "'team' has no access" in failure.reason
    assert "Ask for access" in failure.remedy
    save("hf_good")
    site.retry(model_id)
    site.run_one()
    assert site.model(model_id).latest.state == "ready_to_deploy"


def test_altered_content_never_becomes_a_model(site: Site, hub: Hub) -> None:
    hub.corrupted.add("model.safetensors")
    model_id = request(site)
    site.run_one()
    failure = site.last_event(model_id)
    assert failure.step == "fetch"
    assert "other content than the digest" in failure.reason
    assert site.residue() == {}


@pytest.mark.parametrize("path", ["../outside.json", "/etc/passwd", "CONFIG.json"])
def test_names_of_a_hostile_hub_are_refused(site: Site, hub: Hub, path: str) -> None:
    hub.repositories["acme/tiny"].files = {**tiny_llama(), path: b"{}"}
    model_id = request(site)
    site.run_one()
    assert site.model(model_id).latest.state == "import_failed"
    assert path.strip("./").split("/")[0] in site.last_event(model_id).reason
    assert not [seen for seen in hub.seen if "/resolve/" in seen.path]
