"""Usage and prices over HTTP: from records on the topic and events in the store to the bill."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.api.services import Services
from backend.infra import kafka
from backend.infra.readings import MachineReport, Readings
from backend.infra.settings import Settings
from backend.readmodels.usage import MOST_ROWS
from tests.api import worker
from tests.api.client import ApiClient
from tests.rig.api_server import ApiServer
from tests.rig.command_line import loggia
from tests.rig.waiting import eventually
from tests.usage.records import put, record

PRICES: dict[str, Any] = {
    "currency": "EUR",
    "hardware": [{"kind": "cpu", "perHour": "3.6"}],
    "tokens": [{"modelId": None, "perMillionInput": "1000", "perMillionOutput": "2000"}],
}


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def usage(client: ApiClient, **query: Any) -> dict[str, Any]:
    answer = client.get("/api/usage", params={"from": today(), "to": today(), **query})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def on_gpus(count: int, memory_gib: float) -> dict[str, Any]:
    hardware: dict[str, Any] = worker.configuration()["hardware"]
    given = {"accelerator": "gpu", "acceleratorCount": count, "memoryGib": memory_gib}
    return hardware | given


def estimated(client: ApiClient, model_id: str, configuration: dict[str, Any]) -> dict[str, Any]:
    answer = client.command(
        "POST", "/api/prices/estimate", {"modelId": model_id, "configuration": configuration}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def bill_of_an_hour(client: ApiClient, services: Services) -> dict[str, Any]:
    """As if the replicas that run had had an hour yesterday, and prices had been set before."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with services.pool.connection() as connection:
        connection.execute("UPDATE billing.prices SET set_at = set_at - interval '2 days'")
        connection.execute(
            "INSERT INTO billing.ended SELECT model_id, replica_id, revision, server, accelerator, "
            "accelerator_count, kinds, %s, %s FROM billing.running",
            (midnight - timedelta(hours=2), midnight - timedelta(hours=1)),
        )
    day = str((midnight - timedelta(days=1)).date())
    total: dict[str, Any] = usage(client, **{"from": day, "to": day})["total"]
    return total


@pytest.fixture
def served(admin: ApiClient, services: Services, settings: Settings, views: None) -> str:
    """A model that serves, and two answers of it for a key, and one for the playground."""
    kafka.ensure_topics(settings)
    model_id = admin.import_model("tiny")
    worker.make_ready(services, model_id)
    admin.command("PUT", f"/api/models/{model_id}/deployment", worker.deploy_body())
    worker.serve(services, model_id, 1)
    key = admin.command("POST", f"/api/models/{model_id}/api-keys", {"name": "shop"}).json()
    now = datetime.now(UTC)
    put(
        settings,
        [
            record("a", 1, model_id=model_id, key_id=key["id"], at=now),
            record("a", 2, model_id=model_id, key_id=key["id"], at=now, status=502),
            record("a", 3, model_id=model_id, key_id=None, at=now, estimated=True),
        ],
    )
    eventually(lambda: usage(admin)["total"]["requests"] == 3, "the answers are summed")
    eventually(
        lambda: any(item["modelName"] for item in usage(admin)["items"]), "the model has its name"
    )
    return model_id


def test_usage_is_told_by_what_one_likes(admin: ApiClient, served: str) -> None:
    items = usage(admin, modelId=served)["items"]
    assert sorted((item["kind"], item["keyName"], item["requests"]) for item in items) == [
        ("hardware", None, 0),
        ("key", "shop", 2),
        ("playground", None, 1),
    ]
    by_kind = {item["kind"]: item for item in items}
    assert by_kind["key"]["failedRequests"] == 1
    assert (by_kind["key"]["inputTokens"], by_kind["key"]["outputTokens"]) == (6, 8)
    assert by_kind["playground"]["estimatedRequests"] == 1
    assert by_kind["hardware"]["replicaHours"] > 0
    assert {item["modelName"] for item in items} == {"tiny"}
    (whole,) = usage(admin, by=["model"])["items"]
    assert (whole["kind"], whole["requests"], whole["day"]) == ("all", 3, None)
    (day,) = usage(admin, by=["day"])["items"]
    assert (day["day"], day["inputTokens"]) == (today(), 9)
    of_key = usage(admin, keyId=by_kind["key"]["keyId"])["items"]
    assert [item["kind"] for item in of_key] == ["key"]
    assert usage(admin, modelId=str(uuid4()))["items"] == []


def test_the_bill_is_made_with_the_prices_of_its_days(admin: ApiClient, served: str) -> None:
    assert usage(admin)["total"]["cost"] is None
    done = admin.command("PUT", "/api/prices", PRICES)
    assert done.status_code == 200, done.text
    shown = admin.get("/api/prices", params={"atLeast": done.json()["position"]})
    assert {name: shown.json()[name] for name in PRICES} == PRICES
    total = usage(admin)["total"]
    # 9 tokens in for 1000, and 12 out for 2000 a million.
    assert (total["tokenCost"], total["currency"]) == ("0.033000", "EUR")
    # 3.60 an hour is a thousandth a second.
    seconds = total["replicaHours"] * 3600
    assert float(total["hardwareCost"]) == pytest.approx(seconds / 1000, abs=1e-5)
    yesterday = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
    assert usage(admin, **{"from": yesterday, "to": yesterday})["total"]["requests"] == 0


def test_the_estimate_and_the_bill_agree(admin: ApiClient, services: Services, served: str) -> None:
    done = admin.command("PUT", "/api/prices", PRICES)
    admin.get("/api/prices", params={"atLeast": done.json()["position"]})
    found = estimated(admin, served, worker.configuration())
    assert found["perHour"] == {"least": "3.600000", "most": "3.600000"}
    assert found["perMonth"]["most"] == "2628.000000"
    assert (found["perMillionInput"], found["perMillionOutput"]) == ("1000", "2000")
    bill = bill_of_an_hour(admin, services)
    assert bill["replicaHours"] == 1
    assert bill["hardwareCost"] == found["perHour"]["most"]


@pytest.mark.usefixtures("views")
def test_a_kind_of_gpu_has_its_own_price_in_the_estimate_and_in_the_bill(
    admin: ApiClient, services: Services
) -> None:
    kinds = [{"kind": "gpu", "perHour": "2"}, {"kind": "NVIDIA L4", "perHour": "5"}]
    admin.command("PUT", "/api/prices", {**PRICES, "hardware": kinds})
    gpus = [
        {"index": 0, "uuid": "GPU-0", "name": "NVIDIA H200", "memory_gib": 139.0},
        {"index": 1, "uuid": "GPU-1", "name": "NVIDIA L4", "memory_gib": 24.0},
    ]
    Readings(services.pool).report(MachineReport("host:/data", "host", 8, 16.0, gpus, "", [], ""))
    model_id = admin.import_model("tiny")
    worker.make_ready(services, model_id)
    body = worker.deploy_body()
    body["configuration"]["hardware"] = on_gpus(2, 40.0)
    admin.command("PUT", f"/api/models/{model_id}/deployment", body)
    _, position = worker.serve(services, model_id, 1, devices=["1: NVIDIA L4", "0: NVIDIA H200"])
    admin.get("/api/prices", params={"atLeast": position})
    found = estimated(admin, model_id, body["configuration"])
    assert found["replicaPerHour"] == "7.000000"
    assert bill_of_an_hour(admin, services)["hardwareCost"] == found["replicaPerHour"]
    # The smallest that fits.
    for memory, price in ((20.0, "5.000000"), (100.0, "2.000000")):
        body["configuration"]["hardware"] = on_gpus(1, memory)
        found = estimated(admin, model_id, body["configuration"])
        assert found["replicaPerHour"] == price


def test_a_replicas_time_is_divided_among_its_days(
    admin: ApiClient, services: Services, served: str
) -> None:
    with services.pool.connection() as connection:
        connection.execute("UPDATE billing.running SET ready_at = '2026-02-27T22:30:00Z'")
        connection.execute(
            "WITH gone AS (DELETE FROM billing.running RETURNING *) INSERT INTO billing.ended "
            "SELECT model_id, replica_id, revision, server, accelerator, accelerator_count, kinds, "
            "ready_at, '2026-03-02T01:00:00Z' FROM gone"
        )
    found = usage(admin, **{"from": "2026-02-28", "to": "2026-03-02", "by": ["day"]})["items"]
    assert [(item["day"], item["replicaHours"]) for item in found] == [
        ("2026-02-28", 24),
        ("2026-03-01", 24),
        ("2026-03-02", 1),
    ]


@pytest.mark.usefixtures("views")
def test_prices_that_others_changed_meanwhile_are_not_overwritten(admin: ApiClient) -> None:
    assert admin.get("/api/prices").json()["version"] == 0
    first = admin.command("PUT", "/api/prices", PRICES, version=0)
    assert first.status_code == 200, first.text
    late = admin.command("PUT", "/api/prices", {**PRICES, "currency": "USD"}, version=0)
    assert late.status_code == 409
    second = admin.command("PUT", "/api/prices", {**PRICES, "currency": "USD"}, version=1)
    assert second.json()["version"] == 2
    seen = admin.get("/api/prices", params={"atLeast": second.json()["position"]})
    assert (seen.json()["currency"], seen.headers["etag"]) == ("USD", '"2"')
    refused = admin.command(
        "PUT", "/api/prices", {**PRICES, "hardware": [{"kind": "cpu", "perHour": "free"}]}
    )
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "hardware.0.perHour"
    history = admin.get(
        "/api/events", params={"type": "PricesSet", "atLeast": second.json()["position"]}
    )
    assert [item["data"]["currency"] for item in history.json()["items"]] == ["USD", "EUR"]


def test_usage_as_csv_has_the_same_figures_and_no_formulas(
    admin: ApiClient, services: Services, settings: Settings, served: str
) -> None:
    path = f"/api/models/{served}/api-keys"
    made = admin.command("POST", path, {"name": "=1+1"})
    key = made.json()
    put(settings, [record("b", 1, model_id=served, key_id=key["id"], at=datetime.now(UTC))])
    eventually(
        lambda: "=1+1" in {item["keyName"] for item in usage(admin)["items"]}, "the key is there"
    )
    answer = admin.get("/api/usage/export", params={"from": today(), "to": today()})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert sum(int(line["requests"]) for line in lines) == 4
    assert {line["keyName"] for line in lines} == {"shop", "'=1+1", ""}
    assert UUID(lines[0]["modelId"]) == UUID(served)


def test_the_command_line_sets_prices_and_shows_usage(
    admin: ApiClient, server: ApiServer, served: str, tmp_path: Path
) -> None:
    token = admin.command("POST", "/api/tokens", {"name": "cli"}).json()["token"]
    environment = {"LOGGIA_URL": server.url, "LOGGIA_TOKEN": token}

    def run(*arguments: str) -> str:
        ended = loggia(*arguments, environment=environment)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert "no prices have been set" in run("prices", "show")
    file = tmp_path / "prices.json"
    file.write_text(json.dumps(PRICES))
    position = json.loads(run("prices", "set", str(file), "--json"))["position"]
    admin.get("/api/prices", params={"atLeast": position})
    assert "3.6" in run("prices", "show")
    shown = run("usage", "--model", "tiny")
    assert "shop" in shown
    assert "EUR" in shown
    whole = json.loads(run("usage", "--by", "model", "--json"))
    assert whole["total"]["requests"] == 3
    run("usage", "--csv", str(tmp_path / "usage.csv"))
    assert "requests" in (tmp_path / "usage.csv").read_text()


@pytest.mark.usefixtures("views")
def test_only_what_is_shown_has_to_fit_into_an_answer(admin: ApiClient, services: Services) -> None:
    with services.pool.connection() as connection:
        connection.execute(
            "INSERT INTO loggia.usage_days SELECT %s, %s, CASE WHEN n > 0 THEN "
            "gen_random_uuid()::text ELSE '' END, 1, 0, 1, 2, 3, 4, 5, 6 "
            "FROM generate_series(0, %s) AS n",
            (today(), uuid4(), MOST_ROWS),
        )
    (whole,) = usage(admin, by=["model"])["items"]
    assert (whole["kind"], whole["requests"]) == ("all", MOST_ROWS + 1)
    assert whole["outputTokens"] == 3 * (MOST_ROWS + 1)
    refused = admin.get("/api/usage", params={"from": today(), "to": today()})
    assert refused.status_code == 422
    assert "more usage" in refused.json()["detail"]


@pytest.mark.parametrize(
    "query",
    [{"from": "2026-02-01", "to": "2026-01-31"}, {"from": "2024-01-01", "to": "2026-01-01"}],
)
@pytest.mark.usefixtures("views")
def test_a_range_that_is_none_is_refused(admin: ApiClient, query: dict[str, str]) -> None:
    answer = admin.get("/api/usage", params=query)
    assert answer.status_code == 422
    assert "days" in answer.json()["detail"]


@pytest.mark.usefixtures("views")
def test_who_may_see_and_who_may_set(client_as: Callable[[str], ApiClient]) -> None:
    query = {"from": today(), "to": today()}
    for role, sees in (("operator", 200), ("auditor", 200), ("integrator", 200), ("viewer", 403)):
        client = client_as(role)
        assert client.get("/api/usage", params=query).status_code == sees
        assert client.get("/api/prices").status_code == sees
        assert client.command("PUT", "/api/prices", PRICES).status_code == 403
