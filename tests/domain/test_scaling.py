"""How many replicas of a revision are wanted, from its request to its end."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from backend.domain.configuration import DeployConfiguration, Scaling
from backend.domain.deployment import Deployment
from backend.domain.deployment_events import DeploymentState
from backend.domain.errors import Invalid, NotAllowed
from backend.domain.events import Cause, caused_by


@pytest.fixture(autouse=True)
def cause() -> Iterator[None]:
    with caused_by(Cause("user:ada", uuid4())):
        yield


def request(deployment: Deployment, least: int, most: int) -> int:
    deployment.request(
        configuration=DeployConfiguration(scaling=Scaling(least, most)),
        model_version="0.0.1",
        reason="",
    )
    return deployment.desired_revision


def serving(least: int = 1, most: int = 3) -> Deployment:
    deployment = Deployment.begin(model_id=uuid4(), terms_version="1", terms_sha256="0" * 64)
    deployment.record_revision_deployed(revision=request(deployment, least, most))
    return deployment


def scale(deployment: Deployment, replicas: int, revision: int = 1) -> None:
    deployment.scale(
        revision=revision,
        replicas=replicas,
        running=9,
        waiting=2,
        sustained_seconds=30,
        reason="busy",
    )


@pytest.mark.parametrize(("least", "first"), [(0, 1), (1, 1), (2, 2)])
def test_a_revision_begins_with_the_minimum_but_with_one_that_proves_it(
    least: int, first: int
) -> None:
    assert serving(least).wanted_replicas == {1: first}


def test_a_decision_is_an_event_with_its_numbers() -> None:
    deployment = serving()
    scale(deployment, 3)
    assert deployment.wanted_replicas[1] == 3
    event = deployment.pending_events[-1]
    assert isinstance(event, Deployment.DeploymentScaled)
    assert (event.from_replicas, event.to_replicas) == (1, 3)
    assert (event.running, event.waiting, event.sustained_seconds) == (9, 2, 30)


def test_a_decision_that_changes_nothing_is_no_event() -> None:
    deployment = serving()
    before = len(deployment.pending_events)
    scale(deployment, 1)
    assert len(deployment.pending_events) == before


def test_zero_is_allowed_where_the_configuration_allows_it() -> None:
    deployment = serving(least=0)
    scale(deployment, 0)
    assert deployment.wanted_replicas[1] == 0
    assert deployment.state is DeploymentState.DEPLOYED
    with pytest.raises(Invalid, match="out of range"):
        scale(serving(least=1), 0)


def test_nobody_scales_beyond_the_bounds_or_what_does_not_serve() -> None:
    deployment = serving()
    with pytest.raises(Invalid, match="out of range"):
        scale(deployment, 4)
    second = request(deployment, 1, 3)
    with pytest.raises(NotAllowed, match="does not serve"):
        scale(deployment, 2, revision=second)
    scale(deployment, 2)
    deployment.stop(reason="")
    with pytest.raises(NotAllowed, match="does not serve"):
        scale(deployment, 3)


@pytest.mark.parametrize(("least", "most", "first"), [(1, 3, 3), (1, 2, 2), (0, 8, 3), (4, 8, 4)])
def test_a_redeployed_revision_begins_with_what_its_predecessor_needs(
    least: int, most: int, first: int
) -> None:
    deployment = serving()
    scale(deployment, 3)
    assert deployment.wanted_replicas[request(deployment, least, most)] == first


def test_a_started_deployment_begins_anew() -> None:
    deployment = serving()
    scale(deployment, 3)
    deployment.stop(reason="")
    deployment.record_stopped()
    deployment.start()
    assert deployment.wanted_replicas[2] == 1


def test_a_replica_is_retired_once() -> None:
    deployment = serving()
    replica_id = uuid4()
    deployment.record_replica_started(
        revision=1, replica_id=replica_id, server="local", engine="vllm", engine_version="1"
    )
    for _ in range(2):
        deployment.retire_replica(revision=1, replica_id=replica_id, reason="scaled down")
    retired = [e for e in deployment.pending_events if isinstance(e, Deployment.ReplicaRetired)]
    assert len(retired) == 1
    assert deployment.replicas == {}
    deployment.record_replica_lost(
        revision=1, replica_id=replica_id, reason="ended", exit_code=0, log_tail=[]
    )
    assert not isinstance(deployment.pending_events[-1], Deployment.ReplicaLost)
