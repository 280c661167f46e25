"""A small closed-loop HTTP load generator: raw sockets, so that it costs the box little."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import cast

# Proxies tell of their upstream in headers that end alike.
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SENT = re.compile(rb'"sent_ns":(\d+)')
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass
class Load:
    """What a run of requests took; times in seconds. `requests` counts the warm-up too."""

    first_byte: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    chunk_delays: list[float] = field(default_factory=list)
    failed: int = 0
    requests: int = 0
    seconds: float = 0.0

    @property
    def per_second(self) -> float:
        return len(self.whole) / self.seconds


class _Connection(asyncio.Protocol):
    """Sends the same request over and over, each after the answer to the one before."""

    def __init__(self, request: bytes, load: Load, count: int, deadline: float) -> None:
        self._request = request
        self._load = load
        self._left = count
        self._deadline = deadline
        self._parts: list[bytes] = []
        self._length: int | None = None
        self._received = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if b'"sent_ns"' in data:
            arrived = time.monotonic_ns()
            self._load.chunk_delays += [(arrived - int(ns)) / 1e9 for ns in _SENT.findall(data)]
        if not self._parts:
            self._load.first_byte.append(now - self._started)
        self._parts.append(data)
        self._received += len(data)
        if self._length is None:
            self._length = self._expected()
        if self._received == self._length or (self._length == 0 and data.endswith(_LAST_CHUNK)):
            self._answered(now)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self._load.failed += 1
            self.done.set_result(None)

    def _expected(self) -> int | None:
        """The answer's bytes, 0 for a chunked one, None while its head is incomplete."""
        received = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        head = received.find(b"\r\n\r\n")
        if head < 0:
            return None
        length = _LENGTH.search(received, 0, head)
        return head + 4 + int(length.group(1)) if length else 0

    def _answered(self, now: float) -> None:
        if self._parts[0].startswith(b"HTTP/1.1 200"):
            self._load.whole.append(now - self._started)
        else:
            self._load.failed += 1
        self._left -= 1
        if self._left <= 0 or now > self._deadline:
            self.done.set_result(None)
            self._transport.close()
        else:
            self._send()

    def _send(self) -> None:
        self._parts, self._length, self._received = [], None, 0
        self._started = time.perf_counter()
        self._transport.write(self._request)


async def closed_loop(
    port: int, body: bytes, key: str, *, connections: int, requests: int, seconds: float
) -> Load:
    """Posts the body to /v1/chat/completions until `requests` or `seconds` are used up."""
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    load = Load()
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    opened = [
        await loop.create_connection(
            lambda: _Connection(
                head.encode() + body, load, requests // connections, started + seconds
            ),
            "127.0.0.1",
            port,
        )
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in opened))
    load.seconds = time.perf_counter() - started
    return load
