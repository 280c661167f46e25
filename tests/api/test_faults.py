"""The API or its database fails at any instant, and every promise still holds."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from backend.contracts.codec import PublicEvent
from backend.infra.settings import Settings
from tests.api import worker
from tests.api.client import ApiClient
from tests.api.sources import reaching
from tests.rig.agreement import has_come_to_rest, stored, topic_faults, view_faults
from tests.rig.api_server import ADMIN_PASSWORD, ApiProcess, ApiServer
from tests.rig.following import following
from tests.rig.operation_log import OperationLog, assert_clean
from tests.rig.servers import BrokerServer, PostgresServer
from tests.rig.swallowing_proxy import SwallowingProxy
from tests.rig.waiting import eventually
from tests.rig.web import Web

# Each with a seed of its own.
SHORT_RUNS = 20


def _marker(event: PublicEvent) -> str | None:
    return event.data["description"] if event.type == "ModelConfigurationEdited" else None


def _editor(
    url: str, token: str, models: list[str], log: OperationLog, seed: int, stop: threading.Event
) -> None:
    """Edits models, and repeats a command under its key until an answer comes."""
    schedule = random.Random(seed)
    with ApiClient(url, headers={"Authorization": f"Bearer {token}"}) as client:
        while not stop.is_set():
            marker = f"edit {uuid4()}"
            operation = log.invoke(str(uuid4()), marker)
            path = f"/api/models/{schedule.choice(models)}"
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    answer = client.command(
                        "PATCH", path, {"description": marker}, key=operation.key
                    )
                except httpx.TransportError:
                    time.sleep(0.05)
                    continue
                if answer.status_code == 503:
                    time.sleep(0.1)
                    continue
                if answer.status_code != 200:
                    log.failed(operation)
                    break
                log.ok(operation, answer.json())
                if schedule.random() < 0.1:
                    continue  # says it again although it was answered
                break
            time.sleep(schedule.uniform(0, 0.01))


@pytest.fixture
def api(settings: Settings, tmp_path: Path) -> Iterator[ApiProcess]:
    process = ApiProcess(settings, tmp_path / "api.log")
    process.start()
    yield process
    process.remove()


def _prepare(api: ApiProcess) -> tuple[str, list[str]]:
    """An access token, and models to edit."""
    with ApiClient(api.url) as admin:
        admin.sign_in("admin", ADMIN_PASSWORD)
        token = admin.command("POST", "/api/tokens", {"name": "editor"}).json()["token"]
        return token, [admin.import_model(f"m{n}") for n in range(3)]


def _accepted(log: OperationLog) -> int:
    return sum(operation.outcome == "ok" for operation in log.operations)


@contextmanager
def _editors(
    url: str, token: str, models: list[str], log: OperationLog, seed: int
) -> Iterator[None]:
    """Three clients at work, each until it knows what became of its last command."""
    stop = threading.Event()
    clients = [
        threading.Thread(target=_editor, args=(url, token, models, log, seed + n, stop))
        for n in range(3)
    ]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        stop.set()
        for client in clients:
            client.join(90)


@pytest.mark.timeout(600)
def test_f1_a_killed_api_loses_repeats_and_invents_nothing(api: ApiProcess, seed: int) -> None:
    with following(api.settings):
        token, models = _prepare(api)
        log = OperationLog()
        for run in range(SHORT_RUNS):
            schedule = random.Random(seed + run)
            with _editors(api.url, token, models, log, seed + run):
                time.sleep(schedule.uniform(0, 0.3))
                api.kill()
                api.start()
                before = _accepted(log)
                eventually(
                    partial(lambda n: _accepted(log) > n, before), "commands are accepted again"
                )
            assert_clean(log.check(stored(api.settings), _marker))
            assert_clean(view_faults(api.settings))
        eventually(lambda: has_come_to_rest(api.settings), "everything has been applied")
        assert_clean(topic_faults(api.settings))
        assert_clean(view_faults(api.settings))


def test_f2_a_lost_answer_is_given_again(settings: Settings, tmp_path: Path) -> None:
    with (
        Web() as web,
        ApiServer(reaching(settings, tmp_path)) as server,
        SwallowingProxy(server.url) as proxy,
        ApiClient(server.url) as admin,
    ):
        admin.sign_in("admin", ADMIN_PASSWORD)
        model_id = admin.import_model("tiny")
        location = admin.upload(file_name="other.zip")
        ready = admin.import_model("ready")
        worker.make_ready(server.services, ready)
        models = web.add("/models.json", b'[{"name": "a", "address": "/a.zip"}]')
        listed = admin.post("/api/imports/preview", json={"address": models}).json()
        batch = {"address": models, "manifestSha256": listed["manifestSha256"], "names": ["a"]}
        connection = {"name": "ours", "kind": "http", "endpoint": web.url, "secret": "s"}
        deployment = f"/api/models/{ready}/deployment"
        cookies = dict(admin.cookies)
        commands = [
            ("PATCH", f"/api/models/{model_id}", {"description": "once"}),
            ("POST", "/api/imports", {"source": "upload", "uploadId": location.rpartition("/")[2]}),
            ("POST", f"/api/models/{model_id}/api-keys", {"name": "key"}),
            ("POST", "/api/tokens", {"name": "token"}),
            ("POST", f"/api/models/{model_id}/import/cancel", None),
            ("PUT", f"/api/models/{ready}/publication", {"state": "published"}),
            ("PUT", f"/api/models/{ready}/publication", {"state": "withdrawn"}),
            ("PUT", f"/api/models/{ready}/template", {"template": "TEMPLATE {{ .Prompt }}"}),
            ("PUT", deployment, worker.deploy_body()),
            ("PUT", deployment, worker.deploy_body(maxTokens=9)),
            ("POST", f"{deployment}/rollback", {"revision": 1, "reason": "better"}),
            ("DELETE", deployment, None),
            ("POST", "/api/imports/batch", batch),
            ("POST", "/api/connections", connection),
            ("DELETE", "/api/connections/ours", None),
        ]
        for method, path, body in commands:
            key = str(uuid4())
            before = len(stored(settings))
            with ApiClient(proxy.url, cookies=cookies) as client:
                proxy.swallow = True
                with pytest.raises(httpx.TransportError):
                    client.command(method, path, body, key=key)
                proxy.swallow = False
            written = len(stored(settings)) - before
            assert written >= 1, path
            with ApiClient(proxy.url, cookies=cookies) as client:
                again = client.command(method, path, body, key=key)
                third = client.command(method, path, body, key=key)
            assert again.status_code in {200, 201, 202}, (path, again.text)
            assert (third.status_code, third.json()) == (again.status_code, again.json())
            assert len(stored(settings)) - before == written
            assert again.json()["position"] == len(stored(settings))
        assert proxy.swallowed == len(commands)


def test_a_key_is_good_for_one_request_only(settings: Settings) -> None:
    with ApiServer(settings) as server, ApiClient(server.url) as admin:
        admin.sign_in("admin", ADMIN_PASSWORD)
        path = f"/api/models/{admin.import_model('tiny')}"
        assert admin.command("PATCH", path, {"description": "a"}, key="k").status_code == 200
        other = admin.command("PATCH", path, {"description": "b"}, key="k")
        assert other.status_code == 422
        assert other.json()["type"] == "urn:loggia:problem:idempotency-key-reused"
        long = admin.command("PATCH", path, {"description": "b"}, key="x" * 201)
        assert long.json()["errors"][0]["field"] == "Idempotency-Key"


def test_f3_one_of_fifty_racing_edits_wins(settings: Settings) -> None:
    racers = 50
    with ApiServer(settings) as server, ApiClient(server.url) as admin:
        admin.sign_in("admin", ADMIN_PASSWORD)
        token = admin.command("POST", "/api/tokens", {"name": "racer"}).json()["token"]
        model_id = admin.import_model("tiny")
        version = 2
        statuses: list[int] = []
        line = threading.Barrier(racers)

        def race(number: int) -> None:
            headers = {"Authorization": f"Bearer {token}"}
            with ApiClient(server.url, headers=headers) as client:
                line.wait()
                answer = client.command(
                    "PATCH",
                    f"/api/models/{model_id}",
                    {"description": f"by {number}"},
                    version=version,
                )
                if answer.status_code == 409:
                    assert answer.json()["current"]["version"] == version + 1
                statuses.append(answer.status_code)

        threads = [threading.Thread(target=race, args=(n,)) for n in range(racers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sorted(statuses) == [200] + [409] * (racers - 1)
    last = [e for e in stored(settings) if e.model_id == model_id][-1]
    assert last.aggregate_version == version + 1


def test_f4_every_accepted_command_survives_a_crash_of_the_database(
    tmp_path: Path, broker: BrokerServer, seed: int
) -> None:
    database = PostgresServer()
    try:
        database.start()
        settings = Settings(
            _env_file=None,
            data_dir=tmp_path / "data",
            postgres_dsn=database.database(),
            kafka_bootstrap_servers=broker.bootstrap_servers,
        )
        api = ApiProcess(settings, tmp_path / "api.log")
        try:
            api.start()
            token, models = _prepare(api)
            log, schedule = OperationLog(), random.Random(seed)
            with following(settings):
                with _editors(api.url, token, models, log, seed):
                    time.sleep(schedule.uniform(0.2, 1))
                    database.kill()
                    time.sleep(schedule.uniform(0, 1))
                    database.start()
                    before = _accepted(log)
                    eventually(lambda: _accepted(log) > before + 5, "commands are accepted again")
                assert_clean(log.check(stored(settings), _marker))
                eventually(lambda: has_come_to_rest(settings), "everything has been applied")
                assert_clean(topic_faults(settings))
                assert_clean(view_faults(settings))
        finally:
            api.remove()
    finally:
        database.remove()


def test_f5_a_locked_event_store_is_answered_with_503_and_queries_go_on(
    settings: Settings,
) -> None:
    with ApiServer(settings) as server, ApiClient(server.url) as admin:
        admin.sign_in("admin", ADMIN_PASSWORD)
        path = f"/api/models/{admin.import_model('tiny')}"
        answers: list[httpx.Response] = []

        def edit(number: int) -> None:
            with ApiClient(server.url, cookies=dict(admin.cookies)) as client:
                client.timeout = 60
                answers.append(client.command("PATCH", path, {"description": f"{number}"}))

        with psycopg.connect(settings.dsn) as blocker:
            blocker.execute("LOCK TABLE loggia.loggia_events IN ACCESS EXCLUSIVE MODE")
            threads = [threading.Thread(target=edit, args=(n,)) for n in range(20)]
            for thread in threads:
                thread.start()
            assert admin.get("/api/session").status_code == 200
            assert admin.get("/healthz").status_code == 200
            for thread in threads:
                thread.join(60)
            blocker.rollback()
        assert {a.status_code for a in answers} == {503}
        assert all(int(a.headers["Retry-After"]) >= 1 for a in answers)
        assert admin.command("PATCH", path, {"description": "after"}).status_code == 200
    positions = [e.position for e in stored(settings)]
    assert positions == list(range(1, len(positions) + 1))


def _locked(dsn: str, tables: str) -> psycopg.Connection[tuple[object, ...]]:
    blocker = psycopg.connect(dsn)
    blocker.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE".encode())
    return blocker


def _assert_come_back_later(answers: list[httpx.Response]) -> None:
    assert [a.status_code for a in answers] == [503] * len(answers), [a.text for a in answers]
    assert all(int(a.headers["Retry-After"]) >= 1 for a in answers)


@pytest.mark.usefixtures("views")
def test_f5_queries_of_locked_tables_are_answered_with_503(
    server: ApiServer, admin: ApiClient
) -> None:
    model_id = admin.import_model("tiny")
    position = server.services.store.recorder.max_notification_id()
    assert admin.get("/api/models", params={"atLeast": position}).status_code == 200
    for tables, path in (
        ("gallery.models", "/api/models?search=t"),
        ("gallery.models", f"/api/models/{model_id}"),
        ("loggia.sessions", "/api/session"),
        ("audit.events", "/api/events"),
    ):
        with _locked(server.settings.dsn, tables) as blocker:
            _assert_come_back_later([admin.get(path)])
            blocker.rollback()
        assert admin.get(path).status_code == 200, path


def test_f5_a_frozen_database_is_answered_with_503_and_no_position_is_lost(
    tmp_path: Path, broker: BrokerServer
) -> None:
    database = PostgresServer()
    database.start()
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path / "data",
        postgres_dsn=database.database(),
        kafka_bootstrap_servers=broker.bootstrap_servers,
    )
    try:
        with ApiServer(settings) as server, ApiClient(server.url) as admin:
            admin.timeout = 60
            admin.sign_in("admin", ADMIN_PASSWORD)
            path = f"/api/models/{admin.import_model('tiny')}"
            database.freeze()
            edit = admin.command("PATCH", path, {"description": "frozen"}, key="k")
            _assert_come_back_later([admin.get("/api/session"), edit])
            assert admin.get("/healthz").status_code == 200
            database.thaw()
            again = eventually(
                lambda: (
                    answer
                    if (answer := admin.command("PATCH", path, {"description": "frozen"}, key="k"))
                    and answer.status_code == 200
                    else None
                ),
                "the repeated command is accepted",
            )
            assert again is not None
            assert again.json()["version"] == 3
        positions = [e.position for e in stored(settings)]
        assert positions == list(range(1, len(positions) + 1))
    finally:
        database.remove()
