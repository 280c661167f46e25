"""What stands around the gateway in its benchmark: the engine double and the bare proxy.

python -m tests.bench.gateway_parts PORT GAP_SECONDS
ENGINE_URL=http://127.0.0.1:PORT uvicorn tests.bench.gateway_parts:bare_proxy
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

import aiohttp
import uvloop

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CHUNKS = 32
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream": ?true')
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

_WHOLE_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
    % (len(_WHOLE), _WHOLE)
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


class Engine(asyncio.Protocol):
    """The double of an engine: a fixed answer, whole or in chunks that carry their time.

    It is no more of an HTTP server than that, so that it takes little of the box.
    """

    def __init__(self, gap_seconds: float) -> None:
        self._gap = gap_seconds
        self._received = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, mark, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        # What has no length has no body: somebody asks whether it is healthy.
        if not mark or (length is not None and len(body) < int(length.group(1))):
            return
        self._received = b""
        if _STREAM.search(body):
            self._transport.write(_STREAM_HEAD)
            self._send_chunk(CHUNKS)
        else:
            self._transport.write(_WHOLE_ANSWER)

    def _send_chunk(self, left: int) -> None:
        if self._transport.is_closing():
            return
        if left == 0:
            self._transport.write(_framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            return
        self._transport.write(_framed(_chunk(time.monotonic_ns())))
        if self._gap:
            self._loop.call_later(self._gap, self._send_chunk, left - 1)
        else:
            self._loop.call_soon(self._send_chunk, left - 1)


async def serve_engine(port: int, gap_seconds: float) -> None:
    """Serves until the process is ended."""
    server = await asyncio.get_running_loop().create_server(
        lambda: Engine(gap_seconds), "127.0.0.1", port
    )
    await server.serve_forever()


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


def _framed(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


def _chunk(sent_ns: int) -> bytes:
    return (
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"tiny","sent_ns":%d,'
        b'"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n' % sent_ns
    )


async def _body(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


if __name__ == "__main__":
    uvloop.run(serve_engine(int(sys.argv[1]), float(sys.argv[2])))
