"""What the launcher does with servers that run already, without a deploy worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest

from backend.domain.configuration import DeployConfiguration
from backend.domain.errors import NotAllowed
from backend.domain.model import Model
from backend.domain.servable import Use
from backend.domain.server import Capacity
from backend.infra.connections import Seal
from backend.infra.servers import ServerStore, StoredServer
from backend.sources.addresses import AddressRules
from backend.sources.guarded import GuardedClient
from tests.rig.inference import TritonDouble
from tests.rig.waiting import eventually
from tests.serving.conftest import Gallery
from tests.serving.doubles import EngineDouble
from tests.serving.registered import KEY, Pool, on
from workers.serving.launchers.launcher import (
    NoPlace,
    Order,
    Place,
    PlaceLost,
    Sighting,
    Wanted,
)
from workers.serving.launchers.plain_triton import PlainTriton
from workers.serving.launchers.remote import RemoteServers, ServerCredentials
from workers.serving.launchers.triton_repository import load_model
from workers.serving.preparation import Prepared
from workers.serving.subject import Subject


@pytest.fixture
def servers(gallery: Gallery) -> Iterator[Pool]:
    servers = Pool(gallery)
    with servers.doubles:
        yield servers


class Desk:
    """The launcher itself, with rows of replicas of one deployment on a Triton server."""

    def __init__(self, gallery: Gallery, model_id: UUID) -> None:
        settings = gallery.settings
        self.pool = gallery.pool
        self.model_id = model_id
        allowed = AddressRules([ip_network("127.0.0.0/8")])
        store = ServerStore(gallery.pool, Seal(settings.secret_key))
        self.launcher = RemoteServers(gallery.pool, store, GuardedClient(allowed))
        version = gallery.store.load(Model, model_id).version_of("0.0.1")
        self.prepared = Prepared(EngineDouble(), Subject(model_id, "tiny", version))
        configuration = DeployConfiguration.from_dict(on("infer-1", "triton"))
        self.wanted = Wanted(uuid4(), uuid4(), model_id, 1, 0, configuration)

    def start(self) -> UUID:
        """Places one more replica, and has it started."""
        wanted = replace(self.wanted, replica_id=uuid4(), deployment_id=uuid4())
        with self.pool.connection() as connection:
            place = self.launcher.place(wanted, connection.cursor())
            connection.execute(
                "INSERT INTO loggia.replicas (replica_id, deployment_id, model_id, revision, slot, "
                "server, state, endpoint) VALUES (%s, %s, %s, 1, 0, %s, 'starting', %s)",
                (wanted.replica_id, wanted.deployment_id, self.model_id, *_where(place)),
            )
        assert self.launcher.start(Order(wanted, place, self.prepared)) == "9"
        return wanted.replica_id

    def stop(self, replica_id: UUID) -> None:
        self.launcher.stop(replica_id, seconds=5)
        with self.pool.connection() as connection:
            connection.execute(
                "UPDATE loggia.replicas SET state = 'ended' WHERE replica_id = %s", (replica_id,)
            )


def _where(place: Place) -> tuple[str, str]:
    return place.server, place.endpoint


def test_triton_loads_a_model_for_the_first_replica_and_unloads_it_after_the_last(
    gallery: Gallery, servers: Pool, model_id: UUID
) -> None:
    server = servers.triton("infer-1", "tiny", key=KEY, deployments=2)
    desk = Desk(gallery, model_id)
    first, second = desk.start(), desk.start()
    assert server.loaded == {"tiny"}
    assert server.loads == ["tiny", "tiny"], "its repository may have changed in between"
    assert desk.launcher.find(first).running
    engine = PlainTriton(EngineDouble())
    with httpx.Client(trust_env=False, auth=ServerCredentials(desk.launcher)) as client:
        assert engine.is_alive(client, server.address)
        assert engine.answers(client, server.address, "tiny", Use.GENERATE)
        assert not engine.answers(client, server.address, "other", Use.GENERATE)
    with pytest.raises(NoPlace, match="serves 2 deployments, its capacity"):
        desk.start()
    desk.stop(first)
    assert server.loaded == {"tiny"}
    desk.stop(second)
    assert server.loaded == set()


def test_a_replicas_gpus_are_as_many_as_it_wants_of_those_that_were_registered(
    gallery: Gallery, servers: Pool, model_id: UUID
) -> None:
    double = servers.doubles.enter_context(TritonDouble("tiny"))
    capacity = Capacity(gpu_count=2, gpu_name="NVIDIA H200")
    servers.register("infer-1", double, "triton", capacity=capacity)
    desk = Desk(gallery, model_id)
    place = Place("infer-1", double.address)
    for accelerator, wanted, given in (("cpu", 0, 0), ("gpu", 1, 1), ("gpu", 3, 2)):
        configuration = DeployConfiguration.from_dict(
            {
                "engine": "triton",
                "hardware": {
                    "server": "infer-1",
                    "accelerator": accelerator,
                    "accelerator_count": wanted,
                },
            }
        )
        order = Order(replace(desk.wanted, configuration=configuration), place, desk.prepared)
        assert desk.launcher.devices(order) == ["NVIDIA H200"] * given


class KnownServers:
    """The double of the table of servers."""

    def __init__(self, credentials: dict[str, str | None]) -> None:
        self._credentials = credentials

    def all(self) -> list[StoredServer]:
        return [
            StoredServer(
                id=uuid4(), name=address, pool=address, address=address, grpc_address="",
                engine="triton", engine_version="9", capacity={}, draining=False,
                lost_seconds=None, silent_seconds=None, problem="", credentials=secret,
            )
            for address, secret in self._credentials.items()
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://proxy/v2/health/ready", "of the proxy"),
        ("https://proxy", "of the proxy"),
        ("https://proxy/pool-b/v2/health/ready", "of pool b"),
        ("https://proxy/pool-c/v2", None),
        ("https://proxy/pool-bb/v2", "of the proxy"),
        ("https://proxy.example/v2", None),
        ("http://gpu-7/v2?a=b", "typed so"),
        ("HTTP://GPU-7:80/v2", "typed so"),
        ("http://gpu-7:8000/v2", None),
    ],
)
def test_every_server_gets_its_own_key_however_its_address_was_typed(
    url: str, secret: str | None
) -> None:
    known = KnownServers(
        {
            "https://proxy": "of the proxy",
            "https://Proxy:443/pool-b": "of pool b",
            "https://proxy/pool-c": None,
            "HTTP://GPU-7:80": "typed so",
        }
    )
    launcher = RemoteServers(cast("Any", None), cast("ServerStore", known), cast("Any", None))
    assert launcher.credentials_of(str(httpx.URL(url))) == secret


def test_a_server_that_was_started_anew_and_has_loaded_nothing_loses_its_replica(
    gallery: Gallery, servers: Pool, model_id: UUID
) -> None:
    server = servers.triton("infer-1", "tiny", key=KEY)
    desk = Desk(gallery, model_id)
    replica = desk.start()
    with gallery.pool.connection() as connection:
        connection.execute("UPDATE loggia.replicas SET state = 'ready'")
    assert desk.launcher.find(replica).running
    server.loaded.clear()

    def gone() -> Sighting | None:
        seen = desk.launcher.find(replica)
        return None if seen.running else seen

    seen = eventually(gone, "the replica is gone", seconds=20)
    assert seen is not None
    assert not seen.crashed
    assert seen.why is not None
    assert seen.why.reason == "The server 'infer-1' answers, and has 'tiny' no longer."
    desk.stop(replica)
    desk.start()
    assert server.loaded == {"tiny"}


def test_what_a_killed_worker_has_loaded_is_unloaded(
    gallery: Gallery, servers: Pool, model_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers.triton("infer-1", "tiny")
    desk = Desk(gallery, model_id)

    def killed(server: StoredServer, name: str, guarded: GuardedClient) -> None:
        load_model(server, name, guarded)
        raise KeyboardInterrupt

    monkeypatch.setattr("workers.serving.launchers.remote.load_model", killed)
    with pytest.raises(KeyboardInterrupt):
        desk.start()
    assert server.loaded == {"tiny"}
    with gallery.pool.connection() as connection:
        row = connection.execute("SELECT replica_id FROM loggia.replicas").fetchone()
    assert row is not None
    desk.stop(row["replica_id"])
    assert server.loaded == set()


def test_what_triton_cannot_load_is_said_in_its_words(
    gallery: Gallery, servers: Pool, model_id: UUID
) -> None:
    server = servers.triton("infer-1", "other", deployments=2)
    desk = Desk(gallery, model_id)
    with pytest.raises(NotAllowed, match="no version is available") as refused:
        desk.start()
    assert "--model-control-mode=explicit" in refused.value.remedy
    server.stop()
    with pytest.raises(PlaceLost):
        desk.start()


def test_triton_is_not_asked_at_a_closed_address(
    gallery: Gallery, servers: Pool, model_id: UUID
) -> None:
    double = servers.doubles.enter_context(TritonDouble("tiny", key=KEY))
    servers.register("infer-1", double, "triton", grpc_address="10.0.0.1:8001")
    with pytest.raises(NotAllowed, match="private address"):
        Desk(gallery, model_id).start()
