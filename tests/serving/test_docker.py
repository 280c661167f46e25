"""The deploy worker with a FAKE Docker engine at a unix socket: see `tests.rig.fake_docker`.

The worker is the real one in a process of its own, with the client library of Docker; containers
are processes of this machine. No real Docker engine has ever run these tests.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from backend.application.commands import CommandContext, CommandRunner
from backend.application.connections import Connections
from backend.application.engine_facts import EngineFactsTable
from backend.domain.errors import NotAllowed
from backend.infra.connections import Seal
from backend.infra.postgres import Pool
from backend.infra.settings import Settings
from tests.rig.fake_docker import FakeDocker, fake_docker
from tests.rig.waiting import eventually
from tests.serving.conftest import ADA, Gallery, Worker
from tests.serving.images import IMAGE, PINNED, import_image
from tests.serving.worker_process import PATIENCE

ON_DOCKER = {"server": "docker", "accelerator": "cpu", "memory_gib": 1.0}
DOUBLE = [sys.executable, str(Path(__file__).with_name("container_double.py"))]


class Site:
    """A gallery, its deploy worker and a fake Docker engine."""

    def __init__(self, gallery: Gallery, worker: Worker, docker: FakeDocker) -> None:
        self.gallery = gallery
        self.worker = worker
        self.docker = docker

    def deploy(self, model_id: UUID, arguments: dict[str, str] | None = None) -> int:
        """Once the worker, which must run, has told that containers can be served."""
        facts = EngineFactsTable(self.gallery.pool)
        eventually(lambda: "container" in facts.offered(), "container images are offered")
        return self.gallery.deploy(
            model_id, {"port": "8080", **(arguments or {})}, engine="container", hardware=ON_DOCKER
        )

    def connect(self, name: str, kind: str, secret: str) -> None:
        settings = self.gallery.settings
        connections = Connections(
            CommandRunner(self.gallery.store, settings.secret_key), Seal(settings.secret_key)
        )
        connections.save(
            CommandContext(ADA), name=name, kind=kind, endpoint="https://x.test", secret=secret
        )


@pytest.fixture
def site(serving_settings: Settings, pool: Pool, tmp_path: Path) -> Iterator[Site]:
    path = tmp_path / "docker.sock"
    with fake_docker(path, tmp_path, {PINNED: DOUBLE}) as docker:
        settings = serving_settings.model_copy(update={"docker_socket": path})
        gallery = Gallery(settings, pool)
        worker = Worker(settings, tmp_path / "worker.log")
        worker.environment |= {"LOGGIA_DOCKER_SOCKET": str(path)}
        yield Site(gallery, worker, docker)
        worker.kill()
        gallery.close()
        print(worker.log.read_text() if worker.log.exists() else "no worker ran")


@pytest.fixture
def deployed(site: Site) -> UUID:
    model_id = import_image(site.gallery)
    site.worker.start()
    site.deploy(model_id, {"greeting": "hello"})
    site.gallery.await_state(model_id, "deployed")
    return model_id


def classify(site: Site, model_id: UUID) -> Any:
    endpoint = site.gallery.endpoint(model_id)
    answer = httpx.post(f"{endpoint}/classify", content=b"a text", timeout=10, trust_env=False)
    return answer.raise_for_status().json()


def test_an_image_runs_as_its_configuration_says(site: Site, deployed: UUID) -> None:
    assert classify(site, deployed)["greeting"] == "hello"
    (started,) = site.gallery.recorded(deployed, "ReplicaStarted")
    assert started["server"] == "docker"
    assert started["engine"] == "container"
    (container,) = site.docker.containers.values()
    host = container.configuration["HostConfig"]
    assert container.configuration["Image"] == PINNED  # what was inspected, wherever the tag points
    assert host["Memory"] == 1024**3
    assert host["PortBindings"]["8080/tcp"][0]["HostIp"] == "127.0.0.1"


def test_stopping_removes_the_container_and_keeps_its_log(site: Site, deployed: UUID) -> None:
    (started,) = site.gallery.recorded(deployed, "ReplicaStarted")
    site.gallery.stop(deployed)
    site.gallery.await_state(deployed, "stopped", seconds=60)
    assert site.docker.containers == {}
    log = site.gallery.settings.data / "engines" / started["replica_id"] / "log"
    assert "loading" in log.read_text()


def test_a_container_that_dies_is_replaced_with_its_last_words(site: Site, deployed: UUID) -> None:
    (process,) = site.docker.processes()
    os.kill(process, signal.SIGKILL)
    site.gallery.await_recorded(deployed, "ReplicaReady", 2)
    (lost,) = site.gallery.recorded(deployed, "ReplicaLost")
    assert lost["exit_code"] == 137
    assert "killed" in lost["reason"]
    assert classify(site, deployed)["greeting"] == "hello"
    assert len(site.docker.containers) == 1


@pytest.mark.parametrize(
    "place", ["add:after", "replica_started:before", "announce:before", "replica_ready:after"]
)
def test_a_worker_that_is_killed_is_continued_with_the_same_container(
    site: Site, place: str
) -> None:
    model_id = import_image(site.gallery)
    site.worker.start(die_at=place)
    site.deploy(model_id)
    site.worker.await_death()
    site.worker.start()
    site.gallery.await_state(model_id, "deployed")
    assert classify(site, model_id)["text"] == "a text"
    assert len(site.docker.containers) == 1
    assert len(site.gallery.recorded(model_id, "ReplicaStarted")) == 1
    assert site.gallery.recorded(model_id, "ReplicaLost") == []


def test_a_container_that_answers_is_taken_over_however_late(site: Site) -> None:
    model_id = import_image(site.gallery)
    site.worker.start(die_at="replica_started:before")
    site.deploy(model_id)
    site.worker.await_death()
    late = f"SELECT now() - created_at > interval '{PATIENCE.start + 1} s' FROM loggia.replicas"

    def is_late() -> bool:
        with site.gallery.pool.connection() as connection:
            return bool(connection.execute(late.encode()).fetchone() == {"?column?": True})

    eventually(is_late, "an engine would have had to answer by now")
    site.worker.start()
    site.gallery.await_state(model_id, "deployed")
    assert len(site.docker.containers) == 1


def test_the_secret_of_a_connection_reaches_the_container_and_no_event(site: Site) -> None:
    site.connect("token", "http", "s3cret")
    model_id = import_image(site.gallery)
    site.worker.start()
    site.deploy(model_id, {"token": "token"})
    site.gallery.await_state(model_id, "deployed")
    assert classify(site, model_id)["token"] == hashlib.sha256(b"s3cret").hexdigest()
    assert "s3cret" not in json.dumps(site.gallery.events(model_id), default=str)
    assert "s3cret" not in site.worker.log.read_text()


def test_a_private_image_is_fetched_with_the_account_of_its_connection(site: Site) -> None:
    site.docker.accounts[PINNED] = ("ana", "pass")
    site.connect("ours", "registry", "ana:pass")
    model_id = import_image(site.gallery, connection="ours")
    site.worker.start()
    site.deploy(model_id)
    site.gallery.await_state(model_id, "deployed")
    assert site.docker.logins == [("ana", "pass")]


@pytest.mark.parametrize(
    ("arguments", "said", "remedy"),
    [
        ({"mode": "die-at-load"}, "no weights in this image", "Read the log"),
        ({"unknown": "1"}, "reads no such variable", "Known are"),
        ({"token": "nobody"}, "no connection 'nobody'", "Save one"),
    ],
)
def test_what_cannot_run_fails_the_revision_and_says_why(
    site: Site, arguments: dict[str, str], said: str, remedy: str
) -> None:
    model_id = import_image(site.gallery)
    site.worker.start()
    site.deploy(model_id, arguments)
    site.gallery.await_state(model_id, "failed")
    (failed,) = site.gallery.recorded(model_id, "RevisionFailed")
    assert said in failed["reason"]
    assert remedy in failed["remedy"]
    eventually(lambda: site.docker.containers == {}, "nothing is left")


def test_an_image_that_is_gone_fails_the_revision(site: Site) -> None:
    del site.docker.images[PINNED]
    model_id = import_image(site.gallery)
    site.worker.start()
    site.deploy(model_id)
    site.gallery.await_state(model_id, "failed")
    (failed,) = site.gallery.recorded(model_id, "RevisionFailed")
    assert f"cannot get the image {PINNED}" in failed["reason"]
    assert IMAGE.partition(":")[0] in failed["reason"]


def test_a_container_that_stops_answering_is_replaced(site: Site, deployed: UUID) -> None:
    (process,) = site.docker.processes()
    os.kill(process, signal.SIGSTOP)
    site.gallery.await_recorded(deployed, "ReplicaReady", 2, seconds=60)
    assert classify(site, deployed)["greeting"] == "hello"


def test_the_gateway_answers_the_interfaces_of_an_image_and_nothing_else(
    site: Site, deployed: UUID
) -> None:
    v1 = site.worker.start_gateway()
    root = v1.removesuffix("/v1")
    with httpx.Client(
        headers={"Authorization": f"Bearer {site.gallery.key(deployed)}"},
        timeout=10,
        trust_env=False,
    ) as client:

        def answers() -> bool:
            try:
                return client.get(f"{root}/readyz").is_success
            except httpx.HTTPError:
                return False

        eventually(answers, "the gateway is ready")
        answer = client.post(
            f"{root}/raw/classify?best=1", content=b"a text", headers={"Content-Type": "text/plain"}
        ).json()
        assert (answer["text"], answer["path"]) == ("a text", "/classify?best=1")
        assert answer["kind"] == "text/plain"
        assert answer["authorization"] is None  # the key is the gateway's business
        completed = client.post(f"{v1}/completions", json={"model": "classifier", "prompt": "x"})
        assert completed.json()["choices"][0]["text"] == "from a container"
        for method, path in (
            ("GET", "/raw/die"),
            ("GET", "/raw/ready"),
            ("GET", "/raw/classify"),
            ("POST", "/raw/../die"),
        ):
            refused = client.request(method, f"{root}{path}")
            assert refused.status_code == 404, path
        missing = client.post(f"{v1}/embeddings", json={"model": "classifier", "input": "x"})
        assert missing.json()["error"]["code"] == "not_offered"
    (_,) = site.docker.processes()


def test_an_image_cannot_be_deployed_where_nothing_runs_containers(
    gallery: Gallery, worker: Worker
) -> None:
    model_id = import_image(gallery)
    gallery.knows_engines()
    with pytest.raises(NotAllowed) as refused:
        gallery.deploy(model_id, engine="container", hardware=ON_DOCKER)
    assert "No launcher that runs containers is configured" in refused.value.detail
