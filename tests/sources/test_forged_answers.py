"""Whatever a hub, a registry or a person sends is accepted or refused in words, never a crash."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backend.contracts.container_configuration import check_configuration, check_parameter_schema
from backend.sources.addresses import AddressRules
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.exchange import Persistence
from backend.sources.guarded import GuardedClient
from backend.sources.hub import Hub
from backend.sources.image_reference import parse_reference
from backend.sources.registry import inspect_image
from backend.sources.registry_client import Credentials
from backend.sources.weights import Offered, selected, weight_choices
from tests.rig.hub import Hub as HubServer
from tests.rig.registry import OCI_CONFIG, OCI_IMAGE, OCI_INDEX, Registry

WHATEVER = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=12,
)
FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
REFUSALS = (FetchRefused, FetchFailed)


def forged(fields: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The document with some fields replaced by whatever, some left out."""
    return st.fixed_dictionaries(
        {}, optional={name: st.just(value) | WHATEVER for name, value in fields.items()}
    )


@pytest.fixture
def client() -> Iterator[GuardedClient]:
    rules = AddressRules([ip_network("127.0.0.1/32")])
    with GuardedClient(rules, persistence=Persistence(1, 0, 0)) as guarded:
        yield guarded


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        yield server


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@given(st.text(max_size=300))
@example("a:1@sha256:" + "0" * 64)
@example("[::1]:5000/a")
@example("a//b")
@example("A.b/c:d:e")
def test_a_reference_is_complete_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except FetchRefused:
        return
    assert parse_reference(str(reference)) == reference


@given(st.text(max_size=400) | WHATEVER.map(json.dumps))
def test_a_configuration_is_checked_whatever_it_is(text: str) -> None:
    for checked in (check_configuration(text), check_parameter_schema(text, "The schema")):
        assert all(problem.message and problem.remedy for problem in checked.problems)


@given(
    forged(
        {
            "schemaVersion": 1,
            "port": 80,
            "health": {"path": "/"},
            "apis": [{"path": "/a", "request": {"schema": {"type": "object"}}}],
            "environment": [{"name": "A", "secret": True}],
            "resources": {"cpu": 1},
            "mode": "batch",
        }
    )
)
def test_a_forged_configuration_is_checked(document: dict[str, Any]) -> None:
    checked = check_configuration(json.dumps(document))
    assert isinstance(checked.ports, list)


@FEW
@given(
    media_type=st.sampled_from([OCI_IMAGE, OCI_INDEX, "text/plain"]),
    document=forged(
        {
            "schemaVersion": 2,
            "mediaType": OCI_IMAGE,
            "config": {"digest": "sha256:" + "0" * 64, "size": 5, "mediaType": OCI_CONFIG},
            "layers": [{"digest": "sha256:" + "1" * 64, "size": 7}],
            "manifests": [{"digest": "sha256:" + "2" * 64, "size": 1, "platform": {"os": "linux"}}],
        }
    ),
)
def test_a_forged_manifest_is_refused_or_read(
    registry: Registry, client: GuardedClient, media_type: str, document: dict[str, Any]
) -> None:
    registry.put("a/b", "1", media_type, document)
    with pytest.raises(REFUSALS):
        inspect_image(f"{registry.host}/a/b:1", Credentials(registry.endpoint, "a", "b"), client)


@FEW
@given(
    forged(
        {
            "os": "linux",
            "architecture": "amd64",
            "config": {"ExposedPorts": {"80/tcp": {}}, "Env": ["A=b"], "Cmd": ["x"]},
        }
    )
)
def test_a_forged_image_configuration_is_refused_or_read(
    registry: Registry, client: GuardedClient, document: dict[str, Any]
) -> None:
    described = registry.put_blob(json.dumps(document).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "config": {"mediaType": OCI_CONFIG, **described},
    }
    registry.put("a/b", "1", OCI_IMAGE, manifest)
    try:
        image = inspect_image(
            f"{registry.host}/a/b:1", Credentials(registry.endpoint, "a", "b"), client
        )
    except REFUSALS:
        return
    assert all(0 < port < 65536 for port in image.ports)
    assert "\0" not in json.dumps(image.labels)


COMMIT = "0" * 40


@FEW
@given(
    info=forged(
        {
            "_id": "1",
            "id": "acme/tiny",
            "sha": COMMIT,
            "private": False,
            "gated": False,
            "tags": ["a"],
            "cardData": {"license": "mit", "base_model": ["b"]},
            "siblings": [],
        }
    ),
    tree=st.lists(
        forged(
            {
                "type": "file",
                "path": "model.safetensors",
                "size": 3,
                "oid": "1" * 40,
                "lfs": {"oid": "2" * 64, "size": 3, "pointerSize": 1},
            }
        ),
        max_size=3,
    )
    | WHATEVER,
)
def test_a_forged_repository_is_refused_or_read(
    hub: HubServer, client: GuardedClient, info: dict[str, Any], tree: Any
) -> None:
    hub.forged["/api/models/acme/tiny/revision/main"] = json.dumps(info).encode()
    hub.forged[f"/api/models/acme/tiny/tree/{COMMIT}"] = json.dumps(tree).encode()
    with Hub(hub.endpoint, None, client) as spoken:
        try:
            found = spoken.inspect("acme/tiny")
        except REFUSALS:
            return
    assert all(isinstance(file.path, str) and file.size >= 0 for file in found.files)
    assert isinstance(found.weight_choices, list)


@FEW
@given(
    models=st.lists(forged({"id": "acme/tiny", "pipeline_tag": "x", "gated": True}), max_size=3)
    | WHATEVER,
    collection=forged(
        {
            "slug": "a/b",
            "title": "B",
            "owner": {},
            "items": [{"_id": "1", "id": "acme/tiny", "type": "model", "position": 1}],
            "lastUpdated": "2026-01-01T00:00:00.000Z",
            "position": 0,
            "private": False,
            "theme": "x",
            "upvotes": 0,
        }
    ),
    account=WHATEVER,
)
def test_forged_listings_are_refused_or_read(
    hub: HubServer, client: GuardedClient, models: Any, collection: Any, account: Any
) -> None:
    hub.forged["/api/models"] = json.dumps(models).encode()
    hub.forged["/api/collections/a/b"] = json.dumps(collection).encode()
    hub.forged["/api/whoami-v2"] = json.dumps(account).encode()
    with Hub(hub.endpoint, "token", client) as spoken:
        for ask in (
            lambda: spoken.organisation("acme"),
            lambda: spoken.collection("a/b"),
            spoken.account,
        ):
            with contextlib.suppress(*REFUSALS):
                assert ask()


@given(st.lists(st.builds(Offered, st.text(max_size=60), st.integers(0, 9)), max_size=8))
def test_choices_never_lose_or_invent_files(files: list[Offered]) -> None:
    known = {file.path for file in files}
    for choice in weight_choices(files):
        assert set(choice.files) <= known
        chosen = selected(files, [choice.id])
        assert chosen is not None
        assert set(choice.files) <= {file.path for file in chosen}
