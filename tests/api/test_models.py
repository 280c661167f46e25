"""The gallery over HTTP: lists, pages, facets, details, and what may be done."""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import uuid4

import pytest

from backend.api.services import Services
from tests.api import worker
from tests.api.client import ApiClient

pytestmark = pytest.mark.usefixtures("views")


def _model(admin: ApiClient, model_id: str, at_least: int) -> dict:  # type: ignore[type-arg]
    answer = admin.get(f"/api/models/{model_id}", params={"atLeast": at_least})
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def test_a_writer_sees_the_own_write(admin: ApiClient) -> None:
    for number in range(5):
        location = admin.upload(file_name=f"m{number}.zip")
        accepted = admin.command(
            "POST", "/api/imports", {"source": "upload", "uploadId": location.rpartition("/")[2]}
        ).json()
        page = admin.get("/api/models", params={"atLeast": accepted["position"]}).json()
        assert page["items"][0]["id"] == accepted["id"]
        assert page["total"] == number + 1


def test_a_position_that_never_comes_is_answered_in_time(
    admin: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.api.freshness.WAIT_SECONDS", 0.2)
    answer = admin.get("/api/models", params={"atLeast": 10**9})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert "position 1000000000" in answer.json()["detail"]


def test_a_model_tells_the_whole_story_of_its_import(admin: ApiClient, services: Services) -> None:
    model_id = admin.import_model("tiny")
    importing = _model(admin, model_id, 0 + services.store.recorder.max_notification_id())
    assert importing["state"] == "importing"
    assert [(s["step"], s["state"]) for s in importing["importSteps"]] == [
        ("upload", "done"), ("extract", "running"), ("validate", "pending"),
    ]  # fmt: skip
    ready = _model(admin, model_id, worker.make_ready(services, model_id))
    assert ready["state"] == "ready_to_deploy"
    assert ready["card"]["contextLength"] == 512
    assert ready["report"]["checks"][0]["outcome"] == "pass"
    assert ready["manifestSha256"] == worker.MANIFEST
    assert {s["state"] for s in ready["importSteps"]} == {"done"}
    assert ready["actions"]["deploy"] == {"allowed": True, "reason": None}


def test_a_failed_import_says_why_and_what_to_do(admin: ApiClient, services: Services) -> None:
    model_id = admin.import_model("tiny")
    failed = _model(admin, model_id, worker.fail_import(services, model_id))
    assert failed["failure"] == {
        "step": "extract",
        "reason": "The archive is not a zip file.",
        "remedy": "Upload a zip file.",
    }
    assert [s["state"] for s in failed["importSteps"]] == ["done", "failed", "pending"]
    assert failed["actions"]["retry"]["allowed"]
    assert not failed["actions"]["cancel"]["allowed"]
    retried = admin.command("POST", f"/api/models/{model_id}/import/retry")
    assert retried.status_code == 202
    assert _model(admin, model_id, retried.json()["position"])["state"] == "importing"


def test_pages_show_every_model_once(admin: ApiClient, services: Services) -> None:
    names = [f"m{n:02}" for n in range(7)]
    for name in names:
        admin.import_model(name)
    position = services.store.recorder.max_notification_id()
    for sort, expected in (
        ("newest", names[::-1]), ("oldest", names), ("name", names), ("size", names[::-1]),
    ):  # fmt: skip
        seen: list[str] = []
        cursor = None
        while True:
            params = {"sort": sort, "limit": 3, "atLeast": position}
            page = admin.get(
                "/api/models", params={**params, **({"cursor": cursor} if cursor else {})}
            ).json()
            assert page["total"] == 7
            assert (page["facets"] is None) == (cursor is not None)
            seen += [m["name"] for m in page["items"]]
            cursor = page["nextCursor"]
            if cursor is None:
                break
        assert seen == expected, sort


def test_a_cursor_belongs_to_its_list(admin: ApiClient, services: Services) -> None:
    for name in ("a", "b"):
        admin.import_model(name)
    params = {"limit": 1, "atLeast": services.store.recorder.max_notification_id()}
    cursor = admin.get("/api/models", params=params).json()["nextCursor"]
    for bad in (
        {"cursor": cursor, "sort": "name"}, {"cursor": cursor, "search": "a"}, {"cursor": "x"},
        {"cursor": cursor[:-2]}, {"cursor": "é"},
    ):  # fmt: skip
        answer = admin.get("/api/models", params={"limit": 1, **bad})
        assert answer.status_code == 422, bad
        assert answer.json()["errors"][0]["field"] == "cursor"


def test_search_filters_and_facets_agree(admin: ApiClient, services: Services) -> None:
    ids = {name: admin.import_model(name) for name in ("Qwen-7B", "qwen_small", "llama")}
    worker.make_ready(services, ids["Qwen-7B"])
    worker.make_ready(services, ids["llama"])
    edited = admin.command(
        "PATCH", f"/api/models/{ids['llama']}", {"labels": ["chat", "small"]}
    ).json()
    at = {"atLeast": edited["position"]}

    def names(**params: object) -> set[str]:
        items = admin.get("/api/models", params={**at, **params}).json()["items"]  # type: ignore[dict-item]
        return {item["name"] for item in items}

    assert names(search="qwen") == {"Qwen-7B", "qwen_small"}
    assert names(search="QWEN-") == {"Qwen-7B"}
    assert names(search="_") == {"qwen_small"}
    assert names(search="%") == set()
    assert names(state="ready_to_deploy") == {"Qwen-7B", "llama"}
    assert names(label="chat") == {"llama"}
    assert names(deploymentState="none") == set(ids)
    page = admin.get("/api/models", params={**at, "state": "importing"}).json()
    assert page["total"] == 1
    assert page["facets"]["state"] == {"importing": 1, "ready_to_deploy": 2}
    assert page["facets"]["kind"] == {"base": 1}
    assert page["facets"]["deploymentState"] == {"none": 1}
    page = admin.get("/api/models", params=at).json()
    assert page["facets"]["label"] == {"chat": 1, "small": 1}


def test_an_edit_needs_the_version_that_was_seen(admin: ApiClient, services: Services) -> None:
    model_id = admin.import_model("tiny")
    seen = admin.get(
        f"/api/models/{model_id}",
        params={"atLeast": services.store.recorder.max_notification_id()},
    )
    version = seen.json()["version"]
    assert seen.headers["ETag"] == f'"{version}"'
    url = f"/api/models/{model_id}"
    first = admin.command("PATCH", url, {"description": "first"}, version=version)
    assert first.json()["version"] == version + 1
    second = admin.command("PATCH", url, {"description": "second"}, version=version)
    assert second.status_code == 409
    problem = second.json()
    assert problem["current"]["description"] == "first"
    assert problem["current"]["version"] == version + 1
    assert f"you saw version {version}" in problem["detail"]
    assert problem["remedy"] == "Look at the current state and decide again."


def test_what_a_role_may_not_do_is_said_beforehand(
    admin: ApiClient, services: Services, client_as: Callable[[str], ApiClient]
) -> None:
    model_id = admin.import_model("tiny")
    position = worker.make_ready(services, model_id)
    actions = (
        client_as("viewer")
        .get(f"/api/models/{model_id}", params={"atLeast": position})
        .json()["actions"]
    )
    assert {a["reason"] for a in actions.values()} == {"Your role may not do this."}


def test_names_are_unique_whatever_their_case(admin: ApiClient) -> None:
    admin.import_model("Tiny")
    location = admin.upload(file_name="tiny.zip")
    answer = admin.command(
        "POST", "/api/imports", {"source": "upload", "uploadId": location.rpartition("/")[2]}
    )
    assert answer.status_code == 409
    assert answer.json()["detail"] == "There is a model named 'tiny' already."
    assert answer.json()["errors"][0]["field"] == "name"
    assert answer.json()["remedy"].startswith("Rename the file")


def test_publishing_shows_on_the_marketplace_and_withdrawing_hides(
    admin: ApiClient, services: Services, client_as: Callable[[str], ApiClient]
) -> None:
    model_id = admin.import_model("tiny")
    url = f"/api/models/{model_id}/publication"
    early = admin.command("PUT", url, {"state": "published"})
    assert early.status_code == 409
    assert "while it is importing" in early.json()["detail"]
    worker.make_ready(services, model_id)
    viewer = client_as("viewer")
    for state, listed in (("published", ["tiny"]), ("withdrawn", [])):
        position = admin.command("PUT", url, {"state": state}).json()["position"]
        page = viewer.get("/api/marketplace", params={"atLeast": position}).json()
        assert [item["name"] for item in page["items"]] == listed
    assert admin.command("PUT", url, {"state": "nonsense"}).status_code == 422


def test_a_deleted_model_is_gone_and_its_name_free(admin: ApiClient) -> None:
    model_id = admin.import_model("tiny")
    deleted = admin.command("DELETE", f"/api/models/{model_id}")
    assert deleted.status_code == 200
    answer = admin.get(f"/api/models/{model_id}", params={"atLeast": deleted.json()["position"]})
    assert answer.status_code == 404
    assert model_id in answer.json()["detail"]
    assert admin.import_model("tiny") != model_id


def test_an_unknown_model_is_named(admin: ApiClient) -> None:
    unknown = str(uuid4())
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"description": "x"}),
        ("DELETE", "", None),
        ("PUT", "/publication", {"state": "published"}),
        ("POST", "/import/retry", None),
        ("GET", "/files", None),
        ("POST", "/api-keys", {"name": "x"}),
        ("POST", "/playground-token", None),
        ("PUT", "/deployment", worker.deploy_body()),
        ("GET", "/deployment", None),
        ("GET", "/deployment/history", None),
    ):
        answer = admin.command(method, f"/api/models/{unknown}{path}", body)
        assert answer.status_code == 404, path
        assert unknown in answer.json()["detail"], path
        assert answer.json()["remedy"], path


def test_the_files_come_from_the_manifest(admin: ApiClient, services: Services) -> None:
    model_id = admin.import_model("tiny")
    manifest = {"files": [{"path": "config.json", "size": 2, "sha256": "cd" * 32}]}
    services.object_store.put(f"manifests/{worker.MANIFEST}.json", [json.dumps(manifest).encode()])
    url = f"/api/models/{model_id}/files"
    at = {"atLeast": services.store.recorder.max_notification_id()}
    assert admin.get(url, params=at).json() == []
    position = worker.store_files(services, model_id)
    assert admin.get(url, params={"atLeast": position}).json() == [
        {"path": "config.json", "sizeBytes": 2, "sha256": "cd" * 32}
    ]


def test_labels_and_links_are_checked_by_name(admin: ApiClient) -> None:
    url = f"/api/models/{admin.import_model('tiny')}"
    for body, field in (
        ({"labels": [str(n) for n in range(6)]}, "labels"),
        ({"documentationLinks": ["javascript:alert(1)"]}, "documentationLinks"),
        ({"description": "x" * 2001}, "description"),
        ({"labels": [1]}, "labels[0]"),
        ({"colour": "red"}, "colour"),
        ({"description": None, "labels": "chat"}, "labels"),
    ):
        answer = admin.command("PATCH", url, body)
        assert answer.status_code == 422, body
        assert [e["field"] for e in answer.json()["errors"]] == [field], answer.text
