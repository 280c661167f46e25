"""What servers that run already say of themselves, asked at doubles through the guarded client."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from backend.sources.addresses import AddressRules
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.exchange import Persistence
from backend.sources.guarded import GuardedClient
from backend.sources.inference_servers import ask_server, check_ready, grpc_target, serves
from tests.rig.inference import TritonDouble, VllmDouble
from tests.rig.ports import free_port


@pytest.fixture
def client() -> Iterator[GuardedClient]:
    rules = AddressRules([ip_network("127.0.0.1/32")])
    with GuardedClient(rules, persistence=Persistence(1)) as guarded:
        yield guarded


def test_vllm_says_its_version_and_what_it_serves(client: GuardedClient) -> None:
    with VllmDouble("tiny", "large") as server:
        facts = ask_server("vllm", server.address, None, client)
        assert (facts.engine_version, facts.models) == ("0.32.0", ("tiny", "large"))
        check_ready("vllm", server.address, None, client)


def test_triton_says_its_version_and_whether_it_loads_models(client: GuardedClient) -> None:
    with TritonDouble() as server:
        facts = ask_server("triton", server.address, None, client)
        assert (facts.engine_version, facts.loads_models) == ("2.51.0", True)
        check_ready("triton", server.address, None, client)


def test_a_server_may_be_ready_without_a_model(client: GuardedClient) -> None:
    with VllmDouble("tiny") as vllm, TritonDouble("tiny", "large") as triton:
        triton.loaded.add("tiny")
        for engine, server in (("vllm", vllm), ("triton", triton)):
            assert serves(engine, server.address, None, client, "tiny")
            assert not serves(engine, server.address, None, client, "large")
    with pytest.raises(FetchFailed):
        serves("triton", triton.address, None, client, "tiny")


def test_the_key_is_sent_and_a_wrong_one_is_named(client: GuardedClient) -> None:
    with VllmDouble("tiny", key="right") as server:
        assert ask_server("vllm", server.address, "right", client).models == ("tiny",)
        for key, remedy in (("wrong", "with which the server was started"), (None, "asks for")):
            with pytest.raises(FetchRefused, match="does not accept the credentials") as refused:
                ask_server("vllm", server.address, key, client)
            assert remedy in refused.value.remedy


def test_another_engine_is_not_mistaken(client: GuardedClient) -> None:
    with VllmDouble("tiny") as vllm, TritonDouble() as triton:
        with pytest.raises(FetchRefused, match="not Triton"):
            ask_server("triton", vllm.address, None, client)
        with pytest.raises(FetchRefused, match="not vLLM"):
            ask_server("vllm", triton.address, None, client)


def test_nobody_answers_and_closed_addresses_are_not_asked(client: GuardedClient) -> None:
    with pytest.raises(FetchFailed):
        ask_server("vllm", f"http://127.0.0.1:{free_port()}", None, client)
    with VllmDouble("tiny") as server, GuardedClient(AddressRules()) as strict:
        with pytest.raises(FetchRefused, match="loopback") as refused:
            ask_server("vllm", server.address, None, strict)
        assert "LOGGIA_FETCH_ALLOWED_NETWORKS" in refused.value.remedy
        assert server.asked == []


@pytest.mark.parametrize(
    ("address", "resolved", "target"),
    [
        ("gpu-7:8001", ["10.0.0.7", "10.0.0.8"], "ipv4:10.0.0.7:8001,10.0.0.8:8001"),
        ("gpu-7:8001", ["fd00::7", "10.0.0.7"], "ipv6:[fd00::7]:8001"),
        ("[fd00::7]:9001", ["fd00::7"], "ipv6:[fd00::7]:9001"),
    ],
)
def test_grpc_connects_to_the_addresses_that_were_judged(
    address: str, resolved: list[str], target: str
) -> None:
    asked: list[tuple[str, int]] = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return resolved

    opened = AddressRules([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
    with GuardedClient(opened, resolver=resolver) as client:
        assert grpc_target(address, client) == target
    host, _, port = address.rpartition(":")
    assert asked == [(host.strip("[]"), int(port))]
    with (
        GuardedClient(AddressRules(), resolver=resolver) as strict,
        pytest.raises(FetchRefused, match="private"),
    ):
        grpc_target(address, strict)
