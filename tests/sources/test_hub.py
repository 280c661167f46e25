"""A hub seen through the real `huggingface_hub` client. The hub here is a test hub of our own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from backend.sources.addresses import AddressRules
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.exchange import Persistence
from backend.sources.guarded import GuardedClient
from backend.sources.hub import Hub, HubRepository
from tests.rig.hub import Hub as HubServer

WEIGHTS = bytes(range(256)) * 4000
FILES = {
    "config.json": b'{"architectures": ["LlamaForCausalLM"]}',
    "README.md": b"# A model\n",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"pickle" * 100,
    "empty.txt": b"",
}
OPEN = AddressRules([ip_network("127.0.0.1/32")])


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as hub:
        hub.tokens = {"hf_good": "ana", "hf_other": "ben"}
        hub.add("acme/tiny", FILES, card={"license": "apache-2.0"})
        yield hub


@pytest.fixture
def client() -> Iterator[GuardedClient]:
    with GuardedClient(OPEN, persistence=Persistence(3, 0.01, 0.02)) as guarded:
        yield guarded


@pytest.fixture
def hub(server: HubServer, client: GuardedClient) -> Iterator[Hub]:
    with Hub(server.endpoint, None, client) as public:
        yield public


def content(hub: Hub, repository: HubRepository, path: str, offset: int = 0) -> bytes:
    file = next(file for file in repository.files if file.path == path)
    return b"".join(hub.source_file(repository, file).chunks(offset))


def test_a_repository_is_pinned_to_its_commit_with_sizes_and_digests(
    server: HubServer, hub: Hub
) -> None:
    server.page_size = 2  # the tree comes in several pages
    found = hub.inspect("acme/tiny", "main")
    assert found.commit == server.repositories["acme/tiny"].commit
    assert (found.license, found.task, found.library) == (
        "apache-2.0",
        "text-generation",
        "transformers",
    )
    files = {file.path: file for file in found.files}
    assert sorted(files) == sorted(FILES)
    assert files["model.safetensors"].sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert files["config.json"].sha256 is None
    assert files["config.json"].git_sha1
    assert found.total_bytes == sum(len(each) for each in FILES.values())


def test_every_file_arrives_whole_and_the_storage_never_sees_the_token(
    server: HubServer, client: GuardedClient
) -> None:
    with Hub(server.endpoint, "hf_good", client) as hub:
        found = hub.inspect("acme/tiny")
        for path, expected in FILES.items():
            assert content(hub, found, path) == expected
    to_storage = [seen for seen in server.seen if "/resolve/" not in seen.path]
    to_storage = [seen for seen in to_storage if seen.path.endswith("model.safetensors")]
    assert to_storage
    assert all(seen.authorization is None for seen in to_storage)
    assert any(seen.authorization == "Bearer hf_good" for seen in server.seen)


def test_a_token_of_this_machines_owner_is_never_sent(
    server: HubServer, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_operator")
    hub.inspect("acme/tiny")
    assert {seen.authorization for seen in server.seen} == {None}


def test_a_broken_download_goes_on_where_it_stopped(server: HubServer, hub: Hub) -> None:
    found = hub.inspect("acme/tiny")
    server.cuts["model.safetensors"] = [300_000, 200_000]
    assert content(hub, found, "model.safetensors") == WEIGHTS
    offsets = [s.offset for s in server.seen if s.path.endswith("model.safetensors")]
    assert max(offsets) >= 400_000
    assert sum(1 for offset in offsets if offset == 0) == 2  # the hub once, its storage once


def test_a_killed_import_continues_at_an_offset(server: HubServer, hub: Hub) -> None:
    found = hub.inspect("acme/tiny")
    assert content(hub, found, "model.safetensors", 700_001) == WEIGHTS[700_001:]
    assert content(hub, found, "config.json", 5) == FILES["config.json"][5:]
    assert {s.offset for s in server.seen if s.path.endswith("model.safetensors")} == {700_001}


@pytest.mark.parametrize("path", ["model.safetensors", "config.json"])
def test_content_that_is_not_the_promised_one_is_refused(
    server: HubServer, hub: Hub, path: str
) -> None:
    found = hub.inspect("acme/tiny")
    server.corrupted.add(path)
    with pytest.raises(FetchFailed, match="other content than the digest"):
        content(hub, found, path)


def test_a_hub_that_never_delivers_the_rest_is_given_up(server: HubServer, hub: Hub) -> None:
    found = hub.inspect("acme/tiny")
    server.cuts["model.safetensors"] = [0] * 100
    with pytest.raises(FetchFailed) as failure:
        content(hub, found, "model.safetensors")
    assert failure.value.retryable


@pytest.mark.parametrize(
    ("token", "words", "remedy"),
    [
        (None, "gated: its files are given only to people who accepted", "Accept the terms"),
        ("hf_other", "the account of the connection 'team' has no access", "Ask for access"),
    ],
)
def test_a_gated_repository_says_what_to_do(
    server: HubServer, client: GuardedClient, token: str | None, words: str, remedy: str
) -> None:
    server.add("acme/secretive", FILES, gated="manual", readers={"hf_good"})
    with Hub(server.endpoint, token, client, name="team") as hub:
        with pytest.raises(FetchRefused) as refusal:
            hub.inspect("acme/secretive")
        assert refusal.value.code == "gated"
        assert words in refusal.value.reason
        assert remedy in refusal.value.remedy
    with Hub(server.endpoint, "hf_good", client) as hub:
        assert hub.inspect("acme/secretive").gated


def test_access_that_ends_during_the_import_is_explained(
    server: HubServer, client: GuardedClient
) -> None:
    repository = server.add("acme/secretive", FILES, gated="manual", readers={"hf_good"})
    with Hub(server.endpoint, "hf_good", client, name="team") as hub:
        found = hub.inspect("acme/secretive")
        repository.readers.clear()
        with pytest.raises(FetchRefused) as refusal:
            content(hub, found, "config.json")
    assert refusal.value.code == "gated"


def test_missing_private_disabled_and_renamed_repositories(
    server: HubServer, hub: Hub, client: GuardedClient
) -> None:
    server.add("acme/hidden", FILES, private=True, readers={"hf_good"})
    server.add("acme/closed", FILES, disabled=True)
    server.renamed["acme/old"] = "acme/tiny"
    for name in ("acme/none", "acme/hidden"):
        with pytest.raises(FetchRefused) as refusal:
            hub.inspect(name)
        assert refusal.value.code == "repository_missing"
        assert "to somebody without a token" in refusal.value.reason
        assert "private repository needs a connection" in refusal.value.remedy
    with pytest.raises(FetchRefused, match="has disabled 'acme/closed'"):
        hub.inspect("acme/closed")
    assert hub.inspect("acme/old").name == "acme/tiny"
    with Hub(server.endpoint, "hf_good", client) as known:
        assert known.inspect("acme/hidden").private


def test_a_missing_revision_is_named(hub: Hub) -> None:
    with pytest.raises(FetchRefused) as refusal:
        hub.inspect("acme/tiny", "v9")
    assert refusal.value.code == "revision_missing"
    assert "has no revision 'v9'" in refusal.value.reason
    assert "'main'" in refusal.value.remedy


def test_a_rate_limit_is_told_at_once_and_not_slept_through(server: HubServer, hub: Hub) -> None:
    server.rate_limited, server.retry_after = 1, 86_400
    with pytest.raises(FetchFailed) as failure:
        hub.inspect("acme/tiny")
    assert failure.value.retryable
    assert failure.value.status == 429
    assert "in 86400 seconds" in failure.value.remedy
    assert "a token has a higher limit" in failure.value.remedy


def test_a_rate_limit_during_a_download_is_waited_out(server: HubServer, hub: Hub) -> None:
    found = hub.inspect("acme/tiny")
    server.rate_limited, server.retry_after = 2, 0
    assert content(hub, found, "config.json") == FILES["config.json"]


@pytest.mark.parametrize("target", ["http://127.0.0.2/x", "http://10.0.0.1/x", "http://[::1]/x"])
def test_a_hub_that_leads_into_a_closed_network_is_refused(
    server: HubServer, hub: Hub, target: str
) -> None:
    found = hub.inspect("acme/tiny")
    server.redirect_to = target
    with pytest.raises(FetchRefused) as refusal:
        content(hub, found, "model.safetensors")
    assert refusal.value.code == "address_closed"


def test_a_hub_in_a_closed_network_is_refused(server: HubServer) -> None:
    with (
        GuardedClient(AddressRules()) as strict,
        Hub(server.endpoint, None, strict) as hub,
        pytest.raises(FetchRefused) as refusal,
    ):
        hub.inspect("acme/tiny")
    assert refusal.value.code == "address_closed"


def test_a_server_that_is_no_hub_is_recognised(client: GuardedClient) -> None:
    with (
        HubServer() as other,
        Hub(other.storage, None, client) as hub,
        pytest.raises(FetchRefused, match="shows no 'acme/tiny'"),
    ):
        hub.inspect("acme/tiny")


@pytest.mark.parametrize("name", ["", "a/b/c", "../etc", "acme/ti ny", "acme/x?y", "a" * 300])
def test_what_is_no_name_never_reaches_the_hub(server: HubServer, hub: Hub, name: str) -> None:
    with pytest.raises(FetchRefused) as refusal:
        hub.inspect(name)
    assert refusal.value.code == "name_malformed"
    assert server.seen == []


def test_a_token_is_tried_by_asking_whose_it_is(server: HubServer, client: GuardedClient) -> None:
    with Hub(server.endpoint, "hf_good", client) as hub:
        assert hub.account() == "ana"
    with (
        Hub(server.endpoint, "hf_bad", client, name="team") as hub,
        pytest.raises(FetchRefused) as refusal,
    ):
        hub.account()
    assert refusal.value.code == "token_refused"
    assert "'team'" in refusal.value.reason


def test_organisations_and_collections_are_listed(server: HubServer, hub: Hub) -> None:
    server.page_size = 3
    for number in range(7):
        server.add(f"many/model-{number}", {"config.json": b"{}"}, gated=number == 2)
    server.collect("many/best-64f9", "The best", ["many/model-1", "many/model-5"])
    listed = hub.organisation("many")
    assert [model.name for model in listed] == [f"many/model-{n}" for n in range(7)]
    assert [model.name for model in listed if model.gated] == ["many/model-2"]
    title, models = hub.collection("many/best-64f9")
    assert title == "The best"
    assert [model.name for model in models] == ["many/model-1", "many/model-5"]
    with pytest.raises(FetchRefused, match="shows no models of 'nobody'"):
        hub.organisation("nobody")
    with pytest.raises(FetchRefused, match="many/none"):
        hub.collection("many/none")
