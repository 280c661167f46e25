"""Connections are tried when they are saved, against test servers of our own and moto's S3."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from backend.sources.addresses import AddressRules
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.exchange import Persistence
from backend.sources.guarded import GuardedClient
from backend.sources.trying import try_connection
from tests.rig.hub import Hub
from tests.rig.ports import free_port
from tests.rig.registry import Registry
from tests.rig.s3 import s3_store


@pytest.fixture
def client() -> Iterator[GuardedClient]:
    rules = AddressRules([ip_network("127.0.0.1/32")])
    with GuardedClient(rules, persistence=Persistence(2, 0.01, 0.02)) as guarded:
        yield guarded


def test_a_hub_says_whose_token_it_is(client: GuardedClient) -> None:
    with Hub() as server:
        server.tokens = {"hf_good": "ana"}
        said = try_connection("huggingface", server.endpoint, "hf_good", client)
        assert said == "The hub accepts the token of 'ana'."
        assert "public" in try_connection("huggingface", server.endpoint, None, client)
        with pytest.raises(FetchRefused, match="does not accept the token") as refusal:
            try_connection("huggingface", server.endpoint, "hf_bad", client)
        assert "new token" in refusal.value.remedy


def test_a_registry_accepts_the_account_or_not(client: GuardedClient) -> None:
    with Registry(sign_in="token") as server:
        said = try_connection("registry", server.endpoint, "ana:secret", client)
        assert said == "The registry accepts the account 'ana'."
        with pytest.raises(FetchRefused, match="does not accept the account 'ana'"):
            try_connection("registry", server.endpoint, "ana:guess", client)
        with pytest.raises(FetchRefused, match="colon"):
            try_connection("registry", server.endpoint, "secret", client)
    with Hub() as other, pytest.raises(FetchFailed, match="no container registry"):
        try_connection("registry", other.endpoint, "ana:secret", client)


def test_keys_of_an_object_store_are_used(client: GuardedClient) -> None:
    with s3_store() as store:
        seen = len(store.client.list_buckets()["Buckets"])
        said = try_connection("s3", store.endpoint, f"{store.key}:{store.secret}", client)
    assert said == f"The store accepts the keys; they see {seen} buckets."
    with pytest.raises(FetchRefused) as refusal:
        try_connection("s3", "http://169.254.169.254", "key:secret", client)
    assert refusal.value.code == "address_closed"


def test_a_web_server_is_asked_with_the_token(client: GuardedClient) -> None:
    with Registry(sign_in="basic") as server, pytest.raises(FetchRefused, match="status 401"):
        try_connection("http", server.endpoint + "/v2/", "token", client)
    with Hub() as other:
        assert "answers" in try_connection("http", other.endpoint, "token", client)
        assert other.seen[-1].authorization == "Bearer token"
    with pytest.raises(FetchFailed):
        try_connection("http", f"http://127.0.0.1:{free_port()}", "token", client)
