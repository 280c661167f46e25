"""The launcher for Docker by itself, before a FAKE Docker engine: see `tests.rig.fake_docker`."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from backend.domain.configuration import DeployConfiguration
from backend.domain.errors import NotAllowed
from backend.domain.version import Version
from backend.infra.postgres import Pool
from backend.infra.settings import Settings
from tests.rig.fake_docker import FakeDocker, fake_docker
from tests.rig.waiting import eventually
from tests.serving.test_room import NvmlDouble
from workers.serving.containers import Container, ContainerOrder, Health
from workers.serving.launchers.configured import Configured
from workers.serving.launchers.docker import Docker, connect
from workers.serving.launchers.gpus import Gpus
from workers.serving.launchers.launcher import (
    Launcher,
    NoPlace,
    Order,
    Place,
    StillPreparing,
    Unreachable,
    Wanted,
)
from workers.serving.launchers.local import LocalProcesses
from workers.serving.preparation import Prepared
from workers.serving.subject import Subject

IMAGE = "registry.test/acme/classifier:1.0"
DOUBLE = [sys.executable, str(Path(__file__).with_name("container_double.py"))]
DELAY = 60


class Image:
    """An engine that is a container, healthy a minute after its start at the earliest."""

    name = "container"

    def container(self, order: ContainerOrder) -> Container:
        health = Health("/ready", 8080, initial_delay=DELAY)
        return Container(IMAGE, "1.0", 8080, health, environment={"PORT": "8080"})


@dataclass
class Bench:
    """A launcher, and the engine that it steers."""

    docker: FakeDocker
    settings: Settings
    path: Path
    launchers: list[Docker] = field(default_factory=list)

    def launcher(self) -> Docker:
        """A worker's, which knows nothing of those before it; its machine has two GPUs."""
        made = Docker(
            self.settings,
            self.path,
            lambda _: "",
            lambda _: ("", ""),
            gpus=Gpus(load=NvmlDouble),
        )
        self.launchers.append(made)
        return made

    def start(self, launcher: Docker, place: Place, **hardware: Any) -> UUID:
        """Starts a container; returns its replica's id."""
        subject = Subject(uuid4(), "tiny", Version("0.0.1", "path", {}, "", None, None, card={}))
        order = Order(wanted(**hardware), place, Prepared(Image(), subject))  # type: ignore[arg-type]

        def started() -> bool:
            try:
                return launcher.start(order) == "1.0"
            except StillPreparing:
                return False

        eventually(started, "the container is started")
        return order.wanted.replica_id


def wanted(**hardware: Any) -> Wanted:
    hardware = {"server": "docker", "memory_gib": 1.0, **hardware}
    configuration = DeployConfiguration.from_dict({"engine": "container", "hardware": hardware})
    return Wanted(uuid4(), uuid4(), uuid4(), 1, 0, configuration)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    path = tmp_path / "docker.sock"
    settings = Settings(_env_file=None, data_dir=tmp_path / "data")
    with fake_docker(path, tmp_path, {IMAGE: DOUBLE}) as docker:
        bench = Bench(docker, settings, path)
        yield bench
        for launcher in bench.launchers:
            launcher.close()


def test_a_container_has_its_first_delay_only_once(bench: Bench) -> None:
    first = bench.launcher()
    replica = bench.start(first, Place(first.server, ""))
    assert first.find(replica).healthy is False, "it begins"
    assert bench.launcher().find(replica).healthy is False, "it begins, whoever looks"
    (container,) = bench.docker.containers.values()
    container.started_at -= timedelta(seconds=DELAY)
    successor = bench.launcher()
    eventually(lambda: successor.find(replica).healthy, "it is found healthy", seconds=20)


GPU = {"accelerator": "gpu", "accelerator_count": 1, "memory_gib": 20.0}


def place(launcher: Launcher, pool: Pool, **hardware: Any) -> Place:
    """Has a replica placed, and writes down what it was promised."""
    asked = wanted(**hardware)
    with pool.connection() as connection:
        place = launcher.place(asked, connection.cursor())
        connection.execute(
            "INSERT INTO loggia.replicas (replica_id, deployment_id, model_id, revision, slot, "
            "server, state, endpoint, memory_gib, devices) "
            "VALUES (%s, %s, %s, 1, 0, %s, 'starting', '', %s, %s)",
            (
                asked.replica_id,
                asked.deployment_id,
                asked.model_id,
                place.server,
                place.memory_gib,
                Jsonb([share.facts() for share in place.devices]),
            ),
        )
    return place


def test_containers_and_processes_get_gpus_of_their_own(
    bench: Bench, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    launcher = bench.launcher()
    local = LocalProcesses(bench.settings.data, gpus=Gpus(load=NvmlDouble))
    process, container = place(local, pool, **GPU), place(launcher, pool, **GPU)
    assert [place.devices[0].index for place in (process, container)] == [0, 1]
    for either in (local, launcher):
        with pytest.raises(NoPlace, match="0 of this server's 2 are"):
            place(either, pool, **GPU)

    bench.start(launcher, container, **GPU)
    (started,) = bench.docker.containers.values()
    host = started.configuration["HostConfig"]
    (asked,) = host["DeviceRequests"]
    assert (asked["DeviceIDs"], asked["Count"]) == (["GPU-1a"], 0)
    assert not host.get("Memory"), "the memory is that of the GPU"


def test_memory_is_promised_to_processes_and_containers_together(bench: Bench, pool: Pool) -> None:
    launcher = bench.launcher()
    local = LocalProcesses(bench.settings.data)
    most = local.machine().memory_gib
    assert place(launcher, pool, memory_gib=most - 0.5).memory_gib == most - 0.5
    for either in (local, launcher):
        with pytest.raises(NoPlace, match="of memory"):
            place(either, pool)


def test_docker_may_be_stopped_when_the_worker_starts(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    settings = Settings(_env_file=None, data_dir=tmp_path / "data")
    launcher = connect(settings, path, lambda _: "", lambda _: ("", ""))
    for _ in range(2):
        with pytest.raises(Unreachable, match="Docker does not answer"):
            launcher.find(uuid4())
    assert launcher.log(uuid4()).tail() == []
    path.unlink()
    with fake_docker(path, tmp_path, {}):
        assert not launcher.find(uuid4()).known
        launcher.close()


def test_a_launcher_that_cannot_be_made_stops_nobody_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no such library")

    monkeypatch.setattr("workers.serving.launchers.docker.connect", fails)
    settings = bench.settings.model_copy(update={"docker_socket": bench.path})
    unused: Any = None
    launchers = Configured(unused, settings, unused)
    with pytest.raises(NotAllowed, match="docker cannot be used: no such library"):
        launchers.named("docker")
    with pytest.raises(Unreachable):
        launchers.at("docker:host:/data")
