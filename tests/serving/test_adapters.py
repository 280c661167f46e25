"""Adapters under the real worker, on the engine double: own name, base's files, and the probe."""

from __future__ import annotations

from uuid import UUID

import httpx
import pytest

from backend.application.commands import CommandContext
from backend.domain.errors import NotAllowed
from tests.serving.conftest import ADA, Gallery, Worker

BASE = {"config.json": b"{}", "model.safetensors": b"weights"}
ADAPTER = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"small weights"}
CARD = {"format": "peft", "adapter": {"method": "LORA", "rank": 8, "features": []}}


@pytest.fixture
def adapter(gallery: Gallery, model_id: UUID) -> UUID:
    return gallery.import_model(ADAPTER, "fine", card=CARD, base=model_id)


def test_an_adapter_is_served_on_its_base_and_called_by_its_own_name(
    gallery: Gallery, worker: Worker, adapter: UUID
) -> None:
    worker.start()
    gallery.deploy(adapter)
    gallery.await_state(adapter, "deployed")
    assert gallery.ask(gallery.endpoint(adapter), model="fine")["number"] != 0
    assert gallery.served_files(adapter) == BASE
    assert gallery.served_files(adapter, "adapter-directory") == ADAPTER
    assert gallery.recorded(adapter, "DeploymentRequested")[0]["base_model_version"] == "0.0.1"
    assert gallery.recorded(adapter, "ReplicaReady")[0]["warnings"] == []


def test_an_adapter_that_changes_nothing_is_said_to_have_no_effect(
    gallery: Gallery, worker: Worker, adapter: UUID
) -> None:
    worker.start()
    gallery.deploy(adapter, {"effect": "0"})
    gallery.await_state(adapter, "deployed")
    (warning,) = gallery.recorded(adapter, "ReplicaReady")[0]["warnings"]
    assert "no effect" in warning
    assert "'tiny'" in warning


def test_a_base_model_has_nothing_to_be_compared_with(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    assert gallery.recorded(model_id, "ReplicaReady")[0]["warnings"] == []
    with pytest.raises(httpx.HTTPStatusError):
        gallery.ask(gallery.endpoint(model_id), model="fine")


def test_an_adapter_stays_on_the_base_version_that_it_was_deployed_with(
    gallery: Gallery, worker: Worker, model_id: UUID, adapter: UUID
) -> None:
    gallery.deploy(adapter)
    gallery.import_version(model_id, "0.0.2", {**BASE, "config.json": b'{"newer": true}'})
    worker.start()
    gallery.await_state(adapter, "deployed")
    assert gallery.served_files(adapter) == BASE
    gallery.deploy(adapter)
    gallery.await_recorded(adapter, "RevisionDeployed", 2)
    assert gallery.served_files(adapter)["config.json"] == b'{"newer": true}'
    gallery.deployments.roll_back(CommandContext(ADA), adapter, revision=1, reason="it was better")
    gallery.await_recorded(adapter, "RevisionDeployed", 3)
    assert gallery.served_files(adapter) == BASE


def test_an_adapter_of_a_deleted_base_is_not_deployed_and_a_running_one_comes_back(
    gallery: Gallery, worker: Worker, model_id: UUID, adapter: UUID
) -> None:
    worker.start()
    gallery.deploy(adapter)
    gallery.await_state(adapter, "deployed")
    gallery.models.delete(CommandContext(ADA), model_id)
    with pytest.raises(NotAllowed, match="base model has been deleted"):
        gallery.deploy(adapter)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{gallery.endpoint(adapter)}/die")
    gallery.await_recorded(adapter, "ReplicaReady", 2)
    assert gallery.ask(gallery.endpoint(adapter), model="fine")["choices"]


@pytest.mark.parametrize(
    ("adapter_card", "said"),
    [
        ({"method": "ADALORA", "rank": 4}, "type ADALORA"),
        ({"method": "LORA", "rank": 4, "features": ["DoRA"]}, "DoRA"),
        ({"method": "LORA", "rank": 8, "max_rank": 600}, "rank is 600"),
    ],
)
def test_what_the_engine_cannot_do_with_an_adapter_is_said_before(
    gallery: Gallery, model_id: UUID, adapter_card: dict[str, object], said: str
) -> None:
    card = {"format": "peft", "adapter": adapter_card}
    adapter = gallery.import_model(ADAPTER, "fine", card=card, base=model_id)
    with pytest.raises(NotAllowed, match=said) as refused:
        gallery.deploy(adapter)
    assert "Merge the adapter" in refused.value.remedy
    assert gallery.events(adapter) == []
