"""Reads the bodies of requests: each up to a limit, and all that are held at once up to another."""

from __future__ import annotations

from aiohttp import web

from backend.gateway import errors
from backend.gateway.limits import Limits


class Bodies:
    """Those of one process's requests. For one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    async def read(self, request: web.BaseRequest) -> bytes:
        """The body, decompressed; it counts until it is released. Raises `GatewayError`."""
        self._admit(request.content_length or 0, 0)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        body = bytearray()
        try:
            while piece := await request.content.readany():
                self._admit(len(piece), len(body))
                self._held += len(piece)
                body += piece
        except BaseException as error:
            self._held -= len(body)
            if isinstance(error, web.RequestPayloadError):
                raise errors.invalid_body("The body ended early. Send it again.") from error
            raise
        return bytes(body)

    def release(self, body: bytes) -> None:
        """Nobody needs it any more."""
        self._held -= len(body)

    def _admit(self, more: int, already: int) -> None:
        if already + more > self._limits.body_bytes:
            raise errors.body_too_large(self._limits.body_bytes)
        if self._held + more > self._limits.held_bytes:
            raise errors.bodies_too_large_together()
