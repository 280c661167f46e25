"""What is refused before anything is written, each with the words that a person reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.api.services import Services
from backend.infra.settings import Settings
from tests.api.client import ApiClient
from tests.api.sources import CONFIGURATION, connect_registry, image_body, reaching
from tests.builders.models import tiny_llama, write_folder
from tests.rig.hub import Hub
from tests.rig.registry import Registry
from tests.rig.s3 import s3_store
from tests.rig.web import Web


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        server.tokens = {"hf_good": "ana"}
        server.add("acme/tiny", tiny_llama())
        server.add("acme/closed", tiny_llama(), gated="manual", readers={"hf_good"})
        yield server


@pytest.fixture
def settings(settings: Settings, tmp_path: Path, hub: Hub) -> Settings:
    return reaching(settings, tmp_path, hub)


def refusal(admin: ApiClient, body: dict[str, Any], url: str = "/api/imports") -> dict[str, Any]:
    answer = admin.command("POST", url, body)
    assert answer.status_code == 422, answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["remedy"]
    return problem


def by_path(path: object, **more: Any) -> dict[str, Any]:
    return {"source": "path", "path": str(path), "mode": "reference", **more}


def test_a_path_is_looked_at_before_anything_is_written(
    admin: ApiClient, services: Services, settings: Settings
) -> None:
    root = Path(settings.import_roots)
    before = services.store.recorder.max_notification_id()
    (root / "empty").mkdir()
    (root / "notes").mkdir()
    (root / "notes" / "notes.txt").write_text("no model")
    (root / "leading-out").symlink_to("/etc")
    for path, said in (
        ("/etc", "does not lie below a directory from which models may be imported"),
        (root / ".." / "models2", "does not lie below"),
        (root / "leading-out", "does not lie below"),
        (root / "missing", "does not exist, or this server may not see it"),
        (root / "empty", "holds no files"),
        (root / "notes", "holds neither a config.json nor any other sign of a model"),
    ):
        problem = refusal(admin, by_path(path))
        assert said in problem["detail"], path
        assert problem["errors"][0]["field"] == "path"
    assert services.store.recorder.max_notification_id() == before


def test_what_lies_at_a_path_is_shown_before_it_is_imported(
    admin: ApiClient, settings: Settings
) -> None:
    folder = write_folder(Path(settings.import_roots) / "tiny", tiny_llama())
    answer = admin.post("/api/imports/inspect", json={"source": "path", "path": str(folder)}).json()
    assert answer["problems"] == []
    assert answer["facts"]["card"]["modelType"] == "llama"
    assert answer["facts"]["fileCount"] == len(tiny_llama())
    (folder / "way-out").symlink_to("/etc/hostname")
    answer = admin.post("/api/imports/inspect", json={"source": "path", "path": str(folder)}).json()
    assert answer["problems"] == [
        "way-out is a link that leads out of the directories for imports."
    ]
    problem = refusal(admin, by_path(folder))
    assert problem["errors"] == [{"field": "path", "message": answer["problems"][0]}]


def test_names_and_technical_names_are_unique(admin: ApiClient, settings: Settings) -> None:
    folder = write_folder(Path(settings.import_roots) / "tiny", tiny_llama())
    first = admin.command("POST", "/api/imports", by_path(folder, name="Tiny", technicalName="t1"))
    assert first.status_code == 202, first.text
    for names, field in (
        ({"name": "tiny", "technicalName": "t2"}, "name"),
        ({"name": "other", "technicalName": "T1"}, "technicalName"),
        ({"name": "t1", "technicalName": "t3"}, "name"),
    ):
        answer = admin.command("POST", "/api/imports", by_path(folder, **names))
        assert answer.status_code == 409, answer.text
        assert answer.json()["errors"][0]["field"] == field
        assert "already" in answer.json()["detail"]


def test_a_template_is_refused_with_its_line(admin: ApiClient, settings: Settings) -> None:
    folder = write_folder(Path(settings.import_roots) / "tiny", tiny_llama())
    problem = refusal(admin, by_path(folder, template="PARAMETER temperature 0.1\nNONSENSE x\n"))
    assert "line 2" in problem["detail"].lower()


def test_a_configuration_is_refused_with_the_place_of_every_fault(admin: ApiClient) -> None:
    wrong = {**CONFIGURATION, "port": 0, "apis": [{"path": "predict"}]}
    problem = refusal(admin, image_body("registry.example/m:1", json.dumps(wrong), name="m"))
    fields = [error["field"] for error in problem["errors"]]
    assert fields == ["configuration/port", "configuration/apis/0/path"] or set(fields) == {
        "configuration/port", "configuration/apis/0/path",
    }  # fmt: skip
    problem = refusal(
        admin,
        image_body("registry.example/m:1", json.dumps(CONFIGURATION), inputSchema='{"type": 3}'),
    )
    assert problem["errors"][0]["field"] == "inputSchema/type"
    problem = refusal(admin, image_body("http://registry.example/m", json.dumps(CONFIGURATION)))
    assert problem["errors"][0]["field"] == "reference"


def test_a_configuration_is_checked_while_it_is_written(admin: ApiClient) -> None:
    def faults(text: str) -> list[dict[str, Any]]:
        question = {"source": "container_configuration", "text": text}
        answer = admin.post("/api/imports/inspect", json=question)
        assert answer.status_code == 200, answer.text
        assert answer.json()["problems"] == [fault["message"] for fault in answer.json()["faults"]]
        return answer.json()["faults"]  # type: ignore[no-any-return]

    assert faults(json.dumps(CONFIGURATION)) == []
    (fault,) = faults('{"schemaVersion": 1,\n  "port" 8080}')
    assert (fault["line"], fault["column"]) == (2, 10)
    assert "not JSON" in fault["message"]
    (fault,) = faults(json.dumps({**CONFIGURATION, "prot": 1}))
    assert (fault["pointer"], fault["line"]) == ("", None)
    assert fault["remedy"] == "Did you mean 'port'?"


def test_a_configuration_can_lie_on_the_web_or_in_an_object_store(admin: ApiClient) -> None:
    text = json.dumps(CONFIGURATION)

    def look(address: str, connection: str | None = None) -> Any:
        question = {"source": "configuration_file", "address": address, "connection": connection}
        return admin.post("/api/imports/inspect", json=question)

    with Web() as web, s3_store() as store:
        found = look(web.add("/c.json", text.encode())).json()
        assert (found["facts"], found["faults"]) == ({"ports": [8080], "text": text}, [])
        assert look(web.add("/wrong.json", b"{}")).json()["problems"]
        large = look(web.add("/large.json", b" " * (300 << 10)))
        assert large.status_code == 422
        assert look(web.add("/latin.json", b"\xff{}")).json()["remedy"] == "Save the file as UTF-8."
        store.put("configurations/c.json", text.encode())
        secret = f"{store.key}:{store.secret}"
        saved = admin.command(
            "POST", "/api/connections",
            {"name": "s3", "kind": "s3", "endpoint": store.endpoint, "secret": secret},
        )  # fmt: skip
        assert saved.status_code == 201, saved.text
        address = f"s3://{store.bucket}/configurations/c.json"
        assert look(address, "s3").json()["facts"]["text"] == text
    closed = look("http://169.254.169.254/c.json")
    assert closed.status_code == 422
    assert "do not open those" in closed.json()["detail"]


def test_the_schema_of_the_configuration_is_served_to_everybody(anonymous: ApiClient) -> None:
    answer = anonymous.get("/schema/container-configuration.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/schema+json")
    assert answer.json()["$schema"].endswith("2020-12/schema")
    assert "port" in answer.json()["properties"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://example.org/m.zip", "Addresses that begin with 'ftp:' are not opened."),
        ("https://ana:secret@example.org/m.zip", "carries a user name or a password"),
        ("https://example.org/m.zip?X-Amz-Signature=secret", "in 'X-Amz-Signature', which would"),
        ("s3://key:secret@bucket/m.zip", "carries a user name or a password"),
        ("file:///etc/passwd", "Addresses that begin with 'file:' are not opened."),
    ],
)
def test_an_address_that_is_never_opened_is_refused_at_once(
    admin: ApiClient, address: str, said: str
) -> None:
    problem = refusal(admin, {"source": "url", "address": address, "name": "m"})
    assert said in problem["detail"]
    assert "secret@" not in problem["detail"]
    assert "=secret" not in problem["detail"]
    assert problem["errors"][0]["field"] == "address"
    weights = {"source": "manual", "name": "m", "type": "llm", "runtime": "x", "weights": address}
    assert refusal(admin, weights)["errors"][0]["field"] == "weights"


def test_weights_at_a_path_are_looked_at(admin: ApiClient, settings: Settings) -> None:
    body = {"source": "manual", "name": "m", "type": "llm", "runtime": "x", "weights": "/nowhere"}
    assert refusal(admin, body)["errors"][0]["field"] == "weights"
    without = admin.command("POST", "/api/imports", {**body, "weights": None})
    assert without.status_code == 202, without.text


def test_connections_must_exist_and_be_of_the_right_kind(admin: ApiClient, hub: Hub) -> None:
    saved = admin.command(
        "POST", "/api/connections",
        {"name": "ours", "kind": "huggingface", "endpoint": hub.endpoint, "secret": "hf_good"},
    )  # fmt: skip
    assert saved.status_code == 201, saved.text
    hf = {"source": "huggingface", "repository": "acme/tiny", "connection": "theirs"}
    assert refusal(admin, hf)["detail"] == "There is no connection 'theirs'."
    image = image_body("registry.example/m:1", json.dumps(CONFIGURATION), connection="ours")
    problem = refusal(admin, image)
    assert problem["detail"] == "The connection 'ours' is of the kind 'huggingface'."
    assert problem["remedy"] == "Choose one of the kind registry."


def test_a_repository_shows_its_weights_and_says_how_to_get_in(admin: ApiClient, hub: Hub) -> None:
    def look(**facts: str) -> Any:
        return admin.post("/api/imports/inspect", json={"source": "huggingface", **facts})

    found = look(repository="acme/tiny").json()["facts"]
    assert found["commit"] == hub.repositories["acme/tiny"].commit
    assert any("model.safetensors" in c["files"] for c in found["weightChoices"])
    missing = look(repository="acme/none")
    assert missing.status_code == 422
    assert "acme/none" in missing.json()["detail"]
    gated = look(repository="acme/closed")
    assert gated.status_code == 422
    assert gated.json()["remedy"]
    admin.command(
        "POST", "/api/connections",
        {"name": "ours", "kind": "huggingface", "endpoint": hub.endpoint, "secret": "hf_good"},
    )  # fmt: skip
    assert look(repository="acme/closed", connection="ours").status_code == 200


def test_an_image_is_looked_up_in_its_registry(admin: ApiClient) -> None:
    with Registry(sign_in="token") as registry:
        digest = registry.push("acme/serve", "1")
        connect_registry(admin, registry)
        question = {
            "source": "container_image",
            "reference": f"{registry.host}/acme/serve:1",
            "connection": "registry",
        }
        facts = admin.post("/api/imports/inspect", json=question).json()["facts"]
        assert facts["digest"] == digest
        assert facts["ports"] == [8080]
        question["reference"] = f"{registry.host}/acme/none:1"
        answer = admin.post("/api/imports/inspect", json=question)
        assert answer.status_code == 422
        assert "acme/none" in answer.json()["detail"]


def test_consent_needs_a_reason_and_known_risks(admin: ApiClient) -> None:
    body = {"source": "huggingface", "repository": "acme/tiny"}
    problem = refusal(admin, {**body, "acceptedRisks": {"risks": ["pickle"], "reason": " "}})
    assert problem["detail"] == "Accepting a risk needs a reason."
    problem = refusal(admin, {**body, "acceptedRisks": {"risks": ["fire"], "reason": "why not"}})
    assert "acceptedRisks.risks" in problem["errors"][0]["field"]


def test_an_import_says_which_source_it_means(admin: ApiClient) -> None:
    for body in ({"repository": "acme/tiny"}, {"source": "floppy"}, {"source": "url"}):
        assert admin.command("POST", "/api/imports", body).status_code == 422


def test_labels_and_links_have_limits(admin: ApiClient) -> None:
    body = {"source": "huggingface", "repository": "acme/tiny"}
    for more, field in (
        ({"labels": list("abcdef")}, "labels"),
        ({"documentationLinks": ["https://a.example"] * 4}, "documentationLinks"),
        ({"documentationLinks": ["javascript:alert(1)"]}, "documentationLinks"),
        ({"name": "a b"}, "name"),
        ({"version": "one"}, "version"),
    ):
        assert refusal(admin, {**body, **more})["errors"][0]["field"] == field
