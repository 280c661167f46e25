"""Batches over HTTP: lists with greyed-out rows, a thousand at once, retry of the failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.api.services import Services
from backend.application.commands import CommandContext
from backend.infra.settings import Settings
from tests.api.client import ApiClient
from tests.api.sources import reaching
from tests.rig.following import following
from tests.rig.hub import Hub
from tests.rig.statements import statements
from tests.rig.web import Web

WORKER = CommandContext("worker:import")


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return reaching(settings, tmp_path)


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        yield server


def manifest(web: Web, names: list[str], path: str = "/models.json") -> str:
    rows = [{"name": name, "address": f"{web.url}/{name}.zip"} for name in names]
    return web.add(path, json.dumps({"title": "Ours", "models": rows}).encode())


def preview(admin: ApiClient, address: str) -> dict[str, Any]:
    answer = admin.post("/api/imports/preview", json={"address": address})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def begin(admin: ApiClient, address: str, digest: str, names: list[str]) -> Any:
    body = {"address": address, "manifestSha256": digest, "names": names}
    return admin.command("POST", "/api/imports/batch", body)


def test_models_that_exist_are_greyed_out_with_a_link(admin: ApiClient, web: Web) -> None:
    model_id = admin.import_model("Here-Already")
    found = preview(admin, manifest(web, ["here-already", "new", "bad name", "new"]))
    assert (found["format"], found["title"]) == ("json", "Ours")
    rows = {(row["name"], row["problem"] is None): row for row in found["rows"]}
    assert rows["here-already", True]["existingModelId"] == model_id
    assert rows["new", True]["existingModelId"] is None
    assert "more than once" in rows["new", False]["problem"]
    assert rows["bad name", False]["existingModelId"] is None
    refused = begin(admin, web.url + "/models.json", found["manifestSha256"], ["here-already"])
    assert refused.status_code == 409
    assert refused.json()["detail"] == "There is a model named 'here-already' already."


@pytest.mark.parametrize(
    ("content", "form", "names"),
    [
        (b"name,address\none,/a.zip\ntwo,/b.zip\n", "csv", ["one", "two"]),
        (b"models:\n- name: one\n  address: /a.zip\n", "yaml", ["one"]),
        (b"/a.zip\n/b.zip\n", "list", ["a", "b"]),
        (b'<html><a href="a.zip">a.zip</a><a href="b.gguf">b</a></html>', "html", ["a", "b"]),
    ],
)
def test_every_form_of_list_is_read(
    admin: ApiClient, web: Web, content: bytes, form: str, names: list[str]
) -> None:
    found = preview(admin, web.add("/list", content))
    assert found["format"] == form
    assert [row["name"] for row in found["rows"]] == names


def test_an_organisation_of_the_hub_is_a_list(admin: ApiClient, services: Services) -> None:
    with Hub() as hub:
        hub.add("acme/one", {"config.json": b"{}"})
        hub.add("acme/two", {"config.json": b"{}"})
        body = {"name": "hub", "kind": "huggingface", "endpoint": hub.endpoint, "secret": None}
        assert admin.command("POST", "/api/connections", body).status_code == 201
        place = {"address": f"{hub.endpoint}/acme", "connection": "hub"}
        found = admin.post("/api/imports/preview", json=place).json()
        assert {row["name"]: row["source"] for row in found["rows"]} == {
            "one": "huggingface", "two": "huggingface",
        }  # fmt: skip
        batch = admin.command(
            "POST", "/api/imports/batch",
            {**place, "manifestSha256": found["manifestSha256"], "names": ["one"]},
        )  # fmt: skip
        assert batch.status_code == 202, batch.text


def test_what_is_no_list_is_refused_in_words(admin: ApiClient, web: Web) -> None:
    for address, said in (
        (f"{web.url}/none", "404"),
        (web.add("/empty.json", b'{"models": []}'), "Nothing that could be imported"),
        (web.add("/torn.json", b'{"models": ['), "JSON"),
        ("http://169.254.169.254/latest", "Loggia's servers do not open those"),
        ("http://10.0.0.1/list", "Loggia's servers do not open those"),
    ):
        answer = admin.post("/api/imports/preview", json={"address": address})
        assert answer.status_code == 422, address
        assert said in answer.json()["detail"], answer.json()
        assert answer.json()["remedy"]


def test_a_list_that_changed_is_not_imported_from(admin: ApiClient, web: Web) -> None:
    address = manifest(web, ["one", "two"])
    seen = preview(admin, address)["manifestSha256"]
    unseen = begin(admin, address, "0" * 64, ["one"])
    assert unseen.status_code == 409
    assert unseen.json()["detail"] == (
        "The list at this address is no longer the one that you chose from."
    )
    assert unseen.json()["errors"][0]["field"] == "manifestSha256"
    manifest(web, ["one", "three"])
    # What a person saw is what they get, however the list looks by now.
    assert begin(admin, address, seen, ["two"]).status_code == 202


def test_only_rows_of_the_list_can_be_chosen(admin: ApiClient, web: Web) -> None:
    address = manifest(web, ["one"])
    digest = preview(admin, address)["manifestSha256"]
    for names, status, said in (
        ([], 422, "0 models were chosen."),
        (["one", "other"], 404, "The list has no model 'other' that can be imported."),
        ([f"m{n}" for n in range(1001)], 422, "1001 models were chosen."),
    ):
        answer = begin(admin, address, digest, names)
        assert (answer.status_code, answer.json()["detail"]) == (status, said)


def test_an_adapter_of_a_list_needs_its_base(admin: ApiClient, web: Web) -> None:
    rows = [
        {"name": "tuned", "address": "/t.zip", "kind": "adapter", "baseModel": "base"},
        {"name": "base", "address": "/b.zip"},
    ]
    address = web.add("/models.json", json.dumps(rows).encode())
    digest = preview(admin, address)["manifestSha256"]
    answer = begin(admin, address, digest, ["tuned"])
    assert answer.status_code == 422
    assert "needs the base model 'base'" in answer.json()["detail"]


def test_a_thousand_rows_need_no_more_queries_than_a_hundred(
    admin: ApiClient, web: Web, services: Services
) -> None:
    counts, begun = [], {}
    for many in (100, 1000):
        names = [f"m-{many}-{n}" for n in range(many)]
        address = manifest(web, names, f"/{many}.json")
        with statements(of_every_thread=True) as sent:
            found = preview(admin, address)
        looked = len([each for each in sent if "model_names" in each])
        assert [row["name"] for row in found["rows"]] == names
        with statements(of_every_thread=True) as sent:
            answer = begin(admin, address, found["manifestSha256"], names)
        assert answer.status_code == 202, answer.text
        mine = [s for s in sent if "model_names" in s or "INSERT" in s or "loggia.commands" in s]
        counts.append((looked, len(mine)))
        begun[many] = answer.json()
        assert [model["name"] for model in begun[many]["models"]] == names
    assert counts[0] == counts[1], counts
    # Only now: the statements of projections in this process would be counted, too.
    with following(services.settings):
        for many, batch in begun.items():
            url = f"/api/imports/batches/{batch['id']}"
            read = admin.get(url, params={"atLeast": batch["position"]}).json()
            assert read["states"] == {"importing": many}
            assert [row["name"] for row in read["rows"]] == [m["name"] for m in batch["models"]]
    greyed = preview(admin, f"{web.url}/1000.json")["rows"]
    assert all(row["existingModelId"] for row in greyed)


@pytest.mark.usefixtures("views")
def test_only_the_failed_rows_are_tried_again(
    admin: ApiClient, web: Web, services: Services
) -> None:
    address = manifest(web, ["one", "two", "three"])
    digest = preview(admin, address)["manifestSha256"]
    begun = begin(admin, address, digest, ["one", "two", "three"]).json()
    url = f"/api/imports/batches/{begun['id']}"
    early = admin.command("POST", f"{url}/retry")
    assert early.status_code == 409
    assert early.json()["detail"] == "No import of this batch has failed."
    ids = {model["name"]: UUID(model["id"]) for model in begun["models"]}
    for name in ("one", "three"):
        position = services.models.record_import_failed(
            WORKER, ids[name], "0.0.1", step="fetch", reason="Gone.", remedy="Look."
        ).position
    gone = admin.command("DELETE", f"/api/models/{ids['three']}").json()
    batch = admin.get(url, params={"atLeast": gone["position"]}).json()
    assert {row["id"]: row["state"] for row in batch["rows"]} == {
        str(ids["one"]): "import_failed",
        str(ids["two"]): "importing",
        str(ids["three"]): "deleted",
    }
    assert batch["rows"][0]["failure"]["reason"] == "Gone."
    assert batch["address"] == address
    before = services.store.recorder.max_notification_id()
    assert before >= position
    retried = admin.command("POST", f"{url}/retry")
    assert retried.status_code == 202, retried.text
    again = admin.get(url, params={"atLeast": retried.json()["position"]}).json()
    assert again["states"] == {"importing": 2, "deleted": 1}
    history = admin.get(
        "/api/events", params={"type": "ModelImportRetried", "atLeast": retried.json()["position"]}
    ).json()["items"]
    assert [event["modelId"] for event in history] == [str(ids["one"])]
    kept = services.object_store
    with kept.open(f"batches/{digest}") as source:
        assert source.read() == web.files["/models.json"], "the list is kept as it was"


def test_an_unknown_batch_is_not_there(admin: ApiClient) -> None:
    answer = admin.command("POST", f"/api/imports/batches/{uuid4()}/retry")
    assert answer.status_code == 404
