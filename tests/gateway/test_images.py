"""Container images at the gateway: the interfaces that they list, and nothing else of them."""

from __future__ import annotations

import httpx
import pytest

from tests.gateway.engine_double import EngineDouble
from tests.gateway.running import GatewayUnderTest
from tests.rig.ports import free_port
from tests.rig.waiting import eventually

LISTED = [
    ("POST", "/classify"),
    ("PUT", "/labels"),
    ("GET", "/labels"),
    ("POST", "/v2/models/own/infer"),
]


@pytest.fixture
def model_id(gateway: GatewayUnderTest, engine: EngineDouble) -> str:
    model_id = gateway.image(*LISTED)
    gateway.deploy(model_id, engine.endpoint, engine="container")
    return model_id


def _ask(gateway: GatewayUnderTest, key: str, method: str, path: str) -> httpx.Response:
    body = b'{"model": "image"}' if method == "POST" else b""
    headers = {"Authorization": f"Bearer {key}"}
    return gateway.http.request(method, path, content=body, headers=headers)


def test_what_is_listed_is_answered_and_nothing_else(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    for method, path in LISTED:
        assert _ask(gateway, key, method, f"/raw{path}?a=b").status_code == 200
    assert _ask(gateway, key, "POST", "/v2/models/own/infer").status_code == 200
    before = engine.seen["count"]
    for method, path in (
        ("GET", "/raw/classify"),
        ("GET", "/raw/metrics"),
        ("POST", "/v1/rerank"),
        ("GET", "/v2"),
        ("GET", "/v2/health/ready"),
        ("GET", "/v2/models/own"),
        ("POST", "/v2/models/other/infer"),
    ):
        refused = _ask(gateway, key, method, path)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_offered")
    assert engine.seen["count"] == before


@pytest.mark.parametrize(
    ("method", "path", "again"),
    [("POST", "/classify", False), ("PUT", "/labels", False), ("GET", "/labels", True)],
)
def test_what_may_have_been_done_is_not_asked_again(
    gateway: GatewayUnderTest,
    engine: EngineDouble,
    key: str,
    method: str,
    path: str,
    again: bool,
) -> None:
    engine.behave("disconnect")
    broken = _ask(gateway, key, method, f"/raw{path}")
    assert (broken.status_code, broken.json()["error"]["code"]) == (502, "engine_failed")
    assert ("may have done" in broken.json()["error"]["message"]) is not again
    assert (engine.seen["count"] > 1) is again


def test_what_was_never_taken_is_asked_elsewhere(
    gateway: GatewayUnderTest, engine: EngineDouble
) -> None:
    model_id = gateway.image(*LISTED)
    gone = f"http://127.0.0.1:{free_port()}"
    gateway.deploy(model_id, gone, engine.endpoint, engine="container")
    key = gateway.key(model_id)
    for _ in range(4):
        assert _ask(gateway, key, "POST", "/raw/classify").status_code == 200


@pytest.mark.parametrize(("mode", "status"), [("half and silence", 504), ("half and the end", 502)])
def test_an_answer_cut_short_does_not_look_whole(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str, mode: str, status: int
) -> None:
    engine.behave(mode)
    with pytest.raises(httpx.TransportError):
        _ask(gateway, key, "GET", "/raw/labels")
    told = eventually(lambda: gateway.answered, "the answer has ended")
    assert told[0].status == status


def test_events_that_fall_silent_end_with_an_error_event(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("half of a stream and silence")
    answer = _ask(gateway, key, "GET", "/raw/labels")
    first, last, _ = answer.text.split("\n\n")
    assert first == "data: {}"
    assert "engine_timeout" in last


def test_a_failure_that_breaks_off_is_the_engines(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("half of a failure and the end")
    answer = _ask(gateway, key, "GET", "/raw/labels")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_failed")
