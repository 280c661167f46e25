"""Every route refuses strangers, and every role may do exactly what the table here says."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from backend.api import guards
from backend.api.app import create_api
from backend.domain.user import Role
from tests.api.client import ApiClient

# Written down a second time on purpose: a change of rights must be made in two places.
ADMIN = "admin"
OPERATOR = "admin operator"
EVERYBODY = "admin operator auditor integrator viewer"
EXPECTED = {
    "GET /api/session": EVERYBODY,
    "DELETE /api/session": EVERYBODY,
    "POST /api/session/password": EVERYBODY,
    "GET /api/tokens": EVERYBODY,
    "POST /api/tokens": EVERYBODY,
    "DELETE /api/tokens/{}": EVERYBODY,
    "GET /api/users": "admin auditor",
    "POST /api/users": ADMIN,
    "PATCH /api/users/{}": ADMIN,
    "OPTIONS /api/uploads": OPERATOR,
    "POST /api/uploads": OPERATOR,
    "HEAD /api/uploads/{}": OPERATOR,
    "PATCH /api/uploads/{}": OPERATOR,
    "DELETE /api/uploads/{}": OPERATOR,
    "POST /api/imports": OPERATOR,
    "GET /api/imports/dry-runs/{}": OPERATOR,
    "POST /api/imports/preview": OPERATOR,
    "POST /api/imports/inspect": OPERATOR,
    "POST /api/imports/batch": OPERATOR,
    "GET /api/imports/batches/{}": EVERYBODY,
    "POST /api/imports/batches/{}/retry": OPERATOR,
    "GET /api/connections": "admin operator auditor",
    "POST /api/connections": ADMIN,
    "POST /api/connections/test": ADMIN,
    "DELETE /api/connections/{}": ADMIN,
    "GET /api/servers": EVERYBODY,
    "POST /api/servers": ADMIN,
    "POST /api/servers/test": ADMIN,
    "PUT /api/servers/{}": ADMIN,
    "DELETE /api/servers/{}": ADMIN,
    "GET /api/servers/{}/load": EVERYBODY,
    "POST /api/servers/{}/drain": OPERATOR,
    "DELETE /api/servers/{}/drain": OPERATOR,
    "GET /api/engines/{}/options": EVERYBODY,
    "GET /api/usage": "admin operator auditor integrator",
    "GET /api/usage/export": "admin operator auditor integrator",
    "GET /api/prices": "admin operator auditor integrator",
    "PUT /api/prices": ADMIN,
    "POST /api/prices/estimate": "admin operator auditor",
    "GET /api/models": EVERYBODY,
    "GET /api/models/{}": EVERYBODY,
    "GET /api/models/{}/files": EVERYBODY,
    "GET /api/models/{}/versions": EVERYBODY,
    "GET /api/models/{}/versions/compare": EVERYBODY,
    "PUT /api/models/{}/versions/current": OPERATOR,
    "PUT /api/models/{}/template": OPERATOR,
    "GET /api/models/{}/export": OPERATOR,
    "PATCH /api/models/{}": OPERATOR,
    "DELETE /api/models/{}": OPERATOR,
    "PUT /api/models/{}/publication": OPERATOR,
    "POST /api/models/{}/import/retry": OPERATOR,
    "POST /api/models/{}/import/cancel": OPERATOR,
    "GET /api/models/{}/deployment": EVERYBODY,
    "PUT /api/models/{}/deployment": OPERATOR,
    "DELETE /api/models/{}/deployment": OPERATOR,
    "POST /api/models/{}/deployment/start": OPERATOR,
    "POST /api/models/{}/deployment/rollback": OPERATOR,
    "POST /api/models/{}/deployment/dry-run": OPERATOR,
    "GET /api/models/{}/deployment/configuration": EVERYBODY,
    "PUT /api/models/{}/deployment/configuration": OPERATOR,
    "DELETE /api/models/{}/deployment/configuration": OPERATOR,
    "GET /api/models/{}/deployment/adapters": EVERYBODY,
    "PUT /api/models/{}/deployment/adapters/{}": OPERATOR,
    "DELETE /api/models/{}/deployment/adapters/{}": OPERATOR,
    "GET /api/models/{}/deployment/history": EVERYBODY,
    "GET /api/models/{}/deployment/history/export": EVERYBODY,
    "GET /api/models/{}/deployment/comparison": EVERYBODY,
    "GET /api/models/{}/deployment/logs": "admin operator auditor",
    "GET /api/models/{}/deployment/logs/stream": "admin operator auditor",
    "GET /api/deploy/options": EVERYBODY,
    "GET /api/models/{}/api-keys": "admin operator auditor integrator",
    "POST /api/models/{}/api-keys": "admin operator integrator",
    "DELETE /api/models/{}/api-keys/{}": "admin operator integrator",
    "POST /api/models/{}/playground-token": "admin operator integrator",
    "GET /api/marketplace": EVERYBODY,
    "GET /api/events": EVERYBODY,
    "GET /api/events/stream": EVERYBODY,
    "GET /api/notifications": EVERYBODY,
    "GET /api/operations/parked": "admin operator auditor",
    "GET /metrics": "admin operator auditor integrator",
}
PUBLIC = {
    "POST /api/session", "GET /healthz", "GET /readyz", "GET /schema", "GET /schema/openapi.json",
    "GET /schema/container-configuration.json", "GET /schema/deployconfig-1.json",
}  # fmt: skip


def _routes(api: Litestar) -> dict[str, str]:
    """`METHOD /path/{}` with the operation's name, of every route that was registered."""
    found = {}
    for route in api.routes:
        path = "/".join(
            "{}" if part.startswith("{") else part for part in route.path_format.split("/")
        )
        assert isinstance(route, HTTPRoute)
        for handler in route.route_handlers:
            for method in handler.http_methods:
                operation = guards.operation_of(handler)
                if (
                    method != "OPTIONS" or operation in guards.RULES
                ):  # the framework's answer to OPTIONS
                    found[f"{method} {path}"] = operation
    return found


ROUTES = _routes(create_api())


def test_the_table_names_every_route() -> None:
    assert {r for r in ROUTES if not r.startswith("GET /schema/{")} == set(EXPECTED) | PUBLIC


def test_every_operation_has_a_rule_and_every_rule_an_operation() -> None:
    assert set(ROUTES.values()) == set(guards.RULES) | guards.PUBLIC


def test_every_action_stands_for_an_operation() -> None:
    assert set(guards.ACTIONS.values()) <= set(guards.RULES)


def test_strangers_are_refused_everywhere(anonymous: ApiClient) -> None:
    for route in EXPECTED:
        method, path = _concrete(route)
        answer = anonymous.request(method, path)
        assert answer.status_code == 401, route
        if method != "HEAD":
            assert answer.json()["remedy"].startswith("Sign in"), route


def test_an_unknown_token_is_a_stranger(anonymous: ApiClient) -> None:
    for token in ("Bearer lgp_unknown", "Bearer x", "Basic YTpi", "lgp_unknown"):
        headers = {"Authorization": token}
        assert anonymous.get("/api/models", headers=headers).status_code == 401


@pytest.mark.parametrize("role", [role.value for role in Role])
def test_a_role_may_do_what_the_table_says(
    role: str, client_as: Callable[[str], ApiClient]
) -> None:
    client = client_as(role)
    for route, roles in EXPECTED.items():
        if route == "DELETE /api/session" or route.endswith("/stream"):
            continue  # one ends this test's session, the others never end
        method, path = _concrete(route)
        # With a body that every handler refuses, so that nothing happens but the decision.
        body = {} if method in {"GET", "HEAD", "DELETE", "OPTIONS"} else {"json": {"nonsense": 1}}
        answer = client.request(method, path, **body)
        allowed = answer.status_code != 403
        assert allowed == (role in roles.split()), f"{route}: {answer.status_code}"
        assert answer.status_code != 401, route


def test_the_public_routes_are_open(anonymous: ApiClient) -> None:
    assert anonymous.get("/healthz").json() == {"status": "ok", "missing": []}
    assert anonymous.get("/readyz").status_code == 200
    assert anonymous.get("/schema/openapi.json").json()["openapi"].startswith("3.1")


def _concrete(route: str) -> tuple[str, str]:
    method, path = route.split(" ")
    while "{}" in path:
        path = path.replace("{}", str(uuid4()), 1)
    return method, path
