"""Dry runs with a real worker: the same report as the import's, the events, and nothing written."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backend.api.services import Services
from backend.infra.dry_runs import KIND, DryRuns
from backend.infra.settings import Settings
from tests.api.client import ApiClient
from tests.api.sources import CONFIGURATION, connect_registry, image_body, reaching
from tests.builders.models import tiny_llama, write_folder
from tests.journeys.archives import tiny_llama_archive
from tests.rig.api_server import ApiServer
from tests.rig.hub import Hub
from tests.rig.registry import Registry
from tests.rig.waiting import eventually
from tests.rig.web import Web
from workers.importing import service


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        server.add("acme/tiny", tiny_llama())
        yield server


@pytest.fixture
def settings(settings: Settings, tmp_path: Path, hub: Hub) -> Settings:
    return reaching(settings, tmp_path, hub)


@pytest.fixture
def worker(server: ApiServer) -> Iterator[None]:
    """The import worker, as `loggia work import` runs it."""
    stop = threading.Event()
    thread = threading.Thread(target=service.work, args=(server.settings, stop), daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(timeout=20)


def traces(services: Services) -> dict[str, Any]:
    """Everything that an import leaves somewhere."""
    with services.pool.connection() as connection:
        rows = connection.execute(
            "SELECT (SELECT count(*) FROM loggia.model_names) AS names, "
            "(SELECT count(*) FROM loggia.commands) AS commands, "
            "(SELECT count(*) FROM loggia.uploads WHERE model_id IS NOT NULL) AS claimed"
        ).fetchone()
    store = services.object_store
    return {
        **dict(rows or {}),
        "events": services.store.recorder.max_notification_id(),
        "files": [p for folder in ("blobs", "manifests", "staging") for p in store.list(folder)],
    }


def dry_run(admin: ApiClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = admin.command("POST", "/api/imports?dryRun=true", body)
    assert answer.status_code in {200, 202}, answer.text
    if answer.status_code == 202:
        url = answer.headers["location"]
        eventually(lambda: admin.get(url).status_code == 200, "the dry run has ended")
        answer = admin.get(url)
    result: dict[str, Any] = answer.json()
    return result


def types(result: dict[str, Any]) -> list[str]:
    return [event["type"] for event in result["events"]]


@pytest.mark.usefixtures("worker")
def test_every_source_is_rehearsed_and_nothing_is_written(
    admin: ApiClient, services: Services, settings: Settings, hub: Hub
) -> None:
    folder = write_folder(Path(settings.import_roots) / "by-path", tiny_llama())
    location = admin.upload(tiny_llama_archive(), "by-upload.zip")
    with Web() as web, Registry(sign_in="token") as registry:
        registry.push("acme/serve", "1")
        connect_registry(admin, registry)
        address = web.add("/by-url.zip", tiny_llama_archive())
        bodies: dict[str, dict[str, Any]] = {
            "upload": {"uploadId": location.rpartition("/")[2]},
            "huggingface": {"repository": "acme/tiny"},
            "url": {"address": address},
            "path": {"path": str(folder), "mode": "reference"},
            "manual": {"name": "m", "type": "llm", "runtime": "vLLM", "weights": None},
        }
        before = traces(services)
        results = {
            source: dry_run(admin, {"source": source, **body}) for source, body in bodies.items()
        }
        results["copy"] = dry_run(admin, {"source": "path", "path": str(folder), "mode": "copy"})
        reference = f"{registry.host}/acme/serve:1"
        image = image_body(reference, json.dumps(CONFIGURATION), connection="registry")
        results["container_image"] = dry_run(admin, image)
    after = traces(services)
    assert after == before
    for source, result in results.items():
        assert result["failure"] is None, (source, result)
        assert {check["outcome"] for check in result["report"]["checks"]} <= {"pass", "warn"}
        assert types(result)[0] == "ModelImportRequested"
        assert types(result)[-1] == "ModelValidated"
    assert types(results["upload"]) == [
        "ModelImportRequested", "ModelArchiveReceived", "ModelFilesStored", "ModelValidated",
    ]  # fmt: skip
    fetched = ["ModelImportRequested", "ModelSourceFetched", "ModelFilesStored", "ModelValidated"]
    for source in ("huggingface", "url", "path", "copy"):
        assert types(results[source]) == fetched
        assert results[source]["card"]["architecture"] == "LlamaForCausalLM"
    assert types(results["container_image"])[1] == "ModelImageInspected"
    commit = hub.repositories["acme/tiny"].commit
    assert results["huggingface"]["events"][1]["data"]["resolved"]["revision"] == commit


@pytest.mark.usefixtures("worker", "views")
def test_the_report_is_the_imports_own(admin: ApiClient, hub: Hub) -> None:
    body = {"source": "huggingface", "repository": "acme/tiny"}
    rehearsed = dry_run(admin, body)
    accepted = admin.command("POST", "/api/imports", body).json()

    def ready() -> dict[str, Any]:
        model: dict[str, Any] = admin.get(
            f"/api/models/{accepted['id']}", params={"atLeast": accepted["position"]}
        ).json()
        return model if model["state"] == "ready_to_deploy" else {}

    model = eventually(ready, "the import has ended", seconds=60)
    assert rehearsed["report"] == model["report"]
    assert rehearsed["card"] == model["card"]
    stored = rehearsed["events"][2]["data"]
    assert stored["manifestSha256"] == model["manifestSha256"]
    history = admin.get(
        "/api/events", params={"modelId": accepted["id"], "atLeast": model["position"]}
    ).json()["items"]
    assert [event["type"] for event in history][::-1] == types(rehearsed)
    version = dry_run(admin, {**body, "modelId": accepted["id"]})
    assert types(version)[0] == "ModelVersionRequested"
    assert version["events"][0]["data"]["version"] == "0.0.2"


@pytest.mark.usefixtures("worker")
def test_what_would_fail_says_why(admin: ApiClient, services: Services, settings: Settings) -> None:
    files = tiny_llama()
    del files["model.safetensors"]
    folder = write_folder(
        Path(settings.import_roots) / "pickled", {**files, "pytorch_model.bin": b"\x80\x04."}
    )
    before = traces(services)
    body = {"source": "path", "path": str(folder), "mode": "reference"}
    result = dry_run(admin, body)
    assert result["card"] is None
    assert result["failure"]["step"] == "validate"
    assert result["failure"]["remedy"]
    assert types(result)[-1] == "ModelImportFailed"
    failed = [check for check in result["report"]["checks"] if check["outcome"] == "fail"]
    assert failed[0]["evidence"] == result["failure"]["reason"]
    with Web() as web:
        missing = dry_run(admin, {"source": "url", "address": f"{web.url}/none.zip"})
    assert missing["report"] is None
    assert missing["failure"]["step"] == "fetch"
    broken = admin.upload(b"no archive", "broken.zip")
    torn = dry_run(admin, {"source": "upload", "uploadId": broken.rpartition("/")[2]})
    assert torn["failure"]["step"] == "extract"
    assert traces(services) == before


def test_what_the_import_is_refused_for_the_dry_run_is_too(
    admin: ApiClient, services: Services
) -> None:
    admin.import_model("tiny")
    url = "/api/imports?dryRun=true"
    taken = admin.command("POST", url, {"source": "huggingface", "repository": "acme/tiny"})
    assert taken.status_code == 409
    assert taken.json()["detail"] == "There is a model named 'tiny' already."
    location = admin.create_upload(100, "begun.zip").headers["Location"]
    begun = admin.command("POST", url, {"source": "upload", "uploadId": location[-36:]})
    assert begun.status_code == 409
    assert begun.json()["detail"] == "Only 0 of 100 bytes have arrived."
    unknown = admin.command("POST", url, {"source": "upload", "uploadId": str(uuid4())})
    assert unknown.status_code == 404
    with services.pool.connection() as connection:
        assert (
            connection.execute("SELECT 1 FROM loggia.jobs WHERE kind = %s", (KIND,)).rowcount == 0
        )


def test_a_dry_run_that_takes_long_is_asked_for_later(
    admin: ApiClient,
    services: Services,
    client_as: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backend.api.routes.imports._DRY_RUN_SECONDS", 0.2)
    body = {"source": "huggingface", "repository": "acme/tiny"}
    begun = admin.command("POST", "/api/imports?dryRun=true", body)  # nobody works on it
    assert begun.status_code == 202
    url = begun.headers["location"]
    assert url == f"/api/imports/dry-runs/{begun.json()['id']}"
    assert admin.get(url).status_code == 202
    assert client_as("operator").get(url).status_code == 404, "it is somebody else's"
    with services.pool.connection() as connection:
        connection.execute(
            "UPDATE loggia.jobs SET state = 'done', updated_at = now() - interval '2 hours', "
            """journal = '{"result": {"report": null, "card": null, "failure": null, """
            """"events": []}}' WHERE id = %s""",
            (begun.json()["id"],),
        )
    assert admin.get(url).status_code == 200
    assert DryRuns(services.pool).forget_old() == 1
    gone = admin.get(url)
    assert gone.status_code == 404
    assert gone.json()["remedy"] == "Make the dry run again."


@pytest.mark.usefixtures("worker", "views")
def test_an_export_comes_back_with_its_configuration(
    admin: ApiClient, settings: Settings, services: Services
) -> None:
    configuration = {
        "schemaVersion": 1,
        "parameters": {"temperature": 0.25, "maxTokens": 99, "novelty": 3},
        "engineArguments": {"max_model_len": "128"},
        "surprise": True,
    }
    files = {**tiny_llama(), "deployconfig.json": json.dumps(configuration).encode()}
    folder = write_folder(Path(settings.import_roots) / "tiny", files)
    body = {"source": "path", "path": str(folder), "mode": "reference"}
    accepted = admin.command("POST", "/api/imports", body).json()
    url = f"/api/models/{accepted['id']}"

    def ready() -> dict[str, Any]:
        model: dict[str, Any] = admin.get(url, params={"atLeast": accepted["position"]}).json()
        assert model["state"] != "import_failed", model["failure"]
        return model if model["state"] == "ready_to_deploy" else {}

    model = eventually(ready, "the import has ended", seconds=60)
    (check,) = (c for c in model["report"]["checks"] if c["id"] == "deploy_configuration")
    assert check["outcome"] == "warn"
    assert "parameters.novelty" in check["evidence"]
    assert "surprise" in check["evidence"]
    imported = json.loads(model["card"]["deployConfiguration"])
    assert imported["parameters"]["temperature"] == 0.25
    options = admin.get("/api/deploy/options", params={"modelId": accepted["id"]}).json()
    assert options["defaults"] == imported, "the deploy wizard comes up filled in"

    answer = admin.get(f"{url}/export")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith('attachment; filename="tiny.zip"')
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        unpacked = {name: archive.read(name) for name in archive.namelist()}
    assert json.loads(unpacked.pop("deployconfig.json")) == imported
    assert unpacked == tiny_llama()
    again = dry_run(
        admin,
        {
            "source": "upload",
            "uploadId": admin.upload(answer.content, "again.zip").rpartition("/")[2],
        },
    )
    assert again["failure"] is None
    assert json.loads(again["card"]["deployConfiguration"]) == imported

    none = admin.get(f"{url}/export", params={"version": "9.9.9"})
    assert none.status_code == 404
    (folder / "config.json").write_bytes(b"{}" + b" " * (len(files["config.json"]) - 2))
    with pytest.raises(Exception, match=r"(?i)peer closed|incomplete|disconnect"):
        admin.get(f"{url}/export")


@pytest.mark.usefixtures("worker", "views")
def test_a_model_without_files_has_no_export(admin: ApiClient) -> None:
    body = {"source": "manual", "name": "described", "type": "llm", "runtime": "vLLM"}
    accepted = admin.command("POST", "/api/imports", body).json()
    url = f"/api/models/{accepted['id']}"

    def ready() -> bool:
        found = admin.get(url, params={"atLeast": accepted["position"]}).json()
        return bool(found["state"] == "ready_to_deploy")

    eventually(ready, "the model is there", seconds=60)
    answer = admin.get(f"{url}/export")
    assert answer.status_code == 409
    assert answer.json()["detail"] == (
        "Version 0.0.1 of 'described' has no files that could be exported."
    )
