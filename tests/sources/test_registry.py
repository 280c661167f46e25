"""Container images as registries describe them. Here: a test registry of our own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from backend.sources.addresses import AddressRules
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.exchange import Persistence
from backend.sources.guarded import GuardedClient
from backend.sources.image_reference import parse_reference
from backend.sources.registry import Image, inspect_image
from backend.sources.registry_client import Credentials, check_credentials
from tests.rig.registry import OCI_IMAGE, OCI_INDEX, SCHEMA_1, Registry, digest_of


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        yield server


@pytest.fixture
def client() -> Iterator[GuardedClient]:
    rules = AddressRules([ip_network("127.0.0.1/32")])
    with GuardedClient(rules, persistence=Persistence(2, 0.01, 0.02)) as guarded:
        yield guarded


def account(registry: Registry, name: str = "ana", password: str = "secret") -> Credentials:
    return Credentials(registry.endpoint, name, password)


def inspect(registry: Registry, client: GuardedClient, image: str, **options: Any) -> Image:
    return inspect_image(f"{registry.host}/{image}", account(registry), client, **options)


@pytest.mark.parametrize(
    ("text", "full", "host"),
    [
        ("nginx", "docker.io/library/nginx:latest", "registry-1.docker.io"),
        ("acme/server:1.0", "docker.io/acme/server:1.0", "registry-1.docker.io"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest", "registry-1.docker.io"),
        ("ghcr.io/acme/a/b", "ghcr.io/acme/a/b:latest", "ghcr.io"),
        ("localhost/x", "localhost/x:latest", "localhost"),
        ("Registry.Example:5000/x:v1", "registry.example:5000/x:v1", "registry.example:5000"),
        (f"ghcr.io/a/b@sha256:{'0' * 64}", f"ghcr.io/a/b@sha256:{'0' * 64}", "ghcr.io"),
        (f"a/b:1@sha256:{'0' * 64}", f"docker.io/a/b:1@sha256:{'0' * 64}", "registry-1.docker.io"),
    ],
)
def test_what_a_reference_leaves_out_is_filled_in(text: str, full: str, host: str) -> None:
    reference = parse_reference(text)
    assert (str(reference), reference.api_host) == (full, host)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no name of an image"),
        ("https://ghcr.io/a/b", "begins with 'https://'"),
        ("acme/Server", "no name of an image"),
        ("acme/server:", "no tag"),
        ("acme/server:a b", "no tag"),
        ("acme/../server", "no name of an image"),
        ("acme/server@sha256:123", "digest is not one"),
        ("ghcr.io:99999/a", "no host name"),
        ("ghcr.io:80@evil/a", "digest is not one"),
        ("user:pw@ghcr.io/a", "digest is not one"),
        ("a" * 2000, "too long"),
    ],
)
def test_what_is_no_reference_is_refused(text: str, words: str) -> None:
    with pytest.raises(FetchRefused) as refusal:
        parse_reference(text)
    assert words in refusal.value.reason
    assert refusal.value.remedy


def test_an_image_is_described(registry: Registry, client: GuardedClient) -> None:
    digest = registry.push("acme/server", "1.0", ports=("8080/tcp", "53/udp", "9000"))
    image = inspect(registry, client, "acme/server:1.0")
    assert image.digest == image.manifest_digest == digest
    assert image.platform == "linux/amd64"
    assert image.ports == [8080, 9000]
    assert image.environment_names == ["PATH", "MODEL_DIR"]
    assert image.labels == {"org.opencontainers.image.title": "acme/server"}
    assert image.entrypoint == ["/serve"]
    assert image.size_bytes > 3000
    pinned = inspect(registry, client, f"acme/server@{digest}")
    assert pinned.digest == digest


def test_the_platform_is_chosen_from_a_list(registry: Registry, client: GuardedClient) -> None:
    parts = {
        platform: registry.push("acme/server", platform.replace("/", "-"), platform=platform)
        for platform in ("windows/amd64", "linux/arm64", "linux/amd64")
    }
    index = registry.push_index("acme/server", "1.0", parts)
    image = inspect(registry, client, "acme/server:1.0")
    assert (image.platform, image.digest) == ("linux/amd64", index)
    assert image.manifest_digest == parts["linux/amd64"]
    assert image.platforms == ["windows/amd64", "linux/arm64", "linux/amd64"]
    other = inspect(registry, client, "acme/server:1.0", platform="linux/arm64")
    assert other.platform == "linux/arm64"


@pytest.mark.parametrize("sign_in", ["basic", "token"])
def test_a_private_image_needs_its_account(
    registry: Registry, client: GuardedClient, sign_in: str
) -> None:
    registry.sign_in = sign_in
    registry.push("acme/server", "1.0")
    assert inspect(registry, client, "acme/server:1.0").platform == "linux/amd64"
    check_credentials(account(registry), client)
    wrong = account(registry, password="guess")
    with pytest.raises(FetchRefused) as refusal:
        check_credentials(wrong, client)
    assert refusal.value.code == "account_refused"
    assert "'ana'" in refusal.value.reason
    with pytest.raises(FetchRefused):
        inspect_image(f"{registry.host}/acme/server:1.0", wrong, client)


def test_an_account_goes_to_its_own_registry_only(
    registry: Registry, client: GuardedClient
) -> None:
    with pytest.raises(FetchRefused) as refusal:
        inspect_image("ghcr.io/acme/server", account(registry), client)
    assert refusal.value.code == "other_registry"
    assert registry.seen == []


def test_without_a_connection_registries_are_asked_over_https_only(client: GuardedClient) -> None:
    with pytest.raises(FetchRefused) as refusal:
        inspect_image("10.0.0.1:5000/acme/server", None, client)
    assert refusal.value.code == "address_closed"


@pytest.mark.parametrize("what", ["manifest", "config"])
def test_altered_content_is_refused(registry: Registry, client: GuardedClient, what: str) -> None:
    digest = registry.push("acme/server", "1.0", Labels={"arch": "amd64"})
    config = json.loads(registry.manifests["acme/server", digest][1])["config"]["digest"]
    if what == "manifest":
        registry.claimed_digest = digest_of(b"another")
    else:
        registry.corrupted.add(config)
    with pytest.raises(FetchRefused) as refusal:
        inspect(registry, client, "acme/server:1.0")
    assert refusal.value.code == "wrong_digest"


def test_a_registry_that_answers_a_digest_with_something_else_is_refused(
    registry: Registry, client: GuardedClient
) -> None:
    registry.push("acme/server", "1.0")
    asked = digest_of(b"never pushed")
    registry.manifests["acme/server", asked] = registry.manifests["acme/server", "1.0"]
    registry.claimed_digest = asked
    with pytest.raises(FetchRefused) as refusal:
        inspect(registry, client, f"acme/server@{asked}")
    assert refusal.value.code == "wrong_digest"


def test_missing_images_rate_limits_and_other_servers(
    registry: Registry, client: GuardedClient
) -> None:
    with pytest.raises(FetchRefused, match="has no image") as refusal:
        inspect(registry, client, "acme/none:1")
    assert refusal.value.code == "image_missing"
    registry.rate_limited = True
    with pytest.raises(FetchFailed, match="rate limit") as failure:
        inspect(registry, client, "acme/none:1")
    assert failure.value.retryable


IMAGE = {"schemaVersion": 2, "mediaType": OCI_IMAGE}


@pytest.mark.parametrize(
    ("media_type", "document", "code", "words"),
    [
        (SCHEMA_1, {"schemaVersion": 1, "fsLayers": []}, "schema_1", "first image format"),
        (OCI_IMAGE, b"{", "image_unusable", "damaged"),
        (OCI_IMAGE, b"[" * 1_000_000, "image_unusable", "damaged"),
        (OCI_IMAGE, {**IMAGE, "manifests": [], "layers": [], "config": {"digest": "sha256:1",
         "size": 1}}, "image_unusable", "at once"),
        (OCI_INDEX, IMAGE, "image_unusable", "something else than its registry"),
        (OCI_INDEX, {"mediaType": OCI_INDEX, "manifests": []}, "image_unusable", "usable image"),
        ("text/html", b"{}", "image_unusable", "no container image"),
        (OCI_IMAGE, {**IMAGE, "config": {"digest": "../../secret", "size": 1}}, "image_unusable",
         "something else than a digest"),
        (OCI_IMAGE, {**IMAGE, "config": {"digest": "sha256:1", "size": 1 << 40}},
         "image_unusable", "too large"),
        (OCI_IMAGE, {**IMAGE, "config": {"digest": "sha256:1", "size": 2,
         "mediaType": "application/vnd.cncf.helm.config.v1+json"}}, "image_unusable", "helm"),
        (OCI_IMAGE, b" " * (5 << 20), "too_large", "bytes"),
    ],
)  # fmt: skip
def test_hostile_manifests_are_refused_in_words(
    registry: Registry, client: GuardedClient, media_type: str, document: Any, code: str, words: str
) -> None:
    registry.put("acme/server", "1.0", media_type, document)
    with pytest.raises(FetchRefused) as refusal:
        inspect(registry, client, "acme/server:1.0")
    assert refusal.value.code == code
    assert words in refusal.value.reason


def test_lists_of_lists_are_not_followed(registry: Registry, client: GuardedClient) -> None:
    inner = registry.push_index("acme/server", "inner", {})
    registry.push_index("acme/server", "1.0", {"linux/amd64": inner})
    with pytest.raises(FetchRefused, match="from one list of platforms to another"):
        inspect(registry, client, "acme/server:1.0")


def test_what_an_image_says_of_itself_is_bounded(registry: Registry, client: GuardedClient) -> None:
    labels = {f"label-{number}": "x" * 5000 for number in range(500)} | {"a\0b": "c\0d"}
    registry.push("acme/server", "1.0", Labels=labels, ExposedPorts={"99999/tcp": {}, "x": {}})
    image = inspect(registry, client, "acme/server:1.0")
    assert len(image.labels) <= 200
    assert max(map(len, image.labels.values())) <= 1000
    assert image.ports == []
