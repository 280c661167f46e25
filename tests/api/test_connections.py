"""Connections over HTTP: tried for real, used by name, never shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.api.services import Services
from backend.infra.settings import Settings
from tests.api.client import ApiClient
from tests.api.sources import reaching
from tests.rig.hub import Hub
from tests.rig.registry import Registry

SECRET = "hf_7f3a-never-to-be-seen"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        server.tokens = {SECRET: "ana"}
        yield server


@pytest.fixture
def settings(settings: Settings, tmp_path: Path, hub: Hub) -> Settings:
    return reaching(settings, tmp_path, hub)


def to_hub(hub: Hub, **more: Any) -> dict[str, Any]:
    return {
        "name": "ours", "kind": "huggingface", "endpoint": hub.endpoint, "secret": SECRET, **more,
    }  # fmt: skip


@pytest.mark.usefixtures("views")
def test_a_secret_is_never_seen_again(
    admin: ApiClient,
    services: Services,
    hub: Hub,
    client_as: Callable[[str], ApiClient],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    saved = admin.command("POST", "/api/connections", to_hub(hub))
    assert saved.status_code == 201, saved.text
    again = admin.command("POST", "/api/connections", to_hub(hub))
    wrong = admin.command("POST", "/api/connections", to_hub(hub, secret=SECRET + "-wrong"))
    assert wrong.status_code == 422
    listed = admin.get("/api/connections")
    assert [row["name"] for row in listed.json()["items"]] == ["ours"]
    assert set(listed.json()["items"][0]) == {
        "id", "name", "kind", "endpoint", "savedBy", "savedAt",
    }  # fmt: skip
    history = admin.get("/api/events", params={"atLeast": again.json()["position"]})
    assert "ConnectionSaved" in history.text
    with services.pool.connection() as connection:
        rows = [
            str(row)
            for table in ("loggia.connections", "loggia.commands")
            for row in connection.execute(f"SELECT * FROM {table}").fetchall()
        ]
    seen = (
        saved.text, again.text, wrong.text, listed.text, history.text, caplog.text,
        "".join(capsys.readouterr()), *rows,
    )  # fmt: skip
    assert not any(SECRET in text for text in seen)
    assert client_as("operator").get("/api/connections").status_code == 200
    assert client_as("viewer").get("/api/connections").status_code == 403
    assert client_as("operator").command("POST", "/api/connections", {}).status_code == 403


def test_a_connection_is_tried_before_it_is_saved(admin: ApiClient, hub: Hub) -> None:
    url = "/api/connections/test"
    tried = admin.command("POST", url, to_hub(hub))
    assert tried.json() == {"message": "The hub accepts the token of 'ana'."}
    for body, said in (
        (to_hub(hub, secret="hf_wrong"), "token"),
        (to_hub(hub, endpoint="http://127.0.0.1:1"), "127.0.0.1"),
        (to_hub(hub, endpoint="http://169.254.169.254"), "LOGGIA_FETCH_ALLOWED_NETWORKS"),
        (to_hub(hub, kind="registry", secret="no-colon"), "colon"),
        (to_hub(hub, kind="s3", endpoint=">\u00d8", secret="key:secret"), "address"),
    ):
        answer = admin.command("POST", url, body)
        assert answer.status_code == 422, body
        problem = answer.json()
        assert said in problem["detail"] + problem["remedy"]
        saved = admin.command("POST", "/api/connections", body)
        assert saved.status_code == 422
    assert admin.get("/api/connections").json() == {"items": []}


def test_a_registrys_account_is_tried(admin: ApiClient) -> None:
    with Registry(sign_in="basic") as registry:
        body = {"name": "r", "kind": "registry", "endpoint": registry.endpoint}
        good = admin.command("POST", "/api/connections", {**body, "secret": "ana:secret"})
        assert good.status_code == 201, good.text
        for secret, said in (("ana:wrong", "ana"), (None, "needs an account")):
            answer = admin.command("POST", "/api/connections/test", {**body, "secret": secret})
            assert answer.status_code == 422
            assert said in answer.text


def test_a_removed_connection_is_gone_and_its_secret_with_it(
    admin: ApiClient, services: Services, hub: Hub
) -> None:
    admin.command("POST", "/api/connections", to_hub(hub))
    assert admin.command("DELETE", "/api/connections/ours").status_code == 200
    assert admin.get("/api/connections").json() == {"items": []}
    with services.pool.connection() as connection:
        assert connection.execute("SELECT * FROM loggia.connections").fetchall() == []
    answer = admin.command("DELETE", "/api/connections/ours")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "There is no connection 'ours'."
