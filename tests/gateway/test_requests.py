"""What a consumer sees, request by request."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from tests.gateway.engine_double import TEXT, EngineDouble
from tests.gateway.running import PARAMETERS, GatewayUnderTest
from tests.rig.waiting import eventually


def _error(response: httpx.Response) -> dict[str, object]:
    error: dict[str, object] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert response.headers["access-control-allow-origin"] == "*"
    return error


def test_the_official_client_works_unchanged(gateway: GatewayUnderTest, key: str) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key) as client:
        assert [model.id for model in client.models.list()] == ["tiny"]
        assert client.models.retrieve("tiny").owned_by == "loggia"
        messages: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "hello"}]
        whole = client.chat.completions.create(model="tiny", messages=messages)
        assert whole.choices[0].message.content == TEXT
        stream = client.chat.completions.create(model="tiny", messages=messages, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == TEXT
        completion = client.completions.create(model="tiny", prompt="hello")
        assert completion.choices[0].text == TEXT
        pieces = client.completions.create(model="tiny", prompt="hello", stream=True)
        assert "".join(piece.choices[0].text for piece in pieces) == TEXT
        vectors = client.embeddings.create(model="tiny", input="hello", encoding_format="float")
        assert vectors.data[0].embedding == [0.5, 0.25]


async def _asynchronously(url: str, key: str) -> str:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as client:
        stream = await client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


def test_the_official_asynchronous_client_works_too(gateway: GatewayUnderTest, key: str) -> None:
    assert asyncio.run(_asynchronously(gateway.url, key)) == TEXT


def test_the_official_client_raises_its_own_errors(
    gateway: GatewayUnderTest, model_id: str, key: str
) -> None:
    with pytest.raises(openai.AuthenticationError, match="wrong or has been revoked"):
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="lgk_wrong").models.list()
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0)
    with pytest.raises(openai.NotFoundError, match="It is for 'tiny'"):
        client.chat.completions.create(model="other", messages=[])
    gateway.publish("DeploymentStopRequested", model_id=model_id)
    with pytest.raises(openai.InternalServerError, match="is stopped"):
        client.chat.completions.create(model="tiny", messages=[])


def test_defaults_fill_only_what_the_request_leaves_out(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    gateway.chat(key)
    assert engine.last_body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello"}],
        **PARAMETERS,
    }
    given: dict[str, Any] = {
        "temperature": 0,
        "max_completion_tokens": 3,
        "top_p": None,
        "stop": "x",
        "seed": 2**60,
    }
    gateway.chat(key, **given)
    sent = engine.last_body
    assert sent["temperature"] == 0
    assert sent["stop"] == "x"
    assert sent["seed"] == 2**60
    assert "max_tokens" not in sent
    assert (sent["top_p"], sent["top_k"]) == (PARAMETERS["top_p"], PARAMETERS["top_k"])


def test_embeddings_get_no_sampling_defaults(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    gateway.chat(key, path="/v1/embeddings", input="hello")
    assert not set(PARAMETERS) & set(engine.last_body)


def test_documents_are_ranked(gateway: GatewayUnderTest, engine: EngineDouble, key: str) -> None:
    body = {"model": "tiny", "query": "a fox", "documents": ["a dog", "a boat"]}
    answer = gateway.http.post("/v1/rerank", json=body, headers={"Authorization": f"Bearer {key}"})
    assert [found["relevance_score"] for found in answer.json()["results"]] == [1, 0.5]
    assert engine.last_body == body
    assert gateway.metric("loggia_gateway_tokens_total", model="tiny", kind="prompt") == 3


def test_embeddings_and_ranking_have_the_same_keys_limits_and_errors(
    gateway: GatewayUnderTest, model_id: str
) -> None:
    key = gateway.key(model_id, requests_per_minute=2)
    for path in ("/v1/embeddings", "/v1/rerank"):
        assert gateway.chat("lgk_wrong", path=path).status_code == 401
        other = gateway.chat(key, path=path, model="other")
        assert _error(other)["code"] == "model_not_found"
    limited = gateway.chat(key, path="/v1/rerank", documents=["a"])
    assert limited.status_code == 429
    assert _error(limited)["code"] == "rate_limit_exceeded"
    assert gateway.http.get("/v1/rerank").status_code == 405


def test_a_model_of_another_kind_says_what_each_kind_answers(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("of another kind")
    refused = gateway.chat(key, path="/v1/rerank", documents=["a"])
    assert refused.status_code == 404
    error = _error(refused)
    assert error["code"] == "not_offered"
    assert "'tiny' does not answer /v1/rerank" in str(error["message"])


def test_a_default_length_does_not_spoil_a_request_that_is_good_without_it(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("small context")
    assert gateway.chat(key).status_code == 200
    assert "max_tokens" not in engine.last_body
    refused = gateway.chat(key, max_tokens=9)
    assert refused.status_code == 400
    assert "maximum context length" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Basic abc", "Bearer lgk_wrong", "Bearer \xff\xfe"]
)
def test_without_a_good_key_nothing_is_answered(
    gateway: GatewayUnderTest, engine: EngineDouble, model_id: str, header: str | None
) -> None:
    headers = {} if header is None else {b"Authorization": header.encode("latin-1")}
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions")):
        response = gateway.http.request(method, path, headers=headers)
        assert response.status_code == 401
        assert _error(response)["code"] == "invalid_api_key"
    assert engine.seen["count"] == 0


def test_an_expired_key_is_refused(gateway: GatewayUnderTest, model_id: str) -> None:
    key = gateway.key(model_id, valid_for=timedelta(seconds=-1))
    response = gateway.chat(key)
    assert response.status_code == 401
    assert "expired" in str(_error(response)["message"])
    assert gateway.chat(gateway.key(model_id, valid_for=timedelta(hours=1))).status_code == 200


def test_a_revoked_key_is_refused_and_others_go_on(
    gateway: GatewayUnderTest, model_id: str, key: str
) -> None:
    revoked = gateway.key(model_id, key_id="the key")
    assert gateway.chat(revoked).status_code == 200
    gateway.publish("ApiKeyRevoked", model_id=model_id, key_id="the key")
    assert gateway.chat(revoked).status_code == 401
    assert gateway.chat(key).status_code == 200


def test_a_key_sees_its_own_model_only(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    other = gateway.model("other")
    gateway.deploy(other, engine.endpoint)
    response = gateway.chat(key, model="other")
    assert response.status_code == 404
    assert _error(response)["code"] == "model_not_found"
    headers = {"Authorization": f"Bearer {key}"}
    listed = gateway.http.get("/v1/models", headers=headers).json()["data"]
    assert [model["id"] for model in listed] == ["tiny"]
    assert gateway.http.get("/v1/models/other", headers=headers).status_code == 404


def test_chinese_model_names_work(gateway: GatewayUnderTest, engine: EngineDouble) -> None:
    model_id = gateway.model("小模型-1")
    gateway.deploy(model_id, engine.endpoint)
    key = gateway.key(model_id)
    assert gateway.chat(key, model="小模型-1").status_code == 200
    headers = {"Authorization": f"Bearer {key}"}
    assert gateway.http.get("/v1/models/小模型-1", headers=headers).json()["id"] == "小模型-1"


def test_withdrawing_changes_nothing_and_deleting_ends_it(
    gateway: GatewayUnderTest, model_id: str, key: str
) -> None:
    gateway.publish("ModelWithdrawn", model_id=model_id)
    assert gateway.chat(key).status_code == 200
    gateway.publish("ModelDeleted", model_id=model_id)
    response = gateway.chat(key)
    assert response.status_code == 404
    assert _error(response)["code"] == "model_not_found"


def test_a_model_that_does_not_run_says_why_and_when_to_come_back(
    gateway: GatewayUnderTest, engine: EngineDouble
) -> None:
    model_id = gateway.model()
    key = gateway.key(model_id)

    def refusal() -> object:
        response = gateway.chat(key)
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        return _error(response)["code"]

    assert refusal() == "model_not_deployed"
    gateway.publish("DeploymentRequested", model_id=model_id, revision=1, configuration={})
    assert refusal() == "model_deploying"
    gateway.publish("RevisionFailed", model_id=model_id, revision=1, serving_revision=None)
    assert refusal() == "model_failed"
    [replica_id] = gateway.deploy(model_id, engine.endpoint, revision=2)
    assert gateway.chat(key).status_code == 200
    gateway.publish("ReplicaLost", model_id=model_id, revision=2, replica_id=replica_id)
    assert refusal() == "model_restarting"
    gateway.replica(model_id, engine.endpoint, revision=2)
    assert gateway.chat(key).status_code == 200
    gateway.publish("DeploymentStopRequested", model_id=model_id)
    assert refusal() == "model_stopped"
    gateway.publish("DeploymentStopped", model_id=model_id)
    assert refusal() == "model_stopped"


def test_the_rate_limit_holds_and_says_when_to_come_back(
    gateway: GatewayUnderTest, model_id: str, key: str
) -> None:
    limited = gateway.key(model_id, requests_per_minute=2)
    assert [gateway.chat(limited).status_code for _ in range(3)] == [200, 200, 429]
    response = gateway.chat(limited)
    assert _error(response)["code"] == "rate_limit_exceeded"
    assert 1 <= int(response.headers["retry-after"]) <= 30
    assert gateway.chat(key).status_code == 200


def test_a_playground_token_opens_its_model_until_it_expires(
    gateway: GatewayUnderTest, model_id: str
) -> None:
    now = int(time.time())
    assert gateway.chat(gateway.tokens.sign(UUID(model_id), now + 60)).status_code == 200
    expired = gateway.chat(gateway.tokens.sign(UUID(model_id), now - 1))
    assert expired.status_code == 401
    assert "expired" in str(_error(expired)["message"])
    forged = gateway.tokens.sign(UUID(model_id), now + 60)[:-2] + "AA"
    assert gateway.chat(forged).status_code == 401


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"null", None),
        (b'{"messages": []}', "model"),
        (b'{"model": 7}', "model"),
        (b'{"model": "tiny", "stream": "yes"}', "stream"),
        (b'{"model": "tiny"} trailing', None),
        (b'{"model": "\xff"}', None),
        (b'{"model": "tiny", "a":' + b"[" * 20_000, None),
    ],
)
def test_a_malformed_body_is_refused_before_any_engine_sees_it(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str, body: bytes, param: str | None
) -> None:
    response = gateway.http.post(
        "/v1/chat/completions", content=body, headers={"Authorization": f"Bearer {key}"}
    )
    assert response.status_code == 400
    assert _error(response)["param"] == param
    assert engine.seen["count"] == 0


@pytest.mark.parametrize("declared", [True, False])
def test_an_oversize_body_is_refused(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str, declared: bool
) -> None:
    body = b'{"model": "tiny", "messages": "' + b"x" * 120_000 + b'"}'
    response = gateway.http.post(
        "/v1/chat/completions",
        content=body if declared else iter([body[:60_000], body[60_000:]]),
        headers={"Authorization": f"Bearer {key}"},
    )
    assert response.status_code == 413
    assert _error(response)["code"] == "request_too_large"
    assert engine.seen["count"] == 0


@pytest.mark.parametrize("declared", [True, False])
def test_what_a_process_holds_at_once_is_bounded(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str, declared: bool
) -> None:
    large = json.dumps({"model": "tiny", "messages": [], "user": "x" * 90_000}).encode()

    def ask() -> httpx.Response:
        return httpx.post(
            f"{gateway.url}/v1/chat/completions",
            content=large if declared else iter([large[:45_000], large[45_000:]]),
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
        )

    engine.behave("hang")
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(ask)
        eventually(lambda: engine.seen["open"] == 1, "the first is held")
        for _ in range(3):
            refused = ask()
            assert (refused.status_code, _error(refused)["code"]) == (503, "gateway_full")
            assert int(refused.headers["retry-after"]) > 0
        assert gateway.chat(key, path="/v1/rerank").status_code == 504, "small ones have room"
        assert waiting.result().status_code == 504
    engine.behave("answer")
    assert [ask().status_code for _ in range(3)] == [200, 200, 200]


def test_a_body_that_never_ends_is_given_up(gateway: GatewayUnderTest, key: str) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n"
            b"Authorization: Bearer " + key.encode() + b'\r\n\r\n{"model":'
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(
    gateway: GatewayUnderTest, key: str
) -> None:
    body = b'{"model": "tiny", "messages": []}'
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Connection: close\r\nContent-Length: %d\r\nAuthorization: Bearer %s\r\n\r\n"
            % (len(body), key.encode())
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        client.sendall(body)
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_only_harmless_headers_travel(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    response = gateway.http.post(
        "/v1/chat/completions",
        json={"model": "tiny", "messages": []},
        headers={
            "Authorization": f"Bearer {key}",
            "Cookie": "loggia_session=secret",
            "X-Forwarded-For": "10.0.0.1",
            "Proxy-Authorization": "Basic secret",
            "Connection": "keep-alive, X-Strange",
            "X-Strange": "1",
        },
    )
    sent = httpx.Headers(engine.seen["requests"][-1]["headers"])
    assert set(sent) == {"host", "content-type", "content-length", "x-request-id"}
    assert "set-cookie" not in response.headers
    assert response.headers["server"] != "double"
    assert response.headers["x-request-id"] == sent["x-request-id"]


def test_browsers_may_call_it_from_anywhere(gateway: GatewayUnderTest, key: str) -> None:
    preflight = gateway.http.options(
        "/v1/chat/completions",
        headers={
            "Origin": "https://example.org",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
        },
    )
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert {"authorization", "*"} <= {name.strip() for name in allowed.split(",")}
    assert "access-control-allow-credentials" not in preflight.headers
    assert gateway.chat(key).headers["access-control-allow-origin"] == "*"
    assert gateway.chat(key, stream=True).headers["access-control-allow-origin"] == "*"


def test_unknown_addresses_and_methods_are_named(gateway: GatewayUnderTest, key: str) -> None:
    missing = gateway.http.get("/v1/nothing")
    assert (missing.status_code, _error(missing)["code"]) == (404, "unknown_url")
    wrong = gateway.http.get("/v1/chat/completions")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST, OPTIONS")


def test_a_stream_keeps_its_events_and_their_order(gateway: GatewayUnderTest, key: str) -> None:
    response = gateway.chat(key, stream=True)
    assert response.headers["content-type"] == "text/event-stream"
    events = response.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    words = [json.loads(event[6:])["choices"][0]["delta"]["content"] for event in events[:-2]]
    assert "".join(words) == TEXT


def test_metrics_count_requests_and_tokens(gateway: GatewayUnderTest, key: str) -> None:
    gateway.chat(key)
    gateway.chat(key, stream=True)
    gateway.chat(key, model="other")
    metric = gateway.metric
    assert metric("loggia_gateway_requests_total", model="tiny", status="200") == 2
    assert metric("loggia_gateway_requests_total", model="tiny", status="404") == 1
    assert metric("loggia_gateway_tokens_total", model="tiny", kind="prompt") == 6
    assert metric("loggia_gateway_tokens_total", model="tiny", kind="completion") == 8
    assert metric("loggia_gateway_in_flight", model="tiny") == 0
    assert metric("loggia_gateway_first_byte_seconds_count", model="tiny") == 2


def test_no_prompt_and_no_key_is_ever_logged(
    gateway: GatewayUnderTest,
    engine: EngineDouble,
    key: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(0)
    secret = "the-prompt-nobody-may-read"
    gateway.chat(key, user=secret)
    gateway.chat(key, model=secret)
    for mode in ("fail", "disconnect", "small context"):
        engine.behave(mode)
        gateway.chat(key, user=secret)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(f"POST /v1 HTTP/1.1\r\nAuthorization: Bearer {key}\x00\r\n\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.")
    captured = capfd.readouterr()
    logged = caplog.text + captured.out + captured.err
    assert "engine did not answer" in logged
    assert key not in logged
    assert secret not in logged
