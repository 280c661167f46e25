"""Replicas that come, go and die under load, and requests that come while there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import count

import httpx
import pytest

from backend.gateway.limits import Limits
from backend.infra.demand import Demand
from tests.gateway.engine_double import EngineDouble
from tests.gateway.load import BODY, CUT_SHORT, Load
from tests.gateway.running import GatewayUnderTest
from tests.rig.waiting import eventually

StartEngine = Callable[[], EngineDouble]


class Told:
    """What the deploy worker would be told of the demand."""

    def __init__(self) -> None:
        self.demands: list[Mapping[str, Demand]] = []
        self.urgent: list[str] = []

    def publish(self, demands: Mapping[str, Demand], urgent: list[str]) -> None:
        self.demands.append(demands)
        self.urgent.extend(urgent)

    def last(self, model_id: str) -> Demand | None:
        return next((d[model_id] for d in reversed(self.demands) if model_id in d), None)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def patient(told: Told) -> Iterator[GatewayUnderTest]:
    """A gateway at which requests may wait for a replica, but only four of them."""
    gateway = GatewayUnderTest(
        Limits(connect_seconds=1, drain_seconds=3, wait_seconds=15, waiting_requests=4),
        told.publish,
    )
    gateway.start()
    yield gateway
    gateway.stop()


class Asking:
    """A request in a thread of its own."""

    def __init__(self, gateway: GatewayUnderTest, key: str, *, stream: bool = False) -> None:
        self.answers: list[httpx.Response] = []
        self._thread = threading.Thread(
            target=lambda: self.answers.append(gateway.chat(key, stream=stream))
        )
        self._thread.start()

    def answer(self) -> httpx.Response:
        self._thread.join(timeout=20)
        return self.answers[0]


def at_zero(gateway: GatewayUnderTest) -> tuple[str, str]:
    """A deployed model without any replica, and a key for it."""
    model_id = gateway.model()
    gateway.deploy(model_id)
    return model_id, gateway.key(model_id)


def waiting(gateway: GatewayUnderTest) -> float:
    return gateway.metric("loggia_gateway_waiting", model="tiny")


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_at_zero_replicas_waits_and_is_answered_when_one_comes(
    patient: GatewayUnderTest, engine: EngineDouble, told: Told, stream: bool
) -> None:
    model_id, key = at_zero(patient)
    asking = Asking(patient, key, stream=stream)
    eventually(lambda: waiting(patient) == 1, "the request waits")
    eventually(lambda: told.last(model_id) == Demand(0, 1), "the deploy worker is told")
    assert told.urgent == [model_id]
    patient.replica(model_id, engine.endpoint)
    assert asking.answer().status_code == 200
    eventually(lambda: told.last(model_id) == Demand(0, 0), "nothing is wanted any more")
    assert waiting(patient) == 0


def test_no_more_than_so_many_wait(patient: GatewayUnderTest, engine: EngineDouble) -> None:
    model_id, key = at_zero(patient)
    asking = [Asking(patient, key) for _ in range(4)]
    eventually(lambda: waiting(patient) == 4, "all of them wait")
    refused = patient.chat(key)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert refused.json()["error"]["code"] == "too_many_waiting"
    patient.replica(model_id, engine.endpoint)
    assert [a.answer().status_code for a in asking] == [200] * 4


def test_who_has_waited_too_long_is_told_when_to_come_back(gateway: GatewayUnderTest) -> None:
    _, key = at_zero(gateway)
    response = gateway.chat(key)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["error"]["code"] == "model_restarting"


def test_a_client_that_does_not_wait_any_longer_leaves_nothing_behind(
    patient: GatewayUnderTest, told: Told
) -> None:
    model_id, key = at_zero(patient)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{patient.url}/v1/chat/completions",
            json=BODY,
            headers={"Authorization": f"Bearer {key}"},
            timeout=0.5,
        )
    eventually(lambda: waiting(patient) == 0, "nobody waits")
    eventually(lambda: told.last(model_id) == Demand(0, 0), "nothing is wanted any more")


def test_who_waits_is_told_at_once_that_the_model_is_stopped_or_the_process_ends(
    patient: GatewayUnderTest,
) -> None:
    model_id, key = at_zero(patient)
    asking = Asking(patient, key)
    eventually(lambda: waiting(patient) == 1, "the request waits")
    patient.publish("DeploymentStopRequested", model_id=model_id)
    assert asking.answer().json()["error"]["code"] == "model_stopped"
    patient.deploy(model_id, revision=2)
    asking = Asking(patient, key)
    eventually(lambda: waiting(patient) == 1, "the request waits")
    patient.stop()
    assert asking.answer().status_code == 503


def test_the_demand_is_what_is_at_engines(
    patient: GatewayUnderTest, engine: EngineDouble, told: Told
) -> None:
    model_id, key = at_zero(patient)
    patient.replica(model_id, engine.endpoint)
    engine.behave("slow")
    with Load(patient, key, connections=3) as load:
        load.wait_for_more(12)
        eventually(lambda: told.last(model_id) == Demand(3, 0), "three run")
    eventually(lambda: told.last(model_id) == Demand(0, 0), "nothing runs any more")
    assert told.urgent == []


def test_one_replica_to_two_to_one_under_load_without_one_failed_request(
    patient: GatewayUnderTest, start_engine: StartEngine
) -> None:
    first, second = start_engine(), start_engine()
    model_id, key = at_zero(patient)
    one = patient.replica(model_id, first.endpoint)
    with Load(patient, key) as load:
        patient.replica(model_id, second.endpoint)
        load.wait_for_more()
        assert second.seen["count"] > 0
        patient.publish("ReplicaRetired", model_id=model_id, revision=1, replica_id=one)
        eventually(lambda: first.seen["open"] == 0, "the retired replica is drained")
        drained = first.seen["count"]
        load.wait_for_more()
        assert first.seen["count"] == drained, "a retired replica gets no new request"
        first.stop()
        load.wait_for_more()
    assert set(load.statuses) == {200}


def test_one_replica_to_zero_to_one_under_load_without_one_failed_request(
    patient: GatewayUnderTest, start_engine: StartEngine
) -> None:
    first, second = start_engine(), start_engine()
    model_id, key = at_zero(patient)
    one = patient.replica(model_id, first.endpoint)
    with Load(patient, key, connections=4) as load:
        patient.publish("ReplicaRetired", model_id=model_id, revision=1, replica_id=one)
        eventually(lambda: waiting(patient) == 4, "everybody waits")
        first.stop()
        patient.replica(model_id, second.endpoint)
        load.wait_for_more()
    assert set(load.statuses) == {200}


def test_a_withdrawn_model_goes_on_and_a_stopped_one_refuses_all_but_what_runs(
    patient: GatewayUnderTest, engine: EngineDouble
) -> None:
    model_id, key = at_zero(patient)
    patient.replica(model_id, engine.endpoint)
    with Load(patient, key) as load:
        patient.publish("ModelWithdrawn", model_id=model_id)
        load.wait_for_more()
        assert set(load.statuses) == {200}
        patient.publish("DeploymentStopRequested", model_id=model_id)
        at_stop = len(load.statuses)
        load.wait_for_more()
        later = load.statuses[at_stop:]
    assert set(later) <= {200, 503}
    assert later.count(200) <= load.connections, "only what was in flight still succeeds"


def test_a_killed_replica_cuts_only_the_streams_that_it_had_begun(
    patient: GatewayUnderTest, start_engine: StartEngine
) -> None:
    first, second = start_engine(), start_engine()
    model_id, key = at_zero(patient)
    lost = patient.replica(model_id, first.endpoint)
    patient.replica(model_id, second.endpoint)
    with Load(patient, key) as load:
        first.stop()
        load.wait_for_more(200)
        patient.publish("ReplicaLost", model_id=model_id, revision=1, replica_id=lost)
        third = start_engine()
        patient.replica(model_id, third.endpoint)
        load.wait_for_more()
        assert third.seen["count"] > 0
    # 502 where the engine had begun an answer of which nothing had come.
    assert set(load.statuses) <= {200, 502, CUT_SHORT}
    assert len([s for s in load.statuses if s != 200]) <= load.connections, "those in flight only"


def test_the_only_replica_is_killed_and_every_request_is_answered_or_told(
    patient: GatewayUnderTest, start_engine: StartEngine
) -> None:
    first, second = start_engine(), start_engine()
    model_id, key = at_zero(patient)
    lost = patient.replica(model_id, first.endpoint)
    with Load(patient, key, connections=4) as load:
        first.stop()
        eventually(lambda: waiting(patient) == 4, "everybody waits for its successor")
        patient.publish("ReplicaLost", model_id=model_id, revision=1, replica_id=lost)
        patient.replica(model_id, second.endpoint)
        load.wait_for_more()
    assert set(load.statuses) <= {200, 502, CUT_SHORT}
    assert len([s for s in load.statuses if s != 200]) <= load.connections, "those in flight only"


def test_a_replica_that_refuses_gets_no_request_until_it_answers_again(
    patient: GatewayUnderTest, start_engine: StartEngine
) -> None:
    first, second = start_engine(), start_engine()
    model_id, key = at_zero(patient)
    patient.replica(model_id, first.endpoint)
    patient.replica(model_id, second.endpoint)
    first.stop()
    refusals = "loggia_gateway_engine_errors_total"

    def ask(topic: int) -> int:
        return patient.chat(key, messages=[{"role": "user", "content": str(topic)}]).status_code

    assert {ask(topic) for topic in range(20)} == {200}
    assert patient.metric(refusals, kind="connect") == 1, "it was tried once"
    first.start()

    topics = count()
    eventually(lambda: ask(next(topics)) and first.seen["count"], "it is used again")


def test_a_conversation_stays_with_one_replica_and_conversations_spread(
    patient: GatewayUnderTest, start_engine: StartEngine
) -> None:
    engines = [start_engine(), start_engine()]
    model_id, key = at_zero(patient)
    for engine in engines:
        patient.replica(model_id, engine.endpoint)

    def say(topic: int) -> None:
        messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": topic}]
        for turn in range(4):
            assert patient.chat(key, messages=messages).status_code == 200
            messages += [
                {"role": "assistant", "content": f"answer {turn}"},
                {"role": "user", "content": f"question {turn}"},
            ]

    for topic in range(16):
        before = [engine.seen["count"] for engine in engines]
        say(topic)
        grown = [engine.seen["count"] - n for engine, n in zip(engines, before, strict=True)]
        assert sorted(grown) == [0, 4], "the whole conversation is at one replica"
    assert all(engine.seen["count"] >= 8 for engine in engines)
