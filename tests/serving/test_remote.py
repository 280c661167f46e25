"""Servers that run already, as doubles behind real sockets, under the real deploy worker."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest

from backend.application.commands import CommandContext, CommandRunner
from backend.application.feed import EventFeed
from backend.application.servers import Credentials, Servers
from backend.domain.configuration import DeployConfiguration
from backend.domain.errors import Invalid, NotAllowed
from backend.domain.model import Model
from backend.domain.servable import Use
from backend.domain.server import Capacity, Description
from backend.infra.connections import Seal
from backend.infra.servers import ServerStore, StoredServer
from backend.sources.addresses import AddressRules
from backend.sources.guarded import GuardedClient
from tests.rig.inference import HttpDouble, TritonDouble, VllmDouble
from tests.rig.waiting import eventually
from tests.serving.conftest import ADA, Gallery, Worker
from tests.serving.doubles import EngineDouble
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

# Of a watch every two seconds: lost after five of silence.
LOST_SECONDS = 10
KEY = "sk-of-the-server"


class Pool:
    """Doubles that are registered, and what the event store says of them."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self.servers = Servers(
            CommandRunner(gallery.store, gallery.settings.secret_key),
            Seal(gallery.settings.secret_key),
        )
        self.doubles = ExitStack()

    def vllm(self, name: str, *models: str, pool: str = "", key: str | None = None) -> VllmDouble:
        """A vLLM double that serves these models, registered."""
        double = self.doubles.enter_context(VllmDouble(*models, key=key))
        self.register(name, double, "vllm", pool=pool)
        return double

    def triton(
        self, name: str, *repository: str, key: str | None = None, deployments: int = 1
    ) -> TritonDouble:
        """A Triton double with these models in its repository, registered."""
        double = self.doubles.enter_context(TritonDouble(*repository, key=key))
        capacity = Capacity(deployments=deployments)
        address = double.grpc_address
        self.register(name, double, "triton", grpc_address=address, capacity=capacity)
        return double

    def register(self, name: str, double: HttpDouble, engine: str, **more: Any) -> None:
        description = Description(
            name=name, address=double.address, engine=engine, engine_version="9", **more
        )
        self.servers.register(CommandContext(ADA), description, double.key)

    def events(self, kind: str) -> list[dict[str, Any]]:
        found = EventFeed(self.gallery.store, self.gallery.settings.dsn).read(0, 10_000)
        return [event.data for event in found if event.type == kind]

    def await_event(self, kind: str, *, seconds: float = 20) -> dict[str, Any]:
        return eventually(lambda: self.events(kind), f"a {kind}", seconds=seconds)[-1]


@pytest.fixture
def servers(gallery: Gallery, worker: Worker) -> Iterator[Pool]:
    worker.environment["LOGGIA_FETCH_ALLOWED_NETWORKS"] = "127.0.0.0/8"
    servers = Pool(gallery)
    with servers.doubles:
        yield servers
        worker.kill()


def on(server: str, engine: str = "vllm", replicas: int = 1) -> dict[str, Any]:
    scaling = {"min_replicas": replicas, "max_replicas": replicas}
    return {"engine": engine, "hardware": {"server": server}, "scaling": scaling}


def removed(servers: Pool, name: str) -> bool:
    """Whether the server could be removed, which it cannot while it is used."""
    try:
        servers.servers.remove(CommandContext(ADA), name)
    except NotAllowed:
        return False
    return True


def servers_of(gallery: Gallery, model_id: UUID) -> list[str]:
    return [facts["server"] for facts in gallery.recorded(model_id, "ReplicaStarted")]


def test_a_model_is_served_by_a_server_that_runs_already(
    gallery: Gallery, worker: Worker, servers: Pool, model_id: UUID
) -> None:
    server = servers.doubles.enter_context(VllmDouble("tiny", key=KEY))
    capacity = Capacity(gpu_count=2, gpu_name="NVIDIA H200")
    servers.register("gpu-7", server, "vllm", capacity=capacity)
    worker.start()
    hardware = {"server": "gpu-7", "accelerator": "gpu", "accelerator_count": 1}
    gallery.deploy(model_id, **{**on("gpu-7"), "hardware": hardware})
    gallery.await_state(model_id, "deployed")
    assert gallery.endpoint(model_id) == server.address
    (started,) = gallery.recorded(model_id, "ReplicaStarted")
    assert (started["server"], started["engine_version"]) == ("gpu-7", "9")
    assert started["devices"] == ["NVIDIA H200"]
    assert {key for path, key in server.asked if path == "/v1/completions"} == {f"Bearer {KEY}"}
    assert gallery.engines() == []

    with pytest.raises(NotAllowed, match="a replica runs on it"):
        servers.servers.remove(CommandContext(ADA), "gpu-7")
    gallery.stop(model_id)
    gallery.await_state(model_id, "stopped")
    servers.servers.remove(CommandContext(ADA), "gpu-7")
    with pytest.raises(Invalid, match="'gpu-7' is not there"):
        gallery.deploy(model_id, **on("gpu-7"))
    with gallery.pool.connection() as connection:
        assert connection.execute("SELECT * FROM loggia.servers").fetchall() == []


def test_a_model_that_the_server_does_not_serve_fails_by_name(
    gallery: Gallery, worker: Worker, servers: Pool, model_id: UUID
) -> None:
    servers.vllm("gpu-7", "llama", "qwen")
    worker.start()
    gallery.deploy(model_id, **on("gpu-7"))
    gallery.await_state(model_id, "failed")
    (failed,) = gallery.recorded(model_id, "RevisionFailed")
    assert (
        failed["reason"] == "The server 'gpu-7' does not serve 'tiny'; it serves 'llama', 'qwen'."
    )
    assert "--served-model-name tiny" in failed["remedy"]


def test_a_deployment_names_a_server_that_is_there_for_its_engine(
    gallery: Gallery, servers: Pool, model_id: UUID
) -> None:
    servers.triton("infer-1")
    for name, said in (("infer-1", "has triton, not vllm"), ("infer-2", "is not there")):
        with pytest.raises(Invalid, match=said) as refused:
            gallery.deploy(model_id, **on(name))
        assert refused.value.field == "hardware.server"


def test_replicas_of_a_lost_server_are_replaced_in_its_pool(
    gallery: Gallery, worker: Worker, servers: Pool, model_id: UUID
) -> None:
    first = servers.vllm("gpu-1", "tiny", pool="gpus")
    second = servers.vllm("gpu-2", "tiny", pool="gpus")
    worker.start()
    gallery.deploy(model_id, **on("gpus"))
    gallery.await_state(model_id, "deployed")
    assert servers_of(gallery, model_id) == ["gpu-1"]
    first.stop()
    lost = servers.await_event("ServerLost")
    assert lost["name"] == "gpu-1"
    assert lost["silent_seconds"] <= LOST_SECONDS
    gallery.await_recorded(model_id, "ReplicaReady", 2)
    assert servers_of(gallery, model_id) == ["gpu-1", "gpu-2"]
    assert gallery.endpoint(model_id) == second.address
    assert gallery.deployment(model_id).state == "deployed"
    # Whoever looks first says so: the replica's own check, or the server's.
    for gone in gallery.recorded(model_id, "ReplicaLost"):
        assert re.search("'gpu-1' does not answer|has not responded", gone["reason"])
    first.version = "0.33.0"
    first.start()
    assert servers.await_event("ServerRecovered")["engine_version"] == "0.33.0"


def test_a_deployment_waits_for_its_only_server(
    gallery: Gallery, worker: Worker, servers: Pool, model_id: UUID
) -> None:
    server = servers.vllm("gpu-1", "tiny")
    worker.start()
    gallery.deploy(model_id, **on("gpu-1"))
    gallery.await_state(model_id, "deployed")
    server.stop()
    gallery.await_recorded(model_id, "ReplicaLost")
    server.start()
    gallery.await_recorded(model_id, "ReplicaReady", 2)
    assert gallery.deployment(model_id).state == "deployed"
    assert gallery.recorded(model_id, "RevisionFailed") == []


def test_a_deployment_waits_for_its_only_server_even_where_that_was_removed_meanwhile(
    gallery: Gallery, worker: Worker, servers: Pool, model_id: UUID
) -> None:
    server = servers.vllm("gpu-1", "tiny")
    worker.start()
    gallery.deploy(model_id, **on("gpu-1"))
    gallery.await_state(model_id, "deployed")
    server.stop()
    servers.await_event("ServerLost")
    eventually(lambda: removed(servers, "gpu-1"), "the lost server can be removed")
    # Steady deployments are looked at every second.
    time.sleep(2.5)
    assert gallery.deployment(model_id).state == "deployed"
    server.start()
    servers.register("gpu-1", server, "vllm")
    gallery.await_recorded(model_id, "ReplicaReady", 2)
    assert gallery.recorded(model_id, "RevisionFailed") == []


def test_a_server_stays_in_its_pool_while_it_is_used(
    gallery: Gallery, worker: Worker, servers: Pool, model_id: UUID
) -> None:
    server = servers.vllm("gpu-1", "tiny", pool="gpus")
    worker.start()
    gallery.deploy(model_id, **on("gpus"))
    gallery.await_state(model_id, "deployed")

    def change(pool: str, capacity: int, address: str = server.address) -> None:
        description = Description(
            name="gpu-1",
            address=address,
            engine="vllm",
            engine_version="9",
            pool=pool,
            capacity=Capacity(deployments=capacity),
        )
        servers.servers.change(CommandContext(ADA), description, Credentials(kept=True))

    with pytest.raises(NotAllowed, match="cannot leave its pool while a replica runs") as refused:
        change("others", 1)
    assert "Drain" in refused.value.remedy
    with pytest.raises(NotAllowed, match="cannot get another address while a replica runs"):
        change("gpus", 1, f"{server.address}/other")
    change("gpus", 2)
    assert servers.events("ServerChanged")[-1]["pool"] == "gpus"
    gallery.stop(model_id)
    gallery.await_state(model_id, "stopped")
    change("others", 2)
    assert servers.events("ServerChanged")[-1]["pool"] == "others"


def test_replicas_are_spread_and_more_than_servers_never_fit(
    gallery: Gallery, worker: Worker, servers: Pool, model_id: UUID
) -> None:
    servers.vllm("gpu-1", "tiny", pool="gpus")
    servers.vllm("gpu-2", "tiny", pool="gpus")
    worker.start()
    gallery.deploy(model_id, **on("gpus", replicas=2))
    gallery.await_state(model_id, "deployed")
    assert sorted(servers_of(gallery, model_id)) == ["gpu-1", "gpu-2"]
    gallery.deploy(model_id, **on("gpus", replicas=3))
    gallery.await_state(model_id, "failed")
    (failed,) = gallery.recorded(model_id, "RevisionFailed")
    assert failed["reason"] == "3 replicas want a server each, and 'gpus' has 2 servers."
    assert failed["serving_revision"] == 1


def test_a_full_server_takes_the_next_deployment_when_the_first_has_gone(
    gallery: Gallery, worker: Worker, servers: Pool, model_id: UUID
) -> None:
    servers.vllm("gpu-1", "tiny", "other")
    other = gallery.import_model({"config.json": b"{}", "model.safetensors": b"more"}, "other")
    worker.start()
    gallery.deploy(model_id, **on("gpu-1"))
    gallery.await_state(model_id, "deployed")
    gallery.deploy(other, **on("gpu-1"))
    gallery.stop(model_id)
    gallery.await_state(other, "deployed")


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


def test_a_capacity_counts_deployments(gallery: Gallery, servers: Pool) -> None:
    double = servers.doubles.enter_context(VllmDouble("tiny"))
    servers.register("gpu-9", double, "vllm", capacity=Capacity(deployments=2, memory_gib=80.0))
    (registered,) = servers.events("ServerRegistered")
    assert registered["capacity"] == {
        "deployments": 2, "memory_gib": 80.0, "gpu_count": 0, "gpu_name": "",
        "gpu_memory_gib": None,
    }  # fmt: skip
    assert KEY not in str(registered)


def test_a_drained_server_is_left_when_others_answer_in_its_place(
    gallery: Gallery, worker: Worker, servers: Pool, model_id: UUID
) -> None:
    servers.vllm("gpu-1", "tiny", pool="gpus")
    worker.start()
    gallery.deploy(model_id, **on("gpus"))
    gallery.await_state(model_id, "deployed")
    servers.servers.drain(CommandContext(ADA), "gpu-1", reason="new driver")
    # Where there is no room elsewhere, it stays.
    with pytest.raises(NotAllowed, match="a replica runs on it"):
        servers.servers.remove(CommandContext(ADA), "gpu-1")
    second = servers.vllm("gpu-2", "tiny", pool="gpus")
    (retired,) = gallery.await_recorded(model_id, "ReplicaRetired")
    assert retired["reason"] == "The server 'gpu-1' is being drained."
    assert gallery.endpoint(model_id) == second.address
    kinds = [kind for kind, _ in gallery.events(model_id)]
    assert kinds[-3:] == ["ReplicaStarted", "ReplicaReady", "ReplicaRetired"]
    eventually(lambda: removed(servers, "gpu-1"), "the drained server can be removed")
    assert gallery.deployment(model_id).state == "deployed"


def test_the_gateway_calls_a_server_with_its_key(
    gallery: Gallery, worker: Worker, servers: Pool, model_id: UUID
) -> None:
    server = servers.vllm("gpu-7", "tiny", key=KEY)
    worker.start()
    gallery.deploy(model_id, **on("gpu-7"))
    gallery.await_state(model_id, "deployed")
    base, key = worker.start_gateway(), gallery.key(model_id)

    def answered() -> httpx.Response | None:
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.post(
                f"{base}/completions",
                json={"model": "tiny", "prompt": "Hello", "max_tokens": 1},
                headers={"Authorization": f"Bearer {key}"},
                trust_env=False,
            )
            return answer if answer.status_code == 200 else None
        return None

    answer = eventually(answered, "the gateway answers")
    assert answer is not None
    assert answer.json()["choices"][0]["text"] == f"from {server.port}"
    assert {sent for _, sent in server.asked} == {f"Bearer {KEY}"}
    assert KEY not in worker.log.read_text()
