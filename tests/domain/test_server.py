"""A registered server: what may be said of it, and what follows from what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from backend.domain.errors import Invalid, NotAllowed, NotFound
from backend.domain.events import Cause, caused_by
from backend.domain.server import Capacity, Description, Server, checked_address

VLLM = Description(name="gpu-7", address="http://gpu-7:8000/v1/", engine="vllm", engine_version="1")


@pytest.fixture(autouse=True)
def cause() -> Iterator[None]:
    with caused_by(Cause("user:ada", uuid4())):
        yield


def test_a_server_is_described_in_one_form() -> None:
    server = Server.register(VLLM)
    assert (server.address, server.pool, server.grpc_address) == (
        "http://gpu-7:8000", "gpu-7", "",
    )  # fmt: skip
    assert Server.create_id("GPU-7") == server.id
    triton = replace(VLLM, name="t", engine="triton", address="http://[::1]:9000")
    assert Server.register(triton).grpc_address == "[::1]:8001"


@pytest.mark.parametrize(
    ("typed", "normal"),
    [
        ("HTTP://GPU-7:80/", "http://gpu-7"),
        ("https://Gpu-7.example:443/Pool-B/v1", "https://gpu-7.example/Pool-B"),
        ("https://gpu-7:80", "https://gpu-7:80"),
        ("http://gpu-7:08000/v1/", "http://gpu-7:8000"),
        ("http://[FE80::1]:80", "http://[fe80::1]"),
        ("http://[::1]:8080/a//v1", "http://[::1]:8080/a"),
    ],
)
def test_an_address_has_one_form(typed: str, normal: str) -> None:
    assert checked_address(typed) == checked_address(normal) == normal


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "a b"}, "name"),
        ({"name": "Local"}, "name"),
        ({"pool": "kubernetes"}, "pool"),
        ({"engine": "ollama"}, "engine"),
        ({"address": "gpu-7:8000"}, "address"),
        ({"address": "http://ada:secret@gpu-7"}, "address"),
        ({"address": "http://gpu-7?api_key=secret"}, "address"),
        ({"grpc_address": "gpu-7:8001"}, "grpc_address"),
        ({"engine": "triton", "grpc_address": "gpu-7:99999"}, "grpc_address"),
        ({"capacity": Capacity(deployments=0)}, "capacity.deployments"),
        ({"capacity": Capacity(memory_gib=0)}, "capacity.memory_gib"),
        ({"capacity": Capacity(gpu_name="\n")}, "capacity.gpu_name"),
    ],
)
def test_what_cannot_be_is_refused_by_field(change: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        Server.register(replace(VLLM, **change))  # type: ignore[arg-type]
    assert refused.value.field == field


def test_a_grpc_address_follows_the_address_unless_somebody_gave_it() -> None:
    triton = replace(VLLM, engine="triton", address="http://gpu-7:9000")
    server = Server.register(triton)
    assert server.grpc_address == "gpu-7:8001"
    server.change(replace(triton, address="http://gpu-8:9000", grpc_address="gpu-7:8001"))
    assert server.grpc_address == "gpu-8:8001"
    server.change(replace(triton, address="http://gpu-8:9000", grpc_address="gpu-7:8002"))
    server.change(replace(triton, address="http://gpu-9:9000", grpc_address="gpu-7:8002"))
    assert server.grpc_address == "gpu-7:8002"
    server.change(replace(triton, address="http://gpu-9:9000"))
    assert server.grpc_address == "gpu-9:8001"


def test_it_is_lost_once_and_found_once() -> None:
    server = Server.register(VLLM)
    server.record_recovered(lost_seconds=0, engine_version="1")
    server.record_lost(reason="silence", silent_seconds=6)
    server.record_lost(reason="silence", silent_seconds=9)
    server.record_recovered(lost_seconds=4, engine_version="2")
    server.record_recovered(lost_seconds=5, engine_version="3")
    kinds = [event.TOPIC for event in server.pending_events if hasattr(event, "TOPIC")]
    assert kinds == ["ServerRegistered", "ServerLost", "ServerRecovered"]
    assert server.engine_version == "2"


def test_a_removed_name_may_be_registered_again_and_nothing_else() -> None:
    server = Server.register(VLLM)
    with pytest.raises(NotAllowed, match="already"):
        server.register_again(VLLM)
    server.drain(reason="repair")
    server.remove()
    for command in (server.remove, server.end_drain, lambda: server.change(VLLM)):
        with pytest.raises(NotFound):
            command()
    server.register_again(replace(VLLM, address="http://gpu-8:8000"))
    assert (server.draining, server.removed, server.address) == (False, False, "http://gpu-8:8000")


def test_the_engine_stays() -> None:
    server = Server.register(VLLM)
    with pytest.raises(NotAllowed, match="registered with vllm"):
        server.change(replace(VLLM, engine="triton"))
