"""Lists that grow come in pages: complete, without repetition, each from one statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.api.services import Services
from backend.application.commands import CommandContext
from backend.application.connections import MAX_CONNECTIONS
from backend.domain.errors import NotAllowed
from backend.domain.user import MAX_TOKENS
from backend.readmodels import api_keys, deployment_history, people, versions
from tests.api import worker
from tests.api.client import ApiClient
from tests.rig.api_server import register
from tests.rig.statements import statements

MANY = 7


def pages(client: ApiClient, url: str, limit: int, at_least: int = 0) -> list[list[Any]]:
    """Every page of a list."""
    found: list[list[Any]] = []
    cursor: str | None = None
    while True:
        given: dict[str, Any] = {
            "limit": limit,
            "atLeast": at_least,
            **({"cursor": cursor} if cursor else {}),
        }
        answer = client.get(url, params=given)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["items"])
        cursor = answer.json()["nextCursor"]
        if cursor is None:
            return found


@pytest.mark.usefixtures("views")
def test_revisions(admin: ApiClient, services: Services) -> None:
    model_id = admin.import_model("tiny")
    worker.make_ready(services, model_id)
    url = f"/api/models/{model_id}/deployment"
    position = 0
    for tokens in range(1, MANY + 1):
        accepted = admin.command("PUT", url, worker.deploy_body(maxTokens=tokens))
        position = worker.fail_revision(services, model_id, accepted.json()["revision"])
    found = pages(admin, f"{url}/history", 3, position)
    assert [[entry["revision"] for entry in page] for page in found] == [[7, 6, 5], [4, 3, 2], [1]]
    changed = [entry["changes"] for page in found for entry in page]
    assert changed == [
        *(
            [{"field": "parameters.maxTokens", "before": tokens - 1, "after": tokens}]
            for tokens in range(MANY, 1, -1)
        ),
        [],
    ]
    with statements() as told:
        deployment_history.page(services.pool, UUID(model_id), None, 3, services.cursors)
    # The revisions, and the scaling decisions of all of them.
    assert len(told) == 2
    foreign = admin.get(f"{url}/history", params={"limit": 3}).json()["nextCursor"]
    other = admin.get("/api/users", params={"cursor": foreign})
    assert (other.status_code, other.json()["errors"][0]["field"]) == (422, "cursor")


@pytest.mark.usefixtures("views")
def test_versions(admin: ApiClient, services: Services) -> None:
    model_id = admin.import_model("tiny")
    worker.make_ready(services, model_id)
    position = 0
    for _ in range(MANY - 1):
        position = worker.add_version(services, model_id)
    found = pages(admin, f"/api/models/{model_id}/versions", 3, position)
    numbers = [[version["version"] for version in page] for page in found]
    assert numbers == [["0.0.7", "0.0.6", "0.0.5"], ["0.0.4", "0.0.3", "0.0.2"], ["0.0.1"]]
    with statements() as told:
        versions.of_model(services.pool, UUID(model_id), None, 3, services.cursors)
    assert len(told) == 1
    assert admin.get(f"/api/models/{uuid4()}/versions").status_code == 404


@pytest.mark.usefixtures("views")
def test_api_keys(admin: ApiClient, services: Services) -> None:
    model_id = admin.import_model("tiny")
    worker.make_ready(services, model_id)
    url = f"/api/models/{model_id}/api-keys"
    made = [admin.command("POST", url, {"name": f"key {n}"}).json() for n in range(MANY)]
    found = pages(admin, url, 3, made[-1]["position"])
    assert [len(page) for page in found] == [3, 3, 1]
    listed = [key["id"] for page in found for key in page]
    assert listed == [key["id"] for key in reversed(made)]
    with statements() as told:
        api_keys.of_model(services.pool, UUID(model_id), None, 3, services.cursors)
    assert len(told) == 1


def test_people(admin: ApiClient, services: Services) -> None:
    for number in range(MANY - 1):
        register(services, f"person-{number}", "viewer")
    found = pages(admin, "/api/users", 3)
    assert [[person["username"] for person in page] for page in found] == [
        ["admin", "person-0", "person-1"],
        ["person-2", "person-3", "person-4"],
        ["person-5"],
    ]
    with statements() as told:
        people.page(services.pool, None, 3, services.cursors)
    assert len(told) == 1


def test_nobody_has_more_access_tokens_than_a_person_can_oversee(
    services: Services, client_as: Callable[[str], ApiClient]
) -> None:
    person = client_as("viewer")
    made = [
        person.command("POST", "/api/tokens", {"name": f"token {n}"}) for n in range(MAX_TOKENS)
    ]
    assert {answer.status_code for answer in made} == {201}
    refused = person.command("POST", "/api/tokens", {"name": "one more"})
    assert (refused.status_code, refused.json()["detail"]) == (
        409,
        f"You have {MAX_TOKENS} access tokens; nobody may have more.",
    )
    person.command("DELETE", f"/api/tokens/{made[0].json()['id']}")
    assert person.command("POST", "/api/tokens", {"name": "one more"}).status_code == 201
    assert len(person.get("/api/tokens").json()["items"]) == MAX_TOKENS


def test_there_are_no_more_connections_than_a_person_can_choose_from(services: Services) -> None:
    def save(name: str, endpoint: str = "https://example.org") -> None:
        services.connections.save(
            CommandContext("user:admin"), name=name, kind="http", endpoint=endpoint, secret=None
        )

    for number in range(MAX_CONNECTIONS):
        save(f"connection-{number}")
    with pytest.raises(NotAllowed, match=f"There are {MAX_CONNECTIONS} connections"):
        save("one-more")
    save("connection-0", "https://example.com")
    assert len(services.connection_store.all()) == MAX_CONNECTIONS
