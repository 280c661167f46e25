"""Adapters beside a running base, under the real worker, on the engine double."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from uuid import UUID, uuid4

import httpx
import pytest

from backend.application.commands import CommandContext
from backend.domain.errors import Invalid, NotAllowed, NotFound
from tests.rig.waiting import eventually
from tests.serving.conftest import ADA, Gallery, Worker
from tests.serving.doubles import EngineDouble
from workers.serving.held_adapters import HeldAdapters

BY_ADA = CommandContext(ADA)
ADAPTER = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"small weights"}
CARD = {"format": "peft", "adapter": {"method": "LORA", "rank": 8, "features": []}}


def adapter(gallery: Gallery, base: UUID, name: str, *, rank: int = 8, **more: bytes) -> UUID:
    card = {"format": "peft", "adapter": {"method": "LORA", "rank": rank, "features": []}}
    return gallery.import_model({**ADAPTER, **more}, name, card=card, base=base)


def deployed(gallery: Gallery, worker: Worker, model_id: UUID, **parts: Any) -> None:
    worker.start()
    gallery.deploy(model_id, **parts)
    gallery.await_state(model_id, "deployed")


def load(gallery: Gallery, base: UUID, adapter_id: UUID) -> dict[str, Any]:
    count = len(gallery.recorded(base, "AdapterLoaded"))
    gallery.adapters.load(BY_ADA, base, adapter_id)
    return gallery.await_recorded(base, "AdapterLoaded", count + 1)[-1]


def answers(gallery: Gallery, endpoint: str, name: str) -> bool:
    try:
        return bool(gallery.ask(endpoint, model=name)["number"])
    except httpx.HTTPStatusError:
        return False


def ready_endpoints(gallery: Gallery, base: UUID) -> list[str]:
    deployment = gallery.deployment(base)
    return [
        ready["endpoint"]
        for ready in gallery.recorded(base, "ReplicaReady")
        if ready["revision"] == deployment.serving_revision
        and ready["replica_id"] in deployment.replicas
    ]


def test_the_first_adapter_brings_engines_that_hold_adapters_and_the_next_needs_no_others(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    deployed(gallery, worker, model_id)
    first, second = (adapter(gallery, model_id, name) for name in ("first", "second"))
    loaded = load(gallery, model_id, first)
    assert (loaded["adapter_name"], loaded["adapter_version"]) == ("first", "0.0.1")
    assert loaded["warnings"] == []
    triggers = [each["trigger"] for each in gallery.recorded(model_id, "DeploymentRequested")]
    assert triggers == ["deploy", "adapters"]
    assert "--adapter-rank=16" in gallery.command_line(model_id)

    load(gallery, model_id, second)
    assert len(gallery.recorded(model_id, "DeploymentRequested")) == 2
    (endpoint,) = ready_endpoints(gallery, model_id)
    assert answers(gallery, endpoint, "first")
    assert answers(gallery, endpoint, "second")
    assert not answers(gallery, endpoint, "third")

    gallery.adapters.unload(BY_ADA, model_id, first, reason="done with it")
    gallery.await_recorded(model_id, "AdapterUnloaded")
    assert not answers(gallery, endpoint, "first")
    assert answers(gallery, endpoint, "second")
    assert gallery.ask(endpoint)["choices"]


def test_a_larger_adapter_brings_larger_engines(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    deployed(gallery, worker, model_id)
    load(gallery, model_id, adapter(gallery, model_id, "small"))
    load(gallery, model_id, adapter(gallery, model_id, "large", rank=64))
    assert "--adapter-rank=64" in gallery.command_line(model_id)
    endpoint = gallery.endpoint(model_id)
    assert answers(gallery, endpoint, "small")
    assert answers(gallery, endpoint, "large")


def test_a_replacement_and_a_new_revision_hold_what_was_loaded(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    deployed(gallery, worker, model_id, scaling={"min_replicas": 2, "max_replicas": 2})
    load(gallery, model_id, adapter(gallery, model_id, "fine"))
    before = ready_endpoints(gallery, model_id)
    assert len(before) == 2
    assert all(answers(gallery, endpoint, "fine") for endpoint in before)

    ready = len(gallery.recorded(model_id, "ReplicaReady"))
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{before[0]}/die")
    gallery.await_recorded(model_id, "ReplicaReady", ready + 1)
    assert answers(gallery, gallery.endpoint(model_id), "fine")

    gallery.deploy(model_id, {"label": "next"})
    gallery.await_recorded(model_id, "RevisionDeployed", 3)
    assert answers(gallery, gallery.endpoint(model_id), "fine")


def test_a_stopped_and_started_model_has_its_adapters_again(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    deployed(gallery, worker, model_id)
    fine = adapter(gallery, model_id, "fine")
    load(gallery, model_id, fine)
    gallery.stop(model_id)
    gallery.await_state(model_id, "stopped")
    with pytest.raises(NotAllowed, match="not being served"):
        gallery.adapters.load(BY_ADA, model_id, adapter(gallery, model_id, "other"))
    gallery.deployments.start(BY_ADA, model_id)
    gallery.await_recorded(model_id, "AdapterLoaded", 2)
    assert answers(gallery, gallery.endpoint(model_id), "fine")


def test_an_adapter_without_effect_is_flagged(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id, {"effect": "0"})
    gallery.await_state(model_id, "deployed")
    (warning,) = load(gallery, model_id, adapter(gallery, model_id, "idle"))["warnings"]
    assert "no effect" in warning
    assert "'tiny'" in warning


def test_an_adapter_that_the_engine_refuses_is_given_up_and_the_model_serves_on(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    deployed(gallery, worker, model_id)
    odd = adapter(gallery, model_id, "odd", refused=b"yes")
    gallery.adapters.load(BY_ADA, model_id, odd)
    (given_up,) = gallery.await_recorded(model_id, "AdapterUnloaded")
    assert "the shapes do not match" in given_up["reason"]
    deployment = gallery.await_state(model_id, "deployed")
    assert deployment.wanted_adapters == {}
    assert gallery.ask(gallery.endpoint(model_id))["choices"]


def test_an_adapter_that_loads_for_longer_than_anybody_waits_is_not_given_up(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    deployed(gallery, worker, model_id)
    load(gallery, model_id, adapter(gallery, model_id, "slow", slow=b"yes"))
    assert gallery.recorded(model_id, "AdapterUnloaded") == []
    assert answers(gallery, gallery.endpoint(model_id), "slow")


def test_an_adapter_whose_files_were_cleared_away_meanwhile_gets_them_again(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    deployed(gallery, worker, model_id)
    fine = adapter(gallery, model_id, "fine")

    def files() -> Path:
        cards = httpx.get(f"{gallery.endpoint(model_id)}/v1/models").json()["data"]
        return Path(next(card["root"] for card in cards if card["id"] == "fine"))

    load(gallery, model_id, fine)
    folder = files()
    gallery.adapters.unload(BY_ADA, model_id, fine)
    gallery.await_recorded(model_id, "AdapterUnloaded")
    shutil.rmtree(folder)
    load(gallery, model_id, fine)
    assert files().is_dir()


def test_a_newer_version_takes_the_place_of_the_one_that_is_loaded(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    deployed(gallery, worker, model_id)
    fine = adapter(gallery, model_id, "fine")
    load(gallery, model_id, fine)
    gallery.import_version(fine, "0.0.2", {**ADAPTER, "adapter_config.json": b'{"newer": 1}'}, CARD)
    assert load(gallery, model_id, fine)["adapter_version"] == "0.0.2"
    cards = httpx.get(f"{gallery.endpoint(model_id)}/v1/models").json()["data"]
    assert len([card for card in cards if card["id"] == "fine"]) == 1
    assert len(gallery.recorded(model_id, "DeploymentRequested")) == 2


def test_a_worker_that_was_killed_is_followed_by_one_that_loads_and_unloads(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    deployed(gallery, worker, model_id)
    load(gallery, model_id, adapter(gallery, model_id, "first"))
    worker.kill()
    second = adapter(gallery, model_id, "second")
    gallery.adapters.load(BY_ADA, model_id, second)
    worker.start(die_at="adapter_loaded")
    worker.await_death()
    worker.start()
    gallery.await_recorded(model_id, "AdapterLoaded", 2)
    gallery.adapters.unload(BY_ADA, model_id, second)
    worker.kill()
    worker.start(die_at="adapter_unloaded")
    worker.await_death()
    worker.start()
    gallery.await_recorded(model_id, "AdapterUnloaded")
    endpoint = gallery.endpoint(model_id)
    assert not answers(gallery, endpoint, "second")
    assert answers(gallery, endpoint, "first")


def test_an_adapter_that_is_unloaded_and_loaded_at_once_answers_again(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    deployed(gallery, worker, model_id)
    fine = adapter(gallery, model_id, "fine")
    load(gallery, model_id, fine)
    gallery.adapters.unload(BY_ADA, model_id, fine)
    load(gallery, model_id, fine)
    assert answers(gallery, gallery.endpoint(model_id), "fine")


def test_callers_get_the_whole_time_to_leave_an_adapter_that_was_wanted_again_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, records, store = [0.0], Mock(), Mock()
    clock = Mock(monotonic=lambda: now[0])
    monkeypatch.setattr("workers.serving.held_adapters.time", clock)
    held = HeldAdapters(
        Mock(), store=store, records=records, preparations=Mock(), client=Mock(), settle=10
    )
    prepared = Mock(engine=EngineDouble())
    fine = str(uuid4())
    for at, wanted in ((0, False), (1, True), (20, False), (29, False)):
        now[0] = at
        held.look(Mock(wanted_adapters={fine: {}} if wanted else {}, adapters={fine: "0.0.1"}))
        if not wanted:
            assert not held.keep(1, [], prepared)
    records.adapter_unloaded.assert_not_called()
    now[0] = 30
    assert held.keep(1, [], prepared)
    records.adapter_unloaded.assert_called_once()


def test_what_is_no_adapter_of_the_model_is_refused(gallery: Gallery, model_id: UUID) -> None:
    gallery.deploy(model_id)
    other = gallery.import_model({"config.json": b"{}"}, "other")
    foreign = adapter(gallery, other, "foreign")
    for wrong in (other, foreign):
        with pytest.raises(Invalid, match="no adapter of"):
            gallery.adapters.load(BY_ADA, model_id, wrong)
    decomposed = {**CARD, "adapter": {"method": "LORA", "rank": 8, "features": ["DoRA"]}}
    dora = gallery.import_model(ADAPTER, "dora", card=decomposed, base=model_id)
    with pytest.raises(NotAllowed, match="DoRA"):
        gallery.adapters.load(BY_ADA, model_id, dora)
    with pytest.raises(NotFound):
        gallery.adapters.unload(BY_ADA, model_id, foreign)


def test_a_loaded_adapter_is_not_deleted(gallery: Gallery, model_id: UUID) -> None:
    gallery.deploy(model_id)
    fine = adapter(gallery, model_id, "fine")
    gallery.adapters.load(BY_ADA, model_id, fine)
    with pytest.raises(NotAllowed, match="loaded beside"):
        gallery.models.delete(BY_ADA, fine)
    gallery.adapters.unload(BY_ADA, model_id, fine)
    gallery.models.delete(BY_ADA, fine)


def test_its_replicas_answer_for_an_adapter_with_either_key(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    deployed(gallery, worker, model_id)
    fine = adapter(gallery, model_id, "fine")
    load(gallery, model_id, fine)
    url = worker.start_gateway()
    keys = {name: gallery.key(each) for name, each in {"tiny": model_id, "fine": fine}.items()}

    def ask(key: str, model: str) -> int:
        return httpx.post(
            f"{url}/completions",
            json={"model": model, "prompt": "Hello", "max_tokens": 1},
            headers={"Authorization": f"Bearer {keys[key]}"},
            trust_env=False,
        ).status_code

    def names(key: str) -> list[str]:
        headers = {"Authorization": f"Bearer {keys[key]}"}
        listed = httpx.get(f"{url}/models", headers=headers, trust_env=False).json()["data"]
        return [model["id"] for model in listed]

    def reachable() -> bool:
        try:
            return ask("tiny", "fine") == 200
        except httpx.TransportError:
            return False

    eventually(reachable, "the gateway knows the adapter")
    assert (names("tiny"), names("fine")) == (["tiny", "fine"], ["fine"])
    assert ask("tiny", "tiny") == 200
    assert ask("fine", "fine") == 200
    assert ask("fine", "tiny") == 404
    gallery.adapters.unload(BY_ADA, model_id, fine)
    eventually(lambda: ask("tiny", "fine") == 404, "the base's key opens it no more")
    assert ask("fine", "fine") == 503
    assert ask("tiny", "tiny") == 200
