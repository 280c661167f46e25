"""Every error has the same form, names what is wrong, and says what to do."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from backend.api import openapi, problems
from backend.api.services import Services
from backend.domain import errors as domain
from backend.infra.settings import Settings
from tests.api.client import ApiClient
from tests.rig.api_server import ADMIN_PASSWORD, ApiProcess, ApiServer

JSON = {"Content-Type": "application/json"}
XML = {"Content-Type": "text/xml"}


def _is_problem(answer: httpx.Response) -> dict:  # type: ignore[type-arg]
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    problem = answer.json()
    assert problem["status"] == answer.status_code
    for name in ("type", "title", "detail", "remedy"):
        assert problem[name], name
    return problem  # type: ignore[no-any-return]


def test_every_refusal_of_the_domain_has_a_status() -> None:
    refusals = domain.DomainError.__subclasses__()
    # Those of workers reach nobody over HTTP.
    assert set(problems.STATUSES) == {r for r in refusals if r.__module__ == domain.__name__}


def test_errors_of_the_http_layer_are_problems_too(admin: ApiClient) -> None:
    for method, path, options, status in (
        ("GET", "/api/nonsense", {}, 404),
        ("POST", "/nonsense", {"json": {}}, 404),
        ("GET", "/api/models/not-an-id", {}, 404),
        ("PUT", "/api/models", {"json": {}}, 405),
        ("POST", "/api/tokens", {"content": b"{", "headers": JSON}, 400),
        ("POST", "/api/tokens", {"json": {"name": "x" * 2_000_000}}, 413),
        ("POST", "/api/tokens", {"content": b"<x/>", "headers": XML}, 415),
        ("POST", "/api/tokens", {"json": {}}, 422),
        ("POST", "/api/tokens", {"json": []}, 422),
        ("GET", "/api/models?limit=0", {}, 422),
        ("GET", "/api/models?limit=many", {}, 422),
        ("GET", "/api/models?sort=sideways", {}, 422),
        ("GET", "/api/events?after=yesterday", {}, 422),
        ("GET", "/api/models?atLeast=-1", {}, 422),
    ):
        answer = admin.request(method, path, **options)
        assert answer.status_code == status, f"{method} {path}: {answer.text}"
        _is_problem(answer)


def test_a_missing_field_is_named(admin: ApiClient) -> None:
    problem = _is_problem(admin.post("/api/tokens", json={}))
    assert problem["errors"][0]["field"] == "name"
    problem = _is_problem(admin.post("/api/tokens", json={"name": 5}))
    assert problem["errors"][0] == {"field": "name", "message": "Expected `str`, got `int`"}


def test_a_stale_or_senseless_if_match(admin: ApiClient) -> None:
    path = f"/api/models/{admin.import_model('tiny')}"
    stale = admin.command("PATCH", path, {"description": "x"}, version=1)
    assert stale.status_code == 409
    assert _is_problem(stale)["current"]["version"] == 2
    for header in ("2", '"two"', '"-1"', "x"):
        answer = admin.patch(path, json={"description": "x"}, headers={"If-Match": header})
        assert answer.status_code == 422
        assert _is_problem(answer)["errors"][0]["field"] == "If-Match"
    for header in ('"2"', "*"):
        answer = admin.patch(path, json={"description": header}, headers={"If-Match": header})
        assert answer.status_code == 200, answer.text


def test_an_unexpected_error_shows_a_correlation_id_and_nothing_else(
    admin: ApiClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret internals")

    monkeypatch.setattr(services.accounts, "tokens", broken)
    correlation_id = str(uuid4())
    answer = admin.get("/api/tokens", headers={"X-Correlation-Id": correlation_id})
    assert answer.status_code == 500
    assert _is_problem(answer)["correlationId"] == correlation_id
    assert answer.headers["X-Correlation-Id"] == correlation_id
    assert "internals" not in answer.text
    assert "Traceback" not in answer.text


def test_a_correlation_id_reaches_the_event(admin: ApiClient, services: Services) -> None:
    path = f"/api/models/{admin.import_model('tiny')}"
    correlation_id = str(uuid4())
    admin.patch(path, json={"description": "x"}, headers={"X-Correlation-Id": correlation_id})
    event = services.live._feed.read(0, 100)[-1]
    assert (event.correlation_id, event.actor) == (correlation_id, "user:admin")


def test_a_database_that_is_away_is_said_and_readiness_knows(settings: Settings) -> None:
    with ApiServer(settings) as server, ApiClient(server.url) as admin:
        admin.sign_in("admin", ADMIN_PASSWORD)
        server.services.pool.close(timeout=1)
        answer = admin.get("/readyz")
        assert answer.json()["status"] == "ok"  # it asks by a connection of its own
        assert admin.get("/healthz").status_code == 200


def test_metrics_name_the_operations(admin: ApiClient) -> None:
    admin.get("/api/tokens")
    text = admin.get("/metrics").text
    assert 'operation="listTokens"' in text
    assert "loggia_api_live_clients" in text


def test_every_answer_protects_the_browser(anonymous: ApiClient) -> None:
    for path in ("/", "/models/x", "/api/session", "/healthz", "/assets/none.js"):
        headers = anonymous.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'self';" in policy
        assert "connect-src 'self' http://127.0.0.1:8081" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"


def test_the_web_interface_is_served(settings: Settings, tmp_path: Path) -> None:
    web = tmp_path / "dist"
    (web / "assets").mkdir(parents=True)
    (web / "index.html").write_text("<!doctype html><p>the page")
    (web / "assets" / "app-1a2b.js").write_text("console.log(1);" * 100)
    (tmp_path / "secret.txt").write_text("secret")
    with ApiServer(settings, web) as server, ApiClient(server.url) as client:
        page = client.get("/models/some-model")
        assert "the page" in page.text
        assert page.headers["Cache-Control"] == "no-cache"
        asset = client.get("/assets/app-1a2b.js")
        assert asset.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert asset.headers["Content-Encoding"] == "gzip"
        assert asset.headers["Content-Type"].startswith("text/javascript")
        again = client.get("/", headers={"If-None-Match": page.headers["ETag"]})
        assert again.status_code == 304
        assert client.get("/assets/app-gone.js").status_code == 404
        for path in (
            "/../secret.txt",
            "/%2e%2e/secret.txt",
            "/assets/..%2f..%2fsecret.txt",
            "/%00",
        ):
            assert "secret" not in client.get(path).text
        (web / "index.html").write_text("<!doctype html><p>a newer page")
        assert "newer" in client.get("/").text


def test_it_stops_within_seconds_even_with_open_streams(settings: Settings, tmp_path: Path) -> None:
    api = ApiProcess(settings, tmp_path / "api.log")
    try:
        api.start()
        with ApiClient(api.url) as admin:
            admin.sign_in("admin", ADMIN_PASSWORD)
            with admin.stream("GET", "/api/events/stream") as stream:
                assert next(stream.iter_lines()).startswith("retry")
                assert api.stop(seconds=15) == 0
    finally:
        api.remove()


def test_the_committed_description_is_fresh() -> None:
    assert openapi.FILE.read_text() == openapi.document(), (
        "run `python -m backend.api.openapi` and commit frontend/openapi.json"
    )


def test_a_character_that_cannot_be_stored_is_refused_everywhere(admin: ApiClient) -> None:
    path = f"/api/models/{admin.import_model('tiny')}"
    answers = [
        admin.get("/api/models?search=%00"),
        admin.get("/api/marketplace?search=a%00b"),
        admin.get("/api/events?actor=%00"),
        admin.command("PATCH", path, {"description": "a\0b"}),
        admin.command("POST", f"{path}/api-keys", {"name": "a\0b"}),
        admin.post("/api/session", json={"username": "a\0b", "password": "wrong wrong"}),
    ]
    assert [answer.status_code for answer in answers] == [422] * len(answers)
    assert all(answer.json()["remedy"] for answer in answers)
    # What only looks like it is no such character.
    assert admin.command("PATCH", path, {"description": "\\u0000"}).status_code == 200
