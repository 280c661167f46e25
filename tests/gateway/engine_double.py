"""The double of an inference engine: a real HTTP server in a process of its own.

    python -m tests.gateway.engine_double PORT

`PUT /double` with {"mode": ...} says how it treats the requests that follow; `GET /double` tells
what it has seen.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
from aiohttp import web

from tests.rig.ports import free_port
from tests.rig.waiting import eventually

WORDS = ["one ", "two ", "three ", "four "]
TEXT = "".join(WORDS)


class Double:
    """The server's state."""

    def __init__(self) -> None:
        self.mode = "answer"
        self.requests: list[dict[str, Any]] = []
        self.open = 0
        self.left_by_client = 0

    async def behave(self, request: web.Request) -> web.Response:
        self.mode = (await request.json())["mode"]
        return web.json_response({})

    async def tell(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "requests": self.requests[-10:],
                "count": len(self.requests),
                "open": self.open,
                "left_by_client": self.left_by_client,
            }
        )

    async def generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append({"path": request.path, "headers": dict(request.headers), "body": body})
        self.open += 1
        try:
            return await self._answer(request, body)
        except asyncio.CancelledError:
            self.left_by_client += 1
            raise
        finally:
            self.open -= 1

    async def infer(self, request: web.Request) -> web.StreamResponse:
        """Gives back what came, as it came."""
        body = await request.read()
        told = {"path": request.path, "method": request.method, "headers": dict(request.headers)}
        self.requests.append({**told, "body": body.decode("latin-1")})
        if self.mode == "die":
            os._exit(1)
        if self.mode == "disconnect":
            assert request.transport is not None
            request.transport.abort()
        if self.mode == "refuse":
            return web.json_response({"error": "unexpected shape"}, status=400)
        if self.mode == "fail":
            return web.json_response({"error": "out of memory"}, status=500)
        if self.mode == "of another kind":
            return web.json_response({"detail": "Not Found"}, status=404, dumps=_compact)
        if self.mode.startswith("half"):
            return await self._half(request)
        headers = {"Inference-Header-Content-Length": "4", "Server": "double"}
        return web.Response(body=body or b"{}", headers=headers)

    async def _half(self, request: web.Request) -> web.StreamResponse:
        """The first of two bytes, or an event without an end; then nothing more."""
        assert request.transport is not None
        events = "of a stream" in self.mode
        response = web.StreamResponse(status=500 if "of a failure" in self.mode else 200)
        response.content_type = "text/event-stream" if events else "application/octet-stream"
        response.content_length = None if events else 2
        await response.prepare(request)
        await response.write(b"data: {}\n\n" if events else b"x")
        if "and silence" in self.mode:
            await asyncio.Event().wait()
        await asyncio.sleep(0.1)
        request.transport.abort()
        return response

    async def _answer(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        assert request.transport is not None
        if self.mode == "die":
            os._exit(1)
        if self.mode == "hang":
            await asyncio.Event().wait()
        if self.mode == "disconnect":
            request.transport.abort()
        if self.mode == "slow":
            await asyncio.sleep(0.3)
        if self.mode == "fail":
            return web.json_response({"object": "error", "message": "out of memory"}, status=500)
        if self.mode == "of another kind":
            return web.json_response({"detail": "Not Found"}, status=404, dumps=_compact)
        if self.mode == "small context" and "max_tokens" in body:
            message = "This model's maximum context length is 8 tokens."
            return web.json_response({"error": {"message": message, "code": 400}}, status=400)
        if body.get("stream"):
            return await self._stream(request, body)
        return web.json_response(_whole(body), headers={"Set-Cookie": "a=b", "Server": "double"})

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async for piece in self._pieces(request, body):
            await response.write(piece)
            await asyncio.sleep(0.005)
        return response

    async def _pieces(self, request: web.Request, body: dict[str, Any]) -> AsyncIterator[bytes]:
        assert request.transport is not None
        if self.mode == "die before first byte":
            os._exit(1)
        for number, word in enumerate(WORDS):
            event = _event(body, word)
            if number == 2 and self.mode == "break in an event":
                yield event[:20]
                request.transport.abort()
            if number == 2 and self.mode == "die mid-stream":
                os._exit(1)
            if number == 2 and self.mode == "fall silent":
                await asyncio.Event().wait()
            if number == 2 and self.mode == "end early":
                return
            yield event[:30]
            yield event[30:]
        while self.mode == "endless":
            yield _event(body, "more ")
        if self.mode != "never report" and (body.get("stream_options") or {}).get("include_usage"):
            report = {**_chunk(body), "choices": [], "usage": _USAGE}
            yield b"data: " + json.dumps(report).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"


_USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
_compact = functools.partial(json.dumps, separators=(",", ":"))


def _whole(body: dict[str, Any]) -> dict[str, Any]:
    if "input" in body:
        return {
            "object": "list",
            "model": body["model"],
            "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        }
    if "documents" in body:
        return {
            "id": "double-1",
            "model": body["model"],
            "results": [
                {"index": index, "document": {"text": text}, "relevance_score": 1 / (index + 1)}
                for index, text in enumerate(body["documents"])
            ],
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        }
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    if "messages" in body:
        choice["message"] = {"role": "assistant", "content": TEXT}
    else:
        choice["text"] = TEXT
    return {
        "id": "double-1",
        "object": "chat.completion" if "messages" in body else "text_completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": _USAGE,
    }


def _event(body: dict[str, Any], word: str) -> bytes:
    choice: dict[str, Any] = {"index": 0, "finish_reason": None}
    if "messages" in body:
        choice["delta"] = {"content": word}
    else:
        choice["text"] = word
    chunk = {**_chunk(body), "choices": [choice]}
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def _chunk(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "double-1",
        "object": "chat.completion.chunk" if "messages" in body else "text_completion",
        "created": 1,
        "model": body["model"],
    }


class EngineDouble:
    """Starts, steers and ends such a process."""

    def __init__(self) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx.Client(base_url=self.endpoint, timeout=10)

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.gateway.engine_double", str(self.port)]
        )
        eventually(self._answers, "the engine double answers")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None

    def behave(self, mode: str) -> None:
        self._http.put("/double", json={"mode": mode}).raise_for_status()

    @property
    def seen(self) -> dict[str, Any]:
        seen: dict[str, Any] = self._http.get("/double").json()
        return seen

    @property
    def last_body(self) -> dict[str, Any]:
        body: dict[str, Any] = self.seen["requests"][-1]["body"]
        return body

    def _answers(self) -> bool:
        try:
            return self._http.get("/double").status_code == 200
        except httpx.TransportError:
            return False


def main() -> None:
    double = Double()
    app = web.Application()
    app.router.add_put("/double", double.behave)
    app.router.add_get("/double", double.tell)
    app.router.add_post("/v1/{endpoint:.+}", double.generate)
    for path in ("/v2{path:.*}", "/classify", "/labels"):
        app.router.add_route("*", path, double.infer)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        handler_cancellation=True,
        access_log=None,
        print=None,
    )


if __name__ == "__main__":
    main()
