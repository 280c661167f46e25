"""Adapters beside a base: what was asked for last is what is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from backend.domain.configuration import DeployConfiguration, Hardware, Parameters
from backend.domain.deployment import Deployment
from backend.domain.errors import NotAllowed
from backend.domain.events import Cause, caused_by

FINE = uuid4()


@pytest.fixture(autouse=True)
def cause() -> Iterator[None]:
    with caused_by(Cause("user:ada", uuid4())):
        yield


def serving() -> Deployment:
    deployment = Deployment.begin(model_id=uuid4(), terms_version="1", terms_sha256="0" * 64)
    deployment.request(configuration=DeployConfiguration(), model_version="0.0.1", reason="")
    deployment.record_revision_deployed(revision=1)
    return deployment


def load(
    deployment: Deployment, adapter: UUID = FINE, *, version: str = "0.0.1", rank: int = 8
) -> None:
    deployment.load_adapter(adapter_model_id=adapter, name="fine", version=version, rank=rank)


def loaded(deployment: Deployment) -> int:
    """Records that it answers; returns how often that has been said."""
    deployment.record_adapter_loaded(revision=1, adapter_model_id=FINE, warnings=[])
    return sum(type(event).__name__ == "AdapterLoaded" for event in deployment.pending_events)


def unloaded(deployment: Deployment) -> None:
    deployment.record_adapter_unloaded(
        revision=1, adapter_model_id=FINE, name="fine", reason="", failed=False
    )


def test_an_adapter_that_is_wanted_again_before_it_was_taken_off_is_loaded_again() -> None:
    deployment = serving()
    load(deployment)
    assert loaded(deployment) == 1
    deployment.unload_adapter(adapter_model_id=FINE, reason="")
    load(deployment)
    unloaded(deployment)
    assert [loaded(deployment), loaded(deployment)] == [2, 2], "a repetition says nothing"
    assert deployment.adapters == {str(FINE): "0.0.1"}


def test_a_version_that_is_wanted_again_is_loaded_again() -> None:
    deployment = serving()
    load(deployment)
    assert loaded(deployment) == 1
    load(deployment, version="0.0.2")
    load(deployment)
    assert loaded(deployment) == 2


def test_what_was_wanted_again_and_is_not_any_more_is_still_taken_off() -> None:
    deployment = serving()
    load(deployment)
    loaded(deployment)
    for _ in range(2):
        deployment.unload_adapter(adapter_model_id=FINE, reason="")
        load(deployment)
    deployment.unload_adapter(adapter_model_id=FINE, reason="")
    assert deployment.adapters.keys() == {str(FINE)}
    unloaded(deployment)
    assert deployment.adapters == {}


def redeploy(deployment: Deployment, version: str = "0.0.1") -> int:
    hot = DeployConfiguration(parameters=Parameters(temperature=2.0))
    deployment.request(configuration=hot, model_version=version, reason="")
    return deployment.desired_revision


def fail(deployment: Deployment, revision: int) -> None:
    deployment.record_revision_failed(revision=revision, reason="r", remedy="m", log_tail=[])


def test_after_a_failed_redeployment_adapters_are_loaded_beside_what_serves() -> None:
    deployment = serving()
    fail(deployment, redeploy(deployment, "0.0.2"))
    load(deployment)
    assert deployment.desired_revision == 3
    assert deployment.revisions[3] == deployment.revisions[1] != deployment.revisions[2]
    assert deployment.model_versions[3] == "0.0.1"


def test_during_a_redeployment_adapters_are_loaded_beside_what_comes() -> None:
    deployment = serving()
    redeploy(deployment, "0.0.2")
    load(deployment)
    assert deployment.revisions[3] == deployment.revisions[2]
    assert deployment.model_versions[3] == "0.0.2"


def test_a_revision_for_adapters_that_failed_has_no_room_for_others() -> None:
    deployment = serving()
    load(deployment)
    fail(deployment, 2)
    load(deployment, uuid4())
    assert deployment.desired_revision == 3
    deployment.record_revision_deployed(revision=3)
    load(deployment, uuid4())
    assert deployment.desired_revision == 3, "there is room now"


@pytest.mark.parametrize("server", ["kubernetes", "docker", "gpu-7"])
def test_engines_that_hold_no_adapters_are_not_asked_to(server: str) -> None:
    deployment = serving()
    elsewhere = DeployConfiguration(hardware=Hardware(server=server))
    deployment.request(configuration=elsewhere, model_version="0.0.1", reason="")
    deployment.record_revision_deployed(revision=2)
    with pytest.raises(NotAllowed, match=server) as refusal:
        load(deployment)
    assert "'local'" in refusal.value.remedy
    assert (deployment.desired_revision, deployment.wanted_adapters) == (2, {})
