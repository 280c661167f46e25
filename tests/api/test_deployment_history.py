"""A deployment's history: paged, compared, exported, and how long each phase took."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.api.services import Services
from backend.application.commands import CommandContext
from backend.infra import engine_logs
from backend.readmodels.engine_logs import MAX_LINES
from tests.api import worker
from tests.api.client import ApiClient

pytestmark = pytest.mark.usefixtures("views")
JSON = dict[str, Any]


def _with_revisions(admin: ApiClient, services: Services, count: int) -> tuple[str, int]:
    """A model's address, and the position of its last redeployment."""
    model_id = admin.import_model("tiny")
    worker.make_ready(services, model_id)
    url = f"/api/models/{model_id}/deployment"
    position = 0
    for number in range(1, count + 1):
        body = {**worker.deploy_body(maxTokens=number), "reason": f"number {number}"}
        answer = admin.command("PUT", url, body)
        assert answer.status_code == 202, answer.text
        position = answer.json()["position"]
    return url, position


def test_the_history_comes_in_pages(admin: ApiClient, services: Services) -> None:
    url, position = _with_revisions(admin, services, 5)
    seen: list[JSON] = []
    cursor: str | None = None
    while True:
        query: dict[str, str | int] = {
            "limit": 2,
            "atLeast": position,
            **({"cursor": cursor} if cursor else {}),
        }
        page = admin.get(f"{url}/history", params=query).json()
        assert page["total"] == 5
        seen += page["items"]
        cursor = page["nextCursor"]
        if cursor is None:
            break
        assert len(page["items"]) == 2
    assert [entry["revision"] for entry in seen] == [5, 4, 3, 2, 1]
    # What changed is told across the pages' borders.
    assert [len(entry["changes"]) for entry in seen] == [1, 1, 1, 1, 0]
    assert seen[1]["changes"] == [{"field": "parameters.maxTokens", "before": 3, "after": 4}]
    wrong = admin.get(f"{url}/history", params={"cursor": "abc"})
    assert wrong.status_code == 422


def test_any_two_revisions_are_compared(admin: ApiClient, services: Services) -> None:
    url, position = _with_revisions(admin, services, 3)
    found = admin.get(
        f"{url}/comparison", params={"before": 3, "after": 1, "atLeast": position}
    ).json()
    assert (found["before"]["revision"], found["after"]["revision"]) == (3, 1)
    assert found["changes"] == [{"field": "parameters.maxTokens", "before": 3, "after": 1}]
    missing = admin.get(f"{url}/comparison", params={"before": 1, "after": 9})
    assert missing.status_code == 404
    assert "no revision 9" in missing.json()["detail"]


def test_the_whole_history_is_exported(admin: ApiClient, services: Services) -> None:
    url, _ = _with_revisions(admin, services, 2)
    body = {**worker.deploy_body(), "reason": "=HYPERLINK(1)"}
    position = admin.command("PUT", url, body).json()["position"]
    export = f"{url}/history/export"
    page = admin.get(f"{url}/history", params={"atLeast": position}).json()
    as_json = admin.get(export, params={"format": "json"})
    assert as_json.headers["content-disposition"] == 'attachment; filename="history.json"'
    assert json.loads(as_json.content) == page["items"]
    as_csv = admin.get(export, params={"format": "csv"})
    assert as_csv.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(as_csv.text)))
    assert [row["revision"] for row in rows] == ["3", "2", "1"]
    assert rows[0]["reason"] == "'=HYPERLINK(1)", "no spreadsheet takes it for a formula"
    assert json.loads(rows[1]["configuration"]) == page["items"][1]["configuration"]
    assert admin.get(export, params={"format": "xml"}).status_code == 422
    other = admin.import_model("other")
    never = admin.get(f"/api/models/{other}/deployment/history/export")
    assert never.status_code == 404


def test_each_phase_has_its_time(admin: ApiClient, services: Services) -> None:
    url, _ = _with_revisions(admin, services, 1)
    model_id = url.split("/")[3]
    services.deployments.record_revision_prepared(
        CommandContext(actor="worker:deploy"),
        UUID(model_id),
        revision=1,
        environment_seconds=12.5,
        files_seconds=1.25,
    )
    worker.serve(services, model_id, 1)
    admin.command("PUT", url, worker.deploy_body(maxTokens=2))
    worker.serve(services, model_id, 2)
    position = services.deployments.record_revision_retired(
        CommandContext(actor="worker:deploy"), UUID(model_id), revision=1
    ).position
    second, first = admin.get(f"{url}/history", params={"atLeast": position}).json()["items"]
    phases = {phase["name"]: phase for phase in first["phases"]}
    assert list(phases) == ["queued", "environment", "files", "starting", "switching", "draining"]
    assert phases["environment"]["seconds"] == 12.5
    assert phases["files"]["seconds"] == 1.25
    assert all(phase["state"] == "done" and phase["seconds"] >= 0 for phase in phases.values())
    # Nobody has said how long the parts of the second one's preparation took.
    assert [phase["name"] for phase in second["phases"]] == ["preparing", "starting", "switching"]


def test_a_phase_under_way_and_one_that_failed_are_told_apart(
    admin: ApiClient, services: Services
) -> None:
    url, position = _with_revisions(admin, services, 1)
    model_id = url.split("/")[3]
    entry = admin.get(f"{url}/history", params={"atLeast": position}).json()["items"][0]
    assert entry["phases"] == [{"name": "preparing", "state": "running", "seconds": None}]
    position = worker.fail_revision(services, model_id, 1)
    entry = admin.get(f"{url}/history", params={"atLeast": position}).json()["items"][0]
    assert entry["phases"][0]["state"] == "failed"
    assert entry["phases"][0]["seconds"] >= 0
    assert (entry["failure"], entry["remedy"]) == ("The engine ended.", "Read the log.")


def _say(services: Services, model_id: str, replica: UUID, lines: list[str]) -> None:
    with services.pool.connection() as connection, connection.transaction():
        engine_logs.append(
            connection.cursor(),
            replica_id=replica,
            model_id=UUID(model_id),
            revision=1,
            lines=lines,
            read_bytes=0,
        )


def test_logs_stay_are_bounded_and_are_only_of_this_models_replicas(
    admin: ApiClient, services: Services
) -> None:
    mine, other = admin.import_model("mine"), admin.import_model("other")
    replica, foreign = uuid4(), uuid4()
    for first in range(0, 6000, 500):
        _say(services, mine, replica, [f"line {number}" for number in range(first, first + 500)])
    _say(services, other, foreign, ["another's\0word"])
    url = f"/api/models/{mine}/deployment/logs"
    found = admin.get(url).json()
    assert found["replica"] == str(replica)
    assert found["lines"] == [f"line {number}" for number in range(6000 - MAX_LINES, 6000)]
    assert found["nextLine"] == 6000
    (kept,) = found["replicas"]
    assert kept["nextLine"] - kept["firstLine"] == engine_logs.KEPT_LINES
    assert admin.get(url, params={"replica": str(replica)}).json() == found
    assert admin.get(url, params={"replica": str(foreign)}).status_code == 404
    assert admin.get(url, params={"replica": "../../secret.key"}).status_code == 422
    theirs = admin.get(f"/api/models/{other}/deployment/logs").json()
    assert theirs["lines"] == ["another's\N{REPLACEMENT CHARACTER}word"]


def test_only_the_last_replicas_of_a_model_are_kept(admin: ApiClient, services: Services) -> None:
    model_id = admin.import_model("tiny")
    replicas = [uuid4() for _ in range(engine_logs.KEPT_REPLICAS + 3)]
    for replica in replicas:
        _say(services, model_id, replica, ["hello"])
    found = admin.get(f"/api/models/{model_id}/deployment/logs").json()["replicas"]
    assert {each["id"] for each in found} == {
        str(each) for each in replicas[-engine_logs.KEPT_REPLICAS :]
    }


def test_a_log_streams_and_goes_on_where_it_broke_off(admin: ApiClient, services: Services) -> None:
    model_id = admin.import_model("tiny")
    replica = uuid4()
    url = f"/api/models/{model_id}/deployment/logs/stream"

    def frames(count: int, last: str | None = None) -> list[tuple[str, list[str]]]:
        headers = {"Last-Event-ID": last} if last else {}
        found: list[tuple[str, list[str]]] = []
        number = ""
        with admin.stream("GET", url, headers=headers) as answer:
            for line in answer.iter_lines():
                if line.startswith("id: "):
                    number = line[4:]
                if line.startswith("data: "):
                    found.append((number, json.loads(line[6:])))
                    if len(found) == count:
                        break
                    _say(services, model_id, replica, [f"line {len(found)}"])
        return found

    _say(services, model_id, replica, ["line 0"])
    assert frames(2) == [("1", ["line 0"]), ("2", ["line 1"])]
    _say(services, model_id, replica, ["missed", "missed too"])
    assert frames(1, last="2") == [("4", ["missed", "missed too"])]
