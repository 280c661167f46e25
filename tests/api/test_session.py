"""Signing in: cookies, CSRF, throttling, tokens."""

from __future__ import annotations

from pathlib import Path

from backend.api import accounts
from backend.api.services import Services
from backend.infra.settings import Settings
from tests.api.client import ApiClient
from tests.rig.api_server import ADMIN_PASSWORD, ApiProcess, ApiServer


def test_the_cookies_of_a_session_are_protected(anonymous: ApiClient) -> None:
    answer = anonymous.sign_in("admin", ADMIN_PASSWORD)
    assert answer.json()["user"]["role"] == "admin"
    cookies = {c.split("=")[0]: c for c in answer.headers.get_list("set-cookie")}
    assert "HttpOnly" in cookies["loggia_session"]
    assert "SameSite=strict" in cookies["loggia_session"]
    assert "HttpOnly" not in cookies["loggia_csrf"]


def test_the_database_knows_only_digests_of_sessions_and_tokens(
    admin: ApiClient, services: Services
) -> None:
    token = admin.command("POST", "/api/tokens", {"name": "ci"}).json()["token"]
    with services.pool.connection() as connection:
        stored = str(connection.execute("SELECT * FROM loggia.sessions").fetchall())
        stored += str(connection.execute("SELECT * FROM loggia.access_tokens").fetchall())
        stored += str(connection.execute("SELECT state FROM loggia.loggia_events").fetchall())
    assert admin.cookies["loggia_session"] not in stored
    assert token not in stored


def test_a_wrong_pair_is_refused_in_the_same_words(anonymous: ApiClient) -> None:
    answers = [
        anonymous.post("/api/session", json={"username": name, "password": "not the password"})
        for name in ("admin", "nobody")
    ]
    assert [a.status_code for a in answers] == [401, 401]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["remedy"]


def test_guessing_is_slowed_down(anonymous: ApiClient) -> None:
    for _ in range(accounts.FAILURES_PER_USERNAME):
        anonymous.post("/api/session", json={"username": "admin", "password": "wrong wrong"})
    answer = anonymous.post("/api/session", json={"username": "admin", "password": ADMIN_PASSWORD})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= accounts.WINDOW_MINUTES * 60
    assert "failed too often" in answer.json()["detail"]


def test_success_forgets_the_failures_of_the_name(anonymous: ApiClient) -> None:
    for _ in range(accounts.FAILURES_PER_USERNAME + 1):
        anonymous.post("/api/session", json={"username": "admin", "password": "wrong wrong"})
        anonymous.cookies.clear()
        if anonymous.sign_in("admin", ADMIN_PASSWORD).status_code != 200:
            raise AssertionError


def test_an_address_that_tries_many_names_is_slowed_down(anonymous: ApiClient) -> None:
    statuses = [
        anonymous.post(
            "/api/session", json={"username": f"user{n}", "password": "wrong wrong"}
        ).status_code
        for n in range(accounts.FAILURES_PER_ADDRESS + 1)
    ]
    assert statuses[-2:] == [401, 429]


def test_behind_a_proxy_guesses_count_for_the_client_that_it_names(
    settings: Settings, tmp_path: Path
) -> None:
    def attempts(process: ApiProcess, last: str) -> list[int]:
        with ApiClient(process.url) as client:
            return [
                client.post(
                    "/api/session",
                    json={"username": f"{last}-{n}", "password": "wrong wrong"},
                    # What stands left of the proxy's own entry may be made up.
                    headers={"X-Forwarded-For": f"198.51.100.{n}, {last}"},
                ).status_code
                for n in range(accounts.FAILURES_PER_ADDRESS + 1)
            ]

    trusting = settings.model_copy(update={"trusted_proxies": "127.0.0.0/8"})
    process = ApiProcess(trusting, tmp_path / "api.log")
    try:
        process.start()
        assert attempts(process, "203.0.113.1")[-2:] == [401, 429]
        assert attempts(process, "203.0.113.2")[:2] == [401, 401]
    finally:
        process.remove()


def test_a_change_with_the_cookie_needs_the_csrf_token(admin: ApiClient) -> None:
    for token in ("", "wrong"):
        answer = admin.post("/api/tokens", json={"name": "x"}, headers={"X-CSRF-Token": token})
        assert answer.status_code == 403
        assert "X-CSRF-Token" in answer.json()["detail"]


def test_a_body_that_other_sites_can_send_is_refused(admin: ApiClient) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded"):
        answer = admin.post(
            "/api/tokens", content=b'{"name": "x"}', headers={"Content-Type": media_type}
        )
        assert answer.status_code == 415
        assert "application/json" in answer.json()["remedy"]


def test_signing_out_ends_the_session(admin: ApiClient, server: ApiServer) -> None:
    secret = admin.cookies["loggia_session"]
    assert admin.delete("/api/session").status_code == 204
    with ApiClient(server.url, cookies={"loggia_session": secret}) as thief:
        assert thief.get("/api/session").status_code == 401


def test_a_token_acts_for_its_owner_until_it_is_revoked(
    admin: ApiClient, server: ApiServer
) -> None:
    created = admin.command("POST", "/api/tokens", {"name": "ci"}).json()
    with ApiClient(server.url, headers={"Authorization": f"Bearer {created['token']}"}) as robot:
        assert robot.get("/api/session").json()["user"]["username"] == "admin"
        assert robot.command("POST", "/api/tokens", {"name": "by token"}).status_code == 201
        listed = {t["name"]: t for t in admin.get("/api/tokens").json()["items"]}
        assert listed["ci"]["lastUsedAt"] is not None
        assert "token" not in listed["ci"]
        assert admin.command("DELETE", f"/api/tokens/{created['id']}").status_code == 200
        answer = robot.get("/api/session")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_repeated_token_command_shows_the_same_token(admin: ApiClient) -> None:
    first = admin.command("POST", "/api/tokens", {"name": "ci"}, key="one")
    second = admin.command("POST", "/api/tokens", {"name": "ci"}, key="one")
    assert first.json() == second.json()
    assert len(admin.get("/api/tokens").json()["items"]) == 1


def test_a_new_password_ends_the_other_sessions_and_keeps_this_one(
    admin: ApiClient, server: ApiServer
) -> None:
    with ApiClient(server.url) as other:
        other.sign_in("admin", ADMIN_PASSWORD)
        wrong = admin.command(
            "POST", "/api/session/password", {"current": "nonsense", "new": "another long one"}
        )
        assert wrong.status_code == 422
        assert wrong.json()["errors"][0]["field"] == "current"
        answer = admin.command(
            "POST", "/api/session/password", {"current": ADMIN_PASSWORD, "new": "another long one"}
        )
        assert answer.status_code == 200
        assert admin.get("/api/session").status_code == 200
        assert other.get("/api/session").status_code == 401


def test_a_short_password_is_refused_with_the_rule(admin: ApiClient) -> None:
    answer = admin.command(
        "POST", "/api/users", {"username": "eve", "password": "short", "role": "viewer"}
    )
    assert answer.status_code == 422
    assert "allowed are 12 to 1024" in answer.json()["detail"]


def test_the_last_administrator_stays(admin: ApiClient) -> None:
    me = admin.get("/api/session").json()["user"]["id"]
    answer = admin.command("PATCH", f"/api/users/{me}", {"role": "viewer"})
    assert answer.status_code == 409
    assert answer.json()["remedy"] == "Make somebody else an administrator first."
