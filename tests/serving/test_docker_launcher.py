"""The launcher for Docker by itself, before a FAKE Docker engine: see `tests.rig.fake_docker`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.domain.configuration import DeployConfiguration
from backend.domain.version import Version
from backend.infra.settings import Settings
from tests.rig.fake_docker import FakeDocker, fake_docker
from tests.rig.waiting import eventually
from workers.serving.containers import Container, ContainerOrder, Health
from workers.serving.launchers.docker import Docker
from workers.serving.launchers.launcher import Order, Place, StillPreparing, Wanted
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
    socket: Path
    launchers: list[Docker] = field(default_factory=list)

    def launcher(self) -> Docker:
        """A worker's, which knows nothing of those before it."""
        made = Docker(self.settings, self.socket, lambda _: "", lambda _: ("", ""))
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
