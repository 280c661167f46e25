"""Servers that run already, as doubles behind real sockets, under the real deploy worker."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from uuid import UUID

import httpx
import pytest

from backend.application.commands import CommandContext
from backend.application.servers import Credentials
from backend.domain.errors import Invalid, NotAllowed
from backend.domain.server import Capacity, Description
from tests.rig.inference import VllmDouble
from tests.rig.waiting import eventually
from tests.serving.conftest import ADA, Gallery, Worker
from tests.serving.registered import KEY, Pool, on

# Of a watch every two seconds: lost after five of silence.
LOST_SECONDS = 10


@pytest.fixture
def servers(gallery: Gallery, worker: Worker) -> Iterator[Pool]:
    worker.environment["LOGGIA_FETCH_ALLOWED_NETWORKS"] = "127.0.0.0/8"
    servers = Pool(gallery)
    with servers.doubles:
        yield servers
        worker.kill()


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
