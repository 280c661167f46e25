"""`kill -9` of every process in turn: everything reaches its end, nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import psycopg
import pytest

from tests.journeys.archives import tiny_llama_archive
from tests.journeys.test_http_journey import CONFIGURATION
from tests.rig.client import Administrator
from tests.rig.integrator import DocumentedConsumer
from tests.rig.platform import RunningPlatform
from tests.rig.waiting import eventually

ROLES = ["api", "relay", "project", "work import", "gateway", "broker", "postgres"]


def kill(platform: RunningPlatform, role: str) -> None:
    """kill -9 now; the supervisor starts it again."""
    pid = eventually(lambda: platform.pid_of(role), f"{role} runs")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: platform.pid_of(role) not in {None, pid}, f"{role} is back", seconds=30)


def kill_soon(platform: RunningPlatform, role: str, seconds: float) -> threading.Thread:
    def later() -> None:
        time.sleep(seconds)
        kill(platform, role)

    thread = threading.Thread(target=later)
    thread.start()
    return thread


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def check_history(admin: Administrator, model_id: str) -> Counter[str]:
    """Positions grow, every aggregate's versions count from 1, no event stands twice."""
    events = sorted(admin.events(modelId=model_id), key=lambda event: event["position"])
    assert len({event["position"] for event in events}) == len(events)
    versions: dict[str, list[int]] = defaultdict(list)
    for event in events:
        versions[event["aggregateId"]].append(event["aggregateVersion"])
    for aggregate, found in versions.items():
        assert found == list(range(1, len(found) + 1)), f"{aggregate}: {found}"
    return Counter(event["type"] for event in events)


@pytest.mark.journey
@pytest.mark.timeout(600)
def test_imports_survive_the_death_of_every_process(
    platform_up: RunningPlatform, tmp_path: Path
) -> None:
    seed = int(os.environ.get("LOGGIA_TEST_SEED", random.randrange(10**6)))
    print(f"seed {seed}")
    chance = random.Random(seed)
    admin = Administrator.of(platform_up)
    consumer = DocumentedConsumer(tmp_path, platform_up.bootstrap_servers)
    imported: list[str] = []
    try:
        for number, role in enumerate(ROLES):
            archive = tiny_llama_archive(padding_bytes=20_000_000)
            upload_id = admin.begin_upload(f"model-{number}.zip", len(archive))
            model_id = str(
                admin.command(
                    "POST",
                    "/api/imports",
                    {"source": "upload", "kind": "base", "uploadId": upload_id},
                )["id"]
            )
            # Once in the middle of the upload, once in the middle of the import.
            during_upload = kill_soon(platform_up, role, chance.uniform(0, 0.2))
            admin.send_rest(upload_id, archive)
            during_upload.join()
            during_import = kill_soon(platform_up, role, chance.uniform(0, 0.5))
            model = admin.wait_for_model(model_id, "ready_to_deploy", "import_failed", seconds=90)
            during_import.join()
            assert model["state"] == "ready_to_deploy", (role, model["failure"])
            imported.append(model_id)

        for model_id in imported:
            told = check_history(admin, model_id)
            assert told == {
                "ModelImportRequested": 1,
                "ModelArchiveReceived": 1,
                "ModelFilesStored": 1,
                "ModelValidated": 1,
            }
            consumer.wait_for(model_id, "ModelValidated", seconds=60)
            heard = [event.type for event in consumer.events_of(model_id)]
            assert Counter(heard) == told
        objects = platform_up.data_dir / "objects"
        eventually(
            lambda: not [path for top in ("staging", "uploads") for path in files(objects / top)],
            "nothing half written stays",
        )
    finally:
        consumer.close()


@pytest.mark.engine
@pytest.mark.journey
@pytest.mark.timeout(900)
def test_a_deployment_survives_the_death_of_every_process(platform_up: RunningPlatform) -> None:
    admin = Administrator.of(platform_up)
    model_id = admin.import_archive("survivor.zip", tiny_llama_archive())
    admin.wait_for_model(model_id, "ready_to_deploy")

    admin.deploy(model_id, CONFIGURATION)
    for role in ["work deploy", *ROLES]:
        time.sleep(2)
        kill(platform_up, role)
    deployment = admin.wait_for_deployment(model_id, "deployed", "failed", seconds=600)
    assert deployment["state"] == "deployed", deployment["failure"]

    admin.deploy(model_id, {**CONFIGURATION, "parameters": {"temperature": 0.5}}, "warmer")
    for role in ["work deploy", *ROLES]:
        time.sleep(2)
        kill(platform_up, role)
    deployment = admin.wait_for_deployment(model_id, "deployed", "failed", seconds=600)
    assert deployment["servingRevision"] == 2, deployment["failure"]

    told = eventually(
        lambda: (found := check_history(admin, model_id))["RevisionRetired"] and found,
        "the first revision has been retired",
        seconds=120,
    )
    assert told["RevisionDeployed"] == 2
    assert told["DeploymentRequested"] == 2
    assert told["RevisionFailed"] == 0
    assert len(admin.get(f"/api/models/{model_id}/deployment")["replicas"]) == 1


@pytest.mark.journey
@pytest.mark.timeout(300)
def test_a_kill_of_the_supervisor_leaves_nothing_that_prevents_the_next_start() -> None:
    platform = RunningPlatform()
    try:
        platform.start()
        admin = Administrator.of(platform)
        model_id = admin.import_archive("kept.zip", tiny_llama_archive())
        admin.wait_for_model(model_id, "ready_to_deploy")
        password = platform.password
        platform.kill()
        platform.start()
        platform.password = platform.password or password
        again = Administrator.of(platform)
        assert again.model(model_id)["state"] == "ready_to_deploy"
        with psycopg.connect(platform.dsn) as connection:
            row = connection.execute(
                "SELECT count(*), max(notification_id) FROM loggia.loggia_events"
            ).fetchone()
        assert row is not None
        assert row[0] == row[1], "positions have no gap"
    finally:
        platform.remove()
