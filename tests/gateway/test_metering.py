"""What the gateway says that answers took: tokens as engines count them, shares of their time."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from unittest import mock
from uuid import UUID

import aiohttp
import openai
import pytest
from aiohttp import StreamReader
from aiohttp.abc import AbstractStreamWriter
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from backend.gateway.answers import Answer
from backend.gateway.limits import Limits
from backend.gateway.metering import CLIENT_LEFT, Answered, EngineTime
from backend.gateway.metrics import Metrics
from backend.gateway.payload import Payload
from backend.gateway.streams import EventStream
from tests.gateway.engine_double import WORDS, EngineDouble
from tests.gateway.running import GatewayUnderTest
from tests.rig.waiting import eventually

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


def only(gateway: GatewayUnderTest) -> Answered:
    """The one answer that has ended."""
    eventually(lambda: gateway.answered, "an answer has ended")
    (found,) = gateway.answered
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_told_with_the_tokens_that_the_engine_counts(
    gateway: GatewayUnderTest, engine: EngineDouble, stream: bool
) -> None:
    model_id = gateway.model()
    (replica_id,) = gateway.deploy(model_id, engine.endpoint, revision=3, accelerators=2)
    key = gateway.key(model_id, key_id="the-key")
    response = gateway.chat(key, stream=stream)
    assert response.status_code == 200
    told = only(gateway)
    assert (told.model_id, told.key_id, told.route) == (
        model_id,
        "the-key",
        "/v1/chat/completions",
    )
    assert (told.work.revision, told.work.replica_id) == (3, replica_id)
    assert (told.work.input_tokens, told.work.output_tokens, told.work.estimated) == (3, 4, False)
    assert told.status == 200
    assert told.request_id == response.headers["x-request-id"]
    assert 0 < told.work.engine_seconds <= told.seconds
    assert told.work.accelerator_seconds == pytest.approx(2 * told.work.engine_seconds)


def test_a_client_that_has_not_asked_for_the_report_does_not_see_it(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    plain = gateway.chat(key, stream=True)
    assert engine.last_body["stream_options"] == {"include_usage": True}
    assert "usage" not in plain.text
    refusing = gateway.chat(key, stream=True, stream_options={"include_usage": False, "x": 1})
    assert engine.last_body["stream_options"] == {"include_usage": True, "x": 1}
    assert refusing.text == plain.text
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key) as client:
        chunks = list(
            client.chat.completions.create(  # type: ignore[call-overload]
                stream=True, stream_options={"include_usage": True}, **BODY
            )
        )
    assert chunks[-1].usage.total_tokens == 7
    assert all(told.work.input_tokens == 3 for told in gateway.answered)


def test_without_a_report_the_tokens_are_those_that_passed_and_say_so(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("never report")
    gateway.chat(key, stream=True)
    work = only(gateway).work
    assert (work.input_tokens, work.output_tokens, work.estimated) == (0, len(WORDS), True)


def test_a_client_that_leaves_is_told_with_the_tokens_that_it_has_seen(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("endless")

    async def leave() -> int:
        seen = b""
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{gateway.url}/v1/chat/completions",
                json={**BODY, "stream": True},
                headers={"Authorization": f"Bearer {key}"},
            ) as response,
        ):
            while seen.count(b"data: {") < 10:
                seen += await response.content.readany()
            response.close()
        return seen.count(b"data: {")

    seen = asyncio.run(leave())
    told = only(gateway)
    assert told.status == CLIENT_LEFT
    assert told.work.estimated
    assert told.work.output_tokens >= seen
    eventually(lambda: engine.seen["left_by_client"] == 1, "the engine is told")


async def _to_one_that_has_gone(metrics: Metrics) -> None:
    writer = mock.create_autospec(AbstractStreamWriter, instance=True)
    writer.write.side_effect = aiohttp.ClientConnectionResetError
    request = make_mocked_request("POST", "/raw/classify", writer=writer)
    answer = Answer(request, metrics.of("tiny"), Limits(), 0.0)
    content = StreamReader(mock.Mock(), 2**16, loop=asyncio.get_running_loop())
    content.feed_data(b"x")
    upstream = mock.Mock(status=200, headers={}, content_length=None, content=content)
    async with asyncio.timeout(5) as answer.deadline:
        await answer.relay_bytes(upstream)


def test_a_client_that_resets_the_connection_is_no_fault_of_the_engine() -> None:
    metrics = Metrics()
    with pytest.raises(ConnectionResetError):
        asyncio.run(_to_one_that_has_gone(metrics))
    assert b'kind="disconnect"' not in metrics.exposition()


def test_a_client_that_leaves_before_the_answer_is_told_too(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("hang")
    body = json.dumps(BODY).encode()
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s"
            % (key.encode(), len(body), body)
        )
        eventually(lambda: engine.seen["open"] == 1, "the engine works on it")
    told = only(gateway)
    assert (told.status, told.work.output_tokens) == (CLIENT_LEFT, 0)


@pytest.mark.parametrize(
    ("mode", "stream", "status"),
    [
        ("fail", False, 502),
        ("disconnect", True, 502),
        ("die mid-stream", True, 502),
        ("fall silent", True, 504),
        ("hang", False, 504),
        ("of another kind", False, 404),
    ],
)
def test_failures_are_told_by_how_the_answer_ended(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str, mode: str, stream: bool, status: int
) -> None:
    engine.behave(mode)
    gateway.chat(key, stream=stream)
    assert only(gateway).status == status


def test_what_no_engine_was_asked_is_not_told(
    gateway: GatewayUnderTest, model_id: str, key: str
) -> None:
    assert gateway.chat("lgk_wrong").status_code == 401
    assert gateway.chat(key, model="other").status_code == 404
    gateway.publish("DeploymentStopRequested", model_id=model_id)
    assert gateway.chat(key).status_code == 503
    assert gateway.answered == []


def test_the_playground_has_no_key(gateway: GatewayUnderTest, model_id: str) -> None:
    token = gateway.tokens.sign(UUID(model_id), int(time.time()) + 60)
    assert gateway.chat(token).status_code == 200
    assert only(gateway).key_id is None


def test_under_load_what_is_told_is_what_the_engines_answered(
    gateway: GatewayUnderTest, start_engine: Callable[[], EngineDouble]
) -> None:
    engines = [start_engine(), start_engine()]
    model_id = gateway.model()
    gateway.deploy(model_id, *(each.endpoint for each in engines), accelerators=1)
    key = gateway.key(model_id)
    with ThreadPoolExecutor(16) as many:
        answers = list(many.map(lambda n: gateway.chat(key, stream=n % 2 == 0), range(200)))
    assert all(answer.status_code == 200 for answer in answers)
    assert sum(each.seen["count"] for each in engines) == len(gateway.answered) == 200
    work = [told.work for told in gateway.answered]
    assert sum(each.input_tokens for each in work) == 3 * 200
    assert sum(each.output_tokens for each in work) == 4 * 200
    assert not any(each.estimated for each in work)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**6)), min_size=1, max_size=20))
def test_the_shares_of_a_replicas_time_are_the_time_in_which_it_worked(
    stretches: list[tuple[int, int]],
) -> None:
    """Each request begins at a moment and takes so long; both in milliseconds."""
    engine, shares = EngineTime(), 0.0
    moments = sorted(
        [(begin, 1, n) for n, (begin, _) in enumerate(stretches)]
        + [(begin + length, 0, n) for n, (begin, length) in enumerate(stretches)]
    )
    began: dict[int, float] = {}
    worked, since = 0, 0
    for at, begins, n in moments:
        worked += (at - since) if began else 0
        since = at
        if begins:
            began[n] = engine.begin(at / 1000)
        else:
            share = engine.end(at / 1000, began.pop(n))
            assert share >= 0
            shares += share
    assert shares == pytest.approx(worked / 1000)


@given(
    pieces=st.lists(st.integers(1, 40), max_size=40),
    spaced=st.booleans(),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_a_report_is_hidden_wherever_the_stream_is_cut(
    pieces: list[int], spaced: bool, newline: str
) -> None:
    separators = None if spaced else (",", ":")
    said = {"choices": [{"delta": {"content": 'say "choices":[] and "usage"'}}], "usage": None}
    report = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    end = f"{newline}{newline}"

    def event(document: object) -> bytes:
        return f"data: {json.dumps(document, separators=separators)}{end}".encode()

    whole = event(said) * 2 + event(report) + f"data: [DONE]{end}".encode()
    stream, passed, at = EventStream(hides_usage=True), b"", 0
    for size in [*pieces, len(whole)]:
        passed += stream.feed(whole[at : at + size])
        at += size
    passed += stream.rest()
    assert passed == event(said) * 2 + f"data: [DONE]{end}".encode()
    assert stream.complete
    assert stream.chunks == 2
    assert stream.usage is not None
    assert (stream.usage.prompt_tokens, stream.usage.completion_tokens) == (5, 2)


@pytest.mark.parametrize("options", ["[]", '"x"', '{"include_usage":true}', '{"include_usage":1}'])
def test_what_a_client_asks_for_itself_is_left_alone(options: str) -> None:
    body = b'{"model":"m","stream":true,"stream_options":%s}' % options.encode()
    assert Payload(body).asking_for_usage() == {}
