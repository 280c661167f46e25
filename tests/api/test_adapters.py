"""Adapters beside a running base, over HTTP: what there is, loading, unloading, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from backend.api.services import Services
from backend.application.commands import CommandContext
from backend.application.engine_facts import EngineFacts
from tests.api import worker
from tests.api.client import ApiClient

pytestmark = pytest.mark.usefixtures("views")
BY_WORKER = CommandContext("worker:deploy")


@pytest.fixture
def base(admin: ApiClient, services: Services) -> str:
    model_id = admin.import_model("base")
    worker.make_ready(services, model_id, format="transformers", architecture="LlamaForCausalLM")
    return model_id


def adapter(
    admin: ApiClient, services: Services, base: str, name: str, **facts: Any
) -> tuple[str, int]:
    """An adapter that is ready, and the position to wait for."""
    model_id = admin.import_model(name, kind="adapter", baseModelId=base)
    card = {"method": "LORA", "rank": 8, "features": [], **facts}
    return model_id, worker.make_ready(services, model_id, format="peft", adapter=card)


def serving(admin: ApiClient, services: Services, base: str) -> None:
    admin.command("PUT", f"/api/models/{base}/deployment", worker.deploy_body())
    worker.serve(services, base, 1)


def listed(admin: ApiClient, base: str, position: int = 0) -> dict[str, Any]:
    answer = admin.get(f"/api/models/{base}/deployment/adapters", params={"atLeast": position})
    return {each["name"]: each for each in answer.json()["items"]}


def test_an_adapter_from_its_loading_to_its_unloading(
    admin: ApiClient, services: Services, base: str
) -> None:
    fine, position = adapter(admin, services, base, "fine")
    url = f"/api/models/{base}/deployment/adapters/{fine}"
    assert listed(admin, base, position)["fine"]["refusal"] == ("Deploy the base model first.")
    assert admin.command("PUT", url).status_code == 409

    serving(admin, services, base)
    accepted = admin.command("PUT", url)
    assert accepted.status_code == 202
    found = listed(admin, base, accepted.json()["position"])["fine"]
    assert (found["state"], found["loadedVersion"], found["rank"]) == ("loading", "0.0.1", 8)
    history = admin.get(f"/api/models/{base}/deployment/history").json()["items"]
    assert history[0]["trigger"] == "adapters"
    assert "fine" in history[0]["reason"]

    recorded = services.adapters.record_loaded(
        BY_WORKER, UUID(base), revision=2, adapter_model_id=UUID(fine), warnings=["It is idle."]
    )
    found = listed(admin, base, recorded.position)["fine"]
    assert (found["state"], found["warnings"]) == ("loaded", ["It is idle."])

    taken_back = admin.command("DELETE", f"{url}?reason=enough")
    assert taken_back.status_code == 202
    position = taken_back.json()["position"]
    assert listed(admin, base, position)["fine"]["state"] == "unloading"
    events = admin.get("/api/events", params={"modelId": base}).json()["items"]
    (asked,) = (each for each in events if each["type"] == "AdapterUnloadRequested")
    assert asked["data"]["reason"] == "enough"
    recorded = services.adapters.record_unloaded(
        BY_WORKER,
        UUID(base),
        revision=2,
        adapter_model_id=UUID(fine),
        name="fine",
        reason="As asked.",
        failed=False,
    )
    assert listed(admin, base, recorded.position)["fine"]["state"] is None
    assert admin.command("DELETE", url).status_code == 404


def test_one_that_could_not_be_loaded_says_why_and_may_be_tried_again(
    admin: ApiClient, services: Services, base: str
) -> None:
    serving(admin, services, base)
    fine, _ = adapter(admin, services, base, "fine")
    url = f"/api/models/{base}/deployment/adapters/{fine}"
    admin.command("PUT", url)
    recorded = services.adapters.record_unloaded(
        BY_WORKER,
        UUID(base),
        revision=2,
        adapter_model_id=UUID(fine),
        name="fine",
        reason="The shapes do not match.",
        failed=True,
    )
    found = listed(admin, base, recorded.position)["fine"]
    assert (found["state"], found["failure"]) == ("failed", "The shapes do not match.")
    assert found["refusal"] is None
    again = admin.command("PUT", url)
    assert again.status_code == 202
    found = listed(admin, base, again.json()["position"])["fine"]
    assert (found["state"], found["failure"]) == ("loading", None)


def test_what_vllm_cannot_load_is_listed_with_its_reason_and_refused(
    admin: ApiClient, services: Services, base: str
) -> None:
    serving(admin, services, base)
    odd, position = adapter(admin, services, base, "odd", features=["DoRA"])
    found = listed(admin, base, position)["odd"]
    assert "DoRA" in found["refusal"]
    refused = admin.command("PUT", f"/api/models/{base}/deployment/adapters/{odd}")
    assert refused.status_code == 409
    assert "DoRA" in refused.json()["detail"]
    assert refused.json()["remedy"]


def test_engines_elsewhere_are_not_asked_to_hold_adapters_and_a_failed_revision_hinders_none(
    admin: ApiClient, services: Services, base: str
) -> None:
    serving(admin, services, base)
    services.engine_facts.publish(EngineFacts("kubernetes", "vllm", "cpu", "", {}, {}))
    fine, _ = adapter(admin, services, base, "fine")
    url = f"/api/models/{base}/deployment/adapters/{fine}"
    elsewhere = worker.deploy_body()
    elsewhere["configuration"]["hardware"]["server"] = "kubernetes"
    coming = admin.command("PUT", f"/api/models/{base}/deployment", elsewhere)
    refused = admin.command("PUT", url)
    assert refused.status_code == 409
    assert "'kubernetes'" in refused.json()["detail"]
    hint = listed(admin, base, coming.json()["position"])["fine"]["refusal"]
    assert hint == f"{refused.json()['detail']} {refused.json()['remedy']}"

    position = worker.fail_revision(services, base, 2)
    assert listed(admin, base, position)["fine"]["refusal"] is None
    accepted = admin.command("PUT", url)
    assert accepted.status_code == 202
    assert listed(admin, base, accepted.json()["position"])["fine"]["state"] == "loading"
    history = admin.get(f"/api/models/{base}/deployment/history").json()["items"]
    assert history[0]["configuration"]["hardware"]["server"] == "local"


def test_viewers_see_adapters_and_change_none(
    admin: ApiClient,
    services: Services,
    base: str,
    client_as: Callable[[str], ApiClient],
) -> None:
    serving(admin, services, base)
    fine, position = adapter(admin, services, base, "fine")
    viewer = client_as("viewer")
    url = f"/api/models/{base}/deployment/adapters"
    answer = viewer.get(url, params={"atLeast": position}).json()
    assert not answer["mayChange"]
    assert "role" in answer["items"][0]["refusal"]
    assert viewer.command("PUT", f"{url}/{fine}").status_code == 403
