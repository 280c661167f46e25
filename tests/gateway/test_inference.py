"""The inference protocol at the gateway: passed on as it is, and no further than a key reaches."""

from __future__ import annotations

import gzip
import zlib

import httpx
import pytest

from tests.gateway.engine_double import EngineDouble
from tests.gateway.running import GatewayUnderTest


def _ask(
    gateway: GatewayUnderTest, key: str, path: str, body: bytes | None = None, **headers: str
) -> httpx.Response:
    return httpx.request(
        "GET" if body is None else "POST",
        f"{gateway.url}{path}",
        content=body,
        headers={"Authorization": f"Bearer {key}", **headers},
        timeout=20,
        trust_env=False,
    )


def test_tensors_go_through_byte_by_byte(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    body = b"\x00\x01{}\xff" * 1000
    headers = {
        "Inference-Header-Content-Length": "4",
        "Content-Type": "application/octet-stream",
        "X-Secret": "mine",
    }
    answer = _ask(gateway, key, "/v2/models/tiny/infer", body, **headers)
    assert (answer.status_code, answer.content) == (200, body)
    assert answer.headers["inference-header-content-length"] == "4"
    assert "server" not in answer.headers or answer.headers["server"] != "double"
    seen = engine.seen["requests"][-1]
    assert (seen["method"], seen["path"]) == ("POST", "/v2/models/tiny/infer")
    assert seen["headers"]["Content-Type"] == "application/octet-stream"
    assert "X-Secret" not in seen["headers"]
    assert "Authorization" not in seen["headers"]


@pytest.mark.parametrize("encoding", ["gzip", "Deflate", "of-our-own"])
def test_a_compressed_body_reaches_the_engine_as_what_its_headers_say(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str, encoding: str
) -> None:
    plain = b"\x00\x01{}\xff" * 1000
    sent = {"gzip": gzip.compress(plain), "Deflate": zlib.compress(plain)}.get(encoding, plain)
    headers = {"Content-Encoding": encoding, "Inference-Header-Content-Length": "4"}
    answer = _ask(gateway, key, "/v2/models/tiny/infer", sent, **headers)
    assert (answer.status_code, answer.content) == (200, plain)
    seen = engine.seen["requests"][-1]["headers"]
    assert seen.get("Content-Encoding") == ("of-our-own" if encoding == "of-our-own" else None)
    assert seen["Content-Length"] == str(len(plain))
    assert seen["Inference-Header-Content-Length"] == "4"


def test_a_small_body_that_would_be_a_large_one_is_refused(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    before = engine.seen["count"]
    for path in ("/v2/models/tiny/infer", "/v1/completions"):
        refused = _ask(gateway, key, path, bomb, **{"Content-Encoding": "gzip"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "request_too_large")
    assert engine.seen["count"] == before


@pytest.mark.parametrize(
    "path",
    ["/v2", "/v2/health/ready", "/v2/models/tiny", "/v2/models/tiny/versions/1/ready",
     "/v2/models/tiny/stats"],
)  # fmt: skip
def test_what_is_about_the_model_can_be_read(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str, path: str
) -> None:
    assert _ask(gateway, key, path).status_code == 200
    assert engine.seen["requests"][-1]["path"] == path
    assert _ask(gateway, key, path, b"{}").status_code == 405
    assert _ask(gateway, "lgk_wrong", path).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["/v2/repository/index", "/v2/repository/models/tiny/load", "/v2/logging", "/v2/trace/setting",
     "/v2/systemsharedmemory/region/x/register", "/v2/cudasharedmemory/status", "/v2/models",
     "/v2/models/tiny/trace/setting", "/v2/models/tiny/load", "/v2/models/tiny/unload",
     "/v2/models/stats", "/v2/models/tiny/../../repository/index", "/v2x"],
)  # fmt: skip
def test_what_is_about_the_server_is_nobodys(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str, path: str
) -> None:
    before = engine.seen["count"]
    address = httpx.URL(gateway.url).copy_with(raw_path=path.encode())
    for method in ("GET", "POST"):
        answer = httpx.request(
            method, address, headers={"Authorization": f"Bearer {key}"}, trust_env=False
        )
        assert answer.status_code == 404
    assert engine.seen["count"] == before


@pytest.mark.parametrize("server", ["local", "kubernetes", "infer-1"])
def test_at_a_shared_server_a_key_reaches_its_own_model_only(
    gateway: GatewayUnderTest, engine: EngineDouble, server: str
) -> None:
    model_id = gateway.model("小-1")
    gateway.deploy(model_id, engine.endpoint, server=server)
    key = gateway.key(model_id)
    own, other = "%E5%B0%8F-%31", "tiny"
    for name, status in ((own, 200), (other, 404 if server == "infer-1" else 200)):
        before = engine.seen["count"]
        for rest in ("", "/config", "/versions/1/stats"):
            assert _ask(gateway, key, f"/v2/models/{name}{rest}").status_code == status
        for rest in ("/infer", "/versions/1/infer", "/generate_stream"):
            answer = _ask(gateway, key, f"/v2/models/{name}{rest}", b"{}")
            assert answer.status_code == status
        assert engine.seen["count"] - before == (6 if status == 200 else 0)
    if server == "infer-1":
        assert answer.json()["error"]["code"] == "model_not_found"
        for name in ("%E5%B0%8F-1%2F..%2Ftiny", "%2e%2e", "%E5%B0%8F-1%00"):
            assert _ask(gateway, key, f"/v2/models/{name}").status_code == 404
    assert _ask(gateway, key, "/v2/health/ready").status_code == 200


def test_refusals_reach_the_client_in_the_engines_words(
    gateway: GatewayUnderTest, engine: EngineDouble, key: str
) -> None:
    engine.behave("refuse")
    refused = _ask(gateway, key, "/v2/models/tiny/infer", b"{}")
    assert (refused.status_code, refused.json()) == (400, {"error": "unexpected shape"})
    engine.behave("fail")
    assert _ask(gateway, key, "/v2/models/tiny/infer", b"{}").status_code == 502
    engine.behave("of another kind")
    other = _ask(gateway, key, "/v2/models/tiny/infer", b"{}")
    assert other.status_code == 404
    assert other.json()["error"]["code"] == "not_offered"
    engine.behave("die")
    assert _ask(gateway, key, "/v2/models/tiny/infer", b"{}").status_code in {502, 503}
