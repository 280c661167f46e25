"""What stands around the gateway in its benchmark: the engine double and the bare proxy.

Both are plain ASGI applications, run by name:

    granian --interface asgi tests.bench.gateway_parts:engine
    uvicorn tests.bench.gateway_parts:bare_proxy

The engine double answers at once; `X-Gap` in its environment spaces a stream's chunks.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CHUNKS = 32
GAP_SECONDS = float(os.environ.get("ENGINE_GAP_SECONDS", "0"))
_HOP_BY_HOP = {
    b"connection",
    b"content-length",
    b"date",
    b"host",
    b"keep-alive",
    b"server",
    b"transfer-encoding",
}
_WHOLE = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "tiny",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "word " * 80},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 80, "total_tokens": 89},
    }
).encode()


async def engine(scope: Message, receive: Receive, send: Send) -> None:
    """The double of an engine: a fixed answer, whole or in chunks that carry their time."""
    if scope["type"] != "http":
        return
    body = await _body(receive)
    if b'"stream":true' not in body:
        await send(_start(b"application/json", len(_WHOLE)))
        await send({"type": "http.response.body", "body": _WHOLE})
        return
    await send(_start(b"text/event-stream"))
    for _ in range(CHUNKS):
        await send(
            {"type": "http.response.body", "body": _chunk(time.monotonic_ns()), "more_body": True}
        )
        if GAP_SECONDS:
            await asyncio.sleep(GAP_SECONDS)
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


class BareProxy:
    """The yardstick: a streaming reverse proxy that checks and knows nothing."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=60),
            )
        headers = [(k.decode(), v.decode()) for k, v in scope["headers"] if k not in _HOP_BY_HOP]
        async with self._session.request(
            scope["method"],
            self._upstream + scope["path"],
            data=await _body(receive),
            headers=headers,
        ) as answer:
            kept = [(k, v) for k, v in answer.raw_headers if k.lower() not in _HOP_BY_HOP]
            await send({"type": "http.response.start", "status": answer.status, "headers": kept})
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


bare_proxy = BareProxy(os.environ.get("ENGINE_URL", ""))


def _start(content_type: bytes, length: int | None = None) -> Message:
    headers = [(b"content-type", content_type)]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _chunk(sent_ns: int) -> bytes:
    return (
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"tiny","sent_ns":%d,'
        b'"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n' % sent_ns
    )


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body
