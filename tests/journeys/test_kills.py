"""`kill -9` of every process in turn: everything reaches its end, nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.journeys.archives import tiny_llama_archive
from tests.journeys.deploying import CONFIGURATION
from tests.rig.agreement import (
    has_come_to_rest,
    marker_since,
    stored,
    topic_faults,
    view_faults,
)
from tests.rig.client import Administrator
from tests.rig.integrator import DocumentedConsumer
from tests.rig.operation_log import assert_clean
from tests.rig.platform import RunningPlatform
from tests.rig.waiting import eventually
from tests.rig.watching import Watch

ROLES = ["api", "relay", "project", "work import", "gateway", "broker", "postgres"]
IMPORTED = ["ModelImportRequested", "ModelArchiveReceived", "ModelFilesStored", "ModelValidated"]
ATTEMPTS = 5


@pytest.fixture
def watch(platform_up: RunningPlatform) -> Iterator[Watch]:
    with Watch(platform_up.settings) as watching:
        yield watching


def kill(platform: RunningPlatform, role: str) -> None:
    """kill -9 now; the supervisor starts it again."""
    pid = eventually(lambda: platform.pid_of(role), f"{role} runs")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: platform.pid_of(role) not in {None, pid}, f"{role} is back", seconds=30)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def check_everything(platform: RunningPlatform, admin: Administrator, since: int) -> None:
    """Operation log, event table, topic, read models and stored positions agree."""
    settings = platform.settings
    eventually(lambda: has_come_to_rest(settings), "everything has been applied", seconds=60)
    assert_clean(admin.log.check(stored(settings), marker_since(since)))
    assert_clean(topic_faults(settings))
    assert_clean(view_faults(settings))


def types_of(platform: RunningPlatform, model_id: str) -> list[str]:
    return [event.type for event in stored(platform.settings) if event.model_id == model_id]


class Import:
    """One import, in which a process is killed in the upload, the extraction and the validation."""

    def __init__(
        self, platform: RunningPlatform, admin: Administrator, watch: Watch, chance: random.Random
    ) -> None:
        self._platform, self._admin, self._watch, self._chance = platform, admin, watch, chance

    def killing(self, role: str, name: str) -> tuple[str, bool]:
        """The model's id, and whether the last kill came before validation was over."""
        archive = tiny_llama_archive(padding_bytes=20_000_000)
        upload_id = self._admin.begin_upload(f"{name}.zip", len(archive))
        body = {"source": "upload", "kind": "base", "uploadId": upload_id}
        model_id = str(self._admin.command("POST", "/api/imports", body)["id"])
        middle = self._chance.randrange(1, len(archive))

        def broken_off() -> Iterator[bytes]:
            yield archive[:middle]
            kill(self._platform, role)
            yield archive[middle:]

        with suppress(httpx.TransportError):
            self._admin.send_pieces(upload_id, 0, broken_off(), len(archive))
        self._admin.send_rest(upload_id, archive)
        self._watch.wait_for(model_id, "ModelArchiveReceived")
        time.sleep(self._chance.uniform(0, 0.5))
        kill(self._platform, role)
        self._watch.wait_for(model_id, "ModelFilesStored", seconds=120)
        kill(self._platform, role)
        hit = not self._watch.has(model_id, "ModelValidated")
        model = self._admin.wait_for_model(
            model_id, "ready_to_deploy", "import_failed", seconds=120
        )
        assert model["state"] == "ready_to_deploy", (role, model["failure"])
        return model_id, hit


@pytest.mark.journey
@pytest.mark.timeout(900)
def test_imports_survive_the_death_of_every_process(
    platform_up: RunningPlatform, watch: Watch, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    roles = chance.sample(ROLES, len(ROLES))
    admin = Administrator.of(platform_up)
    since = len(stored(platform_up.settings))
    consumer = DocumentedConsumer(tmp_path, platform_up.bootstrap_servers)
    imports = Import(platform_up, admin, watch, chance)
    imported: list[str] = []
    try:
        for role in roles:
            # Who validates must have been killed while it did; with the others it is chance.
            for attempt in range(ATTEMPTS):
                name = f"{role.replace(' ', '-')}-{attempt}"
                model_id, hit = imports.killing(role, name)
                imported.append(model_id)
                if hit or role != "work import":
                    break
            else:
                pytest.fail(f"{ATTEMPTS} times validation was over before the worker was killed")
            assert_clean(view_faults(platform_up.settings))

        for model_id in imported:
            assert types_of(platform_up, model_id) == IMPORTED
            consumer.wait_for(model_id, "ModelValidated", seconds=60)
            heard = [event.type for event in consumer.events_of(model_id)]
            assert heard == IMPORTED
        check_everything(platform_up, admin, since)
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
def test_a_deployment_survives_the_death_of_every_process(
    platform_up: RunningPlatform, watch: Watch, seed: int
) -> None:
    chance = random.Random(seed)
    admin = Administrator.of(platform_up)
    since = len(stored(platform_up.settings))
    model_id = admin.import_archive("survivor.zip", tiny_llama_archive())
    admin.wait_for_model(model_id, "ready_to_deploy")

    def survives(revision: int) -> None:
        """The deploy worker is killed at each of its steps, all others while the engine starts."""
        for step in ("DeploymentRequested", "ReplicaStarted"):
            watch.wait_for(model_id, step, revision=revision, seconds=300)
            kill(platform_up, "work deploy")
        assert not watch.has(model_id, "RevisionDeployed", revision=revision)
        for role in chance.sample(ROLES, len(ROLES)):
            kill(platform_up, role)
        watch.wait_for(model_id, "RevisionDeployed", revision=revision, seconds=600)
        kill(platform_up, "work deploy")

    admin.deploy(model_id, CONFIGURATION)
    survives(1)
    admin.deploy(model_id, {**CONFIGURATION, "parameters": {"temperature": 0.5}}, "warmer")
    survives(2)
    watch.wait_for(model_id, "RevisionRetired", revision=1, seconds=120)

    deployment = admin.wait_for_deployment(model_id, "deployed", "failed")
    assert deployment["servingRevision"] == 2, deployment["failure"]
    assert len(deployment["replicas"]) == 1
    told = Counter(types_of(platform_up, model_id))
    assert (told["DeploymentRequested"], told["RevisionDeployed"]) == (2, 2)
    assert (told["RevisionRetired"], told["RevisionFailed"]) == (1, 0)
    check_everything(platform_up, admin, since)


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
        check_everything(platform, admin, since=0)
    finally:
        platform.remove()
