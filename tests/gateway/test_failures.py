"""Engines that fail, clients that leave, revisions that change: nobody is left in silence."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable

import aiohttp
import httpx
import openai
import pytest

from tests.gateway.engine_double import TEXT, EngineDouble
from tests.gateway.load import BODY, Load
from tests.gateway.running import PARAMETERS, GatewayUnderTest
from tests.rig.ports import free_port
from tests.rig.waiting import eventually

Ask = Callable[[aiohttp.ClientSession], Awaitable[int]]


def _code(response: httpx.Response) -> object:
    return response.json()["error"]["code"]


def _last_event(response: httpx.Response) -> dict[str, object]:
    *_, last, end = response.text.split("\n\n")
    assert end == ""
    event: dict[str, object] = json.loads(last.removeprefix("data: "))
    return event


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", ["disconnect", "die"])
def test_an_engine_that_breaks_before_its_answer_gives_an_error(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str, mode: str, stream: bool
) -> None:
    engine.behave(mode)
    response = gateway.chat(key, stream=stream)
    assert (response.status_code, _code(response)) == (502, "engine_failed")


def test_a_stream_that_breaks_before_its_first_event_gives_an_error(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("die before first byte")
    response = gateway.chat(key, stream=True)
    assert (response.status_code, _code(response)) == (502, "engine_failed")


@pytest.mark.parametrize("mode", ["die mid-stream", "break in an event", "end early"])
def test_a_stream_that_breaks_ends_with_an_error_event(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str, mode: str
) -> None:
    engine.behave(mode)
    response = gateway.chat(key, stream=True)
    assert response.status_code == 200
    assert "two" in response.text
    assert "three" not in response.text
    assert _last_event(response)["error"]["code"] == "engine_failed"  # type: ignore[index]
    assert gateway.metric("loggia_gateway_engine_errors_total", kind="disconnect") == 1


def test_the_official_client_raises_when_a_stream_breaks(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("die mid-stream")
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key)
    stream = client.chat.completions.create(stream=True, **BODY)  # type: ignore[call-overload]
    with pytest.raises(openai.APIError, match="in the middle of its answer"):
        list(stream)


def test_an_engine_that_hangs_is_given_up(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("hang")
    response = gateway.chat(key)
    assert (response.status_code, _code(response)) == (504, "engine_timeout")
    eventually(lambda: engine.seen["left_by_client"] == 1, "the engine is told")


def test_a_stream_that_falls_silent_ends_with_an_error_event(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("fall silent")
    response = gateway.chat(key, stream=True)
    assert "two" in response.text
    assert _last_event(response)["error"]["code"] == "engine_timeout"  # type: ignore[index]
    eventually(lambda: engine.seen["left_by_client"] == 1, "the engine is told")


def test_an_engines_own_failure_is_not_the_clients_fault(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("fail")
    response = gateway.chat(key)
    assert response.status_code == 502
    assert response.json()["error"]["message"] == "out of memory"


@pytest.mark.parametrize("stream", [False, True])
def test_a_refused_connection_is_tried_on_another_replica(
    gateway: GatewayUnderTest, engine: EngineDouble, stream: bool
) -> None:
    model_id = gateway.model()
    gateway.deploy(model_id, f"http://127.0.0.1:{free_port()}", engine.endpoint)
    key = gateway.key(model_id)
    for _ in range(6):
        response = gateway.chat(key, stream=stream)
        assert response.status_code == 200
        assert response.text.count("double-1") >= 1


def test_a_model_none_of_whose_replicas_can_be_reached_gives_an_error(
    gateway: GatewayUnderTest,
) -> None:
    model_id = gateway.model()
    gateway.deploy(model_id, f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}")
    response = gateway.chat(gateway.key(model_id))
    assert (response.status_code, _code(response)) == (503, "model_restarting")


def test_an_engine_that_restarts_on_its_address_is_used_again(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    assert gateway.chat(key).status_code == 200
    engine.stop()
    assert gateway.chat(key).status_code == 503
    engine.start()
    assert gateway.chat(key).status_code == 200


def test_load_goes_to_the_replica_with_the_fewest_outstanding_requests(
    gateway: GatewayUnderTest, start_engine: Callable[[], EngineDouble]
) -> None:
    busy, free = start_engine(), start_engine()
    model_id = gateway.model()
    gateway.deploy(model_id, busy.endpoint, free.endpoint)
    key = gateway.key(model_id)
    busy.behave("endless")
    free.behave("endless")
    headers = {"Authorization": f"Bearer {key}"}
    with gateway.http.stream(
        "POST", "/v1/chat/completions", json={**BODY, "stream": True}, headers=headers
    ) as running:
        pieces = running.iter_bytes()
        next(pieces)
        taken, other = (busy, free) if busy.seen["open"] else (free, busy)
        other.behave("answer")
        before = taken.seen["count"]
        assert all(gateway.chat(key).status_code == 200 for _ in range(5))
        assert taken.seen["count"] == before
        assert other.seen["count"] == 5


def test_a_client_that_leaves_ends_the_work_at_the_engine_and_leaves_nothing_behind(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("endless")
    before = gateway.tasks
    leaving = 1_000

    async def leave(session: aiohttp.ClientSession) -> None:
        async with session.post(
            f"{gateway.url}/v1/chat/completions",
            json={**BODY, "stream": True},
            headers={"Authorization": f"Bearer {key}"},
        ) as response:
            await response.content.readany()
            response.close()

    async def all_leave() -> None:
        async with aiohttp.ClientSession() as session:
            for _ in range(leaving // 20):
                await asyncio.gather(*(leave(session) for _ in range(20)))

    asyncio.run(all_leave())
    eventually(lambda: engine.seen["left_by_client"] == leaving, "the engine sees every close")
    eventually(lambda: gateway.tasks <= before + 2, "no task is left")
    assert engine.seen["open"] == 0
    assert gateway.metric("loggia_gateway_in_flight", model="tiny") == 0
    completion = gateway.metric("loggia_gateway_tokens_total", kind="completion")
    assert completion >= leaving, "the tokens that were seen are counted"


def test_a_client_that_leaves_before_the_answer_ends_the_work_too(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("hang")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{gateway.url}/v1/chat/completions",
            json=BODY,
            headers={"Authorization": f"Bearer {key}"},
            timeout=0.3,
        )
    eventually(lambda: engine.seen["left_by_client"] == 1, "the engine is told")


def test_a_new_revision_takes_over_under_load_without_one_failed_request(
    gateway: GatewayUnderTest,
    engine: EngineDouble,
    model_id: str,
    key: str,
    start_engine: Callable[[], EngineDouble],
) -> None:
    engines = [engine]
    with Load(gateway, key) as load:
        for revision in range(2, 6):
            engines.append(start_engine())
            gateway.deploy(model_id, engines[-1].endpoint, revision=revision)
            eventually(lambda: engines[-2].seen["open"] == 0, "the old revision is drained")
            drained = engines[-2].seen["count"]
            load.wait_for_more()
            assert engines[-2].seen["count"] == drained, "no new request goes to the old one"
            gateway.publish("RevisionRetired", model_id=model_id, revision=revision - 1)
            engines[-2].stop()
            load.wait_for_more()
    assert set(load.statuses) == {200}


def test_requests_in_flight_finish_on_the_old_revision(
    gateway: GatewayUnderTest,
    engine: EngineDouble,
    model_id: str,
    key: str,
    start_engine: Callable[[], EngineDouble],
) -> None:
    fresh = start_engine()
    engine.behave("slow")
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(gateway.chat(key)))
    asking.start()
    eventually(lambda: engine.seen["open"] == 1, "the old revision works on the request")
    gateway.deploy(model_id, fresh.endpoint, revision=2, temperature=0.75)
    assert gateway.chat(key).status_code == 200
    assert fresh.last_body["temperature"] == 0.75
    asking.join(timeout=10)
    assert answers[0].status_code == 200
    assert engine.last_body["temperature"] == PARAMETERS["temperature"]


def test_a_failed_revision_leaves_the_serving_one_alone(
    gateway: GatewayUnderTest, engine: EngineDouble, model_id: str, key: str
) -> None:
    gateway.publish("DeploymentRequested", model_id=model_id, revision=2, configuration={})
    gateway.replica(model_id, f"http://127.0.0.1:{free_port()}", revision=2)
    gateway.publish("RevisionFailed", model_id=model_id, revision=2, serving_revision=1)
    assert gateway.chat(key).status_code == 200
    assert engine.last_body["temperature"] == PARAMETERS["temperature"]


def test_a_key_revoked_under_load_is_refused_from_then_on(
    gateway: GatewayUnderTest, model_id: str
) -> None:
    key = gateway.key(model_id, key_id="busy")
    with Load(gateway, key) as load:
        gateway.publish("ApiKeyRevoked", model_id=model_id, key_id="busy")
        at_revocation = len(load.statuses)
        load.wait_for_more(100)
        later = load.statuses[at_revocation:]
    assert set(later) <= {200, 401}
    assert later.count(200) <= load.connections, "only what was in flight still succeeds"


def test_a_running_stream_outlives_its_keys_revocation(
    gateway: GatewayUnderTest, engine: EngineDouble, model_id: str
) -> None:
    key = gateway.key(model_id, key_id="streaming")
    with gateway.http.stream(
        "POST",
        "/v1/chat/completions",
        json={**BODY, "stream": True},
        headers={"Authorization": f"Bearer {key}"},
    ) as response:
        pieces = response.iter_bytes()
        first = next(pieces)
        gateway.publish("ApiKeyRevoked", model_id=model_id, key_id="streaming")
        assert (first + b"".join(pieces)).endswith(b"data: [DONE]\n\n")
    assert gateway.chat(key).status_code == 401


def test_the_end_of_the_process_lets_a_stream_finish(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("slow")
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(gateway.chat(key, stream=True)))
    asking.start()
    eventually(lambda: engine.seen["open"] == 1, "the engine works")
    gateway.stop()
    asking.join(timeout=10)
    assert answers[0].text.endswith("data: [DONE]\n\n")
    words = [
        json.loads(event[6:])["choices"][0]["delta"]["content"]
        for event in answers[0].text.split("\n\n")[:-2]
    ]
    assert "".join(words) == TEXT


def test_a_stream_without_end_is_told_that_the_process_ends(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("endless")
    with gateway.http.stream(
        "POST",
        "/v1/chat/completions",
        json={**BODY, "stream": True},
        headers={"Authorization": f"Bearer {key}"},
    ) as response:
        pieces = response.iter_bytes()
        next(pieces)
        gateway.begin_stop()
        received = b""
        for piece in pieces:
            received = (received + piece)[-1000:]
    assert b'"error":{"message":"The gateway is being restarted' in received
