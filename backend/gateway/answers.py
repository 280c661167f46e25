"""One request's answer: relayed from the engine as it comes, and never ended by silence."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import aiohttp
import msgspec
from aiohttp import web

from backend.gateway import errors, inference
from backend.gateway.errors import GatewayError
from backend.gateway.limits import Limits
from backend.gateway.metering import Work
from backend.gateway.metrics import ModelMetrics
from backend.gateway.streams import EventStream, Usage, usage_in

_ERROR_EVENT_SECONDS = 1.0
# The deadline of a stream moves in steps of this share of the time that it allows.
_DEADLINE_STEP = 0.05
# The engine's own refusals that are the client's business.
_CLIENT_ERRORS = frozenset({400, 404, 405, 408, 409, 413, 415, 422, 429})
# What engines (FastAPI) say where a model is of another kind than the request.
_NO_SUCH_ROUTE = b'{"detail":"Not Found"}'


class Answer:
    """Carries an engine's response to the client.

    `deadline` moves on from the body to the engine's first byte and then from piece to piece.
    """

    # The message with which a task is cancelled because the process ends.
    ENDING: Final = "the gateway is ending"

    def __init__(
        self, request: web.BaseRequest, metrics: ModelMetrics, limits: Limits, started: float
    ) -> None:
        self._request = request
        self._metrics = metrics
        self._limits = limits
        self._started = started
        self._loop = asyncio.get_running_loop()
        self._waiting_for_engine = False
        self._stream: web.StreamResponse | None = None
        self.deadline: asyncio.Timeout
        self.work = Work()
        # The engine is asked to report what a stream took, though the client has not asked.
        self.hides_usage = False
        self.request_id = os.urandom(12).hex()

    @property
    def asked(self) -> Mapping[str, str]:
        """The request's headers."""
        return self._request.headers

    def wait_for_engine(self) -> None:
        """The request is complete; from now on the engine's time counts."""
        self._waiting_for_engine = True
        self.deadline.reschedule(self._loop.time() + self._limits.first_byte_seconds)

    async def relay(self, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        """Passes the engine's response on, to its end."""
        content_type = upstream.headers.get("Content-Type", "application/json")
        if upstream.status == 200 and content_type.startswith("text/event-stream"):
            return await self._relay_events(upstream, content_type)
        body = await self.read(upstream)
        self._metrics.first_byte.observe(self._loop.time() - self._started)
        if upstream.status >= 300:
            return self.refused(upstream.status, body)
        usage = usage_in(body)
        if usage is not None:
            self._count_tokens(usage, reported=True)
        return web.Response(status=upstream.status, body=body, headers=self._headers(content_type))

    async def read(self, upstream: aiohttp.ClientResponse) -> bytes:
        """All that the engine sends. Raises `GatewayError`."""
        try:
            return await upstream.read()
        except aiohttp.ClientError as error:
            self._count_error("disconnect")
            raise errors.engine_failed(
                "The engine ended in the middle of its answer. Try again shortly."
            ) from error

    async def relay_bytes(self, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        """Passes on what the engine sends, whatever it is, as it comes."""
        if upstream.status >= 300:
            body = await self.read(upstream)
            if upstream.status not in _CLIENT_ERRORS or body == _NO_SUCH_ROUTE:
                return self.refused(upstream.status, body)
            headers = self._headers("application/json") | inference.returned(upstream.headers)
            return web.Response(status=upstream.status, body=body, headers=headers)
        self._metrics.first_byte.observe(self._loop.time() - self._started)
        headers = self._headers("application/json") | inference.returned(upstream.headers)
        response = self._stream = web.StreamResponse(status=upstream.status, headers=headers)
        response.content_length = upstream.content_length
        await response.prepare(self._request)
        while True:
            try:
                piece = await upstream.content.readany()
            except aiohttp.ClientError:
                self._count_error("disconnect")
                return self._cut_short(response, 502)
            if not piece:
                break
            self.deadline.reschedule(self._loop.time() + self._limits.silence_seconds)
            await response.write(piece)
        await response.write_eof()
        return response

    def refused(self, status: int, body: bytes) -> web.StreamResponse:
        """The engine's refusal, in the form of all errors here."""
        if status not in _CLIENT_ERRORS:
            self._count_error(f"status_{status}")
            status = 502
        elif status == 404 and body == _NO_SUCH_ROUTE:
            raise errors.not_offered(self._metrics.name, self._request.path)
        return web.Response(
            status=status, body=_as_error(status, body), headers=self._headers("application/json")
        )

    async def timed_out(self) -> web.StreamResponse:
        """Says who was too slow: as an error, or as the last event of a stream."""
        if not self._waiting_for_engine:
            raise GatewayError(
                408,
                "request_timeout",
                "The request did not arrive in time. Send it again.",
                headers={"Connection": "close"},
            )
        self._count_error("timeout")
        error = errors.engine_timed_out("The engine has not answered in time. Try again later.")
        if self._stream is None:
            self.work.ended_with = error.status
            raise error
        return await self._end_with(self._stream, error)

    async def _relay_events(
        self, upstream: aiohttp.ClientResponse, content_type: str
    ) -> web.StreamResponse:
        events = EventStream(hides_usage=self.hides_usage)
        # Until the first event the answer can still be an error with a status of its own.
        first = b""
        while not first:
            piece = await _next_piece(upstream)
            if not piece:
                self._count_error("disconnect")
                raise errors.engine_failed("The engine ended before its answer. Try again shortly.")
            first = events.feed(piece)
        self._metrics.first_byte.observe(self._loop.time() - self._started)
        headers = self._headers(content_type)
        headers["Cache-Control"] = "no-cache"
        headers["X-Accel-Buffering"] = "no"
        response = self._stream = _Events(headers=headers)
        try:
            await response.prepare(self._request)
            await response.write(first)
            await self._pass_events(upstream, response, events)
        except asyncio.CancelledError as cancelled:
            if self.ENDING in cancelled.args:
                await self._end_with(
                    response, errors.engine_failed("The gateway is being restarted. Try again.")
                )
            raise
        finally:
            usage = events.usage
            self._count_tokens(usage or Usage(0, events.chunks), reported=usage is not None)
        return response

    async def _pass_events(
        self,
        upstream: aiohttp.ClientResponse,
        response: web.StreamResponse,
        events: EventStream,
    ) -> None:
        silence = self._limits.silence_seconds
        reschedule, write, time = self.deadline.reschedule, response.write, self._loop.time
        moved = 0.0
        while True:
            # Moving the deadline for every piece would cost more than passing the piece on.
            if (now := time()) - moved > silence * _DEADLINE_STEP:
                moved = now
                reschedule(now + silence)
            piece = await _next_piece(upstream)
            if not piece:
                break
            if ready := events.feed(piece):
                await write(ready)
        if events.complete:
            await response.write_eof(events.rest())
        else:
            self._count_error("disconnect")
            await self._end_with(
                response, errors.engine_failed("The engine ended in the middle of its answer.")
            )

    async def _end_with(
        self, response: web.StreamResponse, error: GatewayError
    ) -> web.StreamResponse:
        """Ends what has begun: with an event where the client reads events, else before its end."""
        if not _takes_events(response):
            return self._cut_short(response, error.status)
        self.work.ended_with = error.status
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(_ERROR_EVENT_SECONDS):
                await response.write(error.server_sent_event)
                await response.write_eof()
        return response

    def _cut_short(self, response: web.StreamResponse, status: int) -> web.StreamResponse:
        """Breaks the connection, because an answer without its end must not look whole."""
        self.work.ended_with = status
        if self._request.transport is not None:
            self._request.transport.abort()
        return response

    def _headers(self, content_type: str) -> dict[str, str]:
        return {
            "Content-Type": content_type,
            "X-Request-Id": self.request_id,
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Expose-Headers": "X-Request-Id, Retry-After",
        }

    def _count_tokens(self, usage: Usage, *, reported: bool) -> None:
        work = self.work
        work.input_tokens, work.output_tokens = usage.prompt_tokens, usage.completion_tokens or 0
        work.estimated = not reported
        self._metrics.prompt_tokens.inc(work.input_tokens)
        self._metrics.completion_tokens.inc(work.output_tokens)

    def _count_error(self, kind: str) -> None:
        self._metrics.metrics.engine_errors.labels(self._metrics.name, kind).inc()


class _Events(web.StreamResponse):
    """A stream whose head travels with its first event."""

    _send_headers_immediately = False


def _takes_events(response: web.StreamResponse) -> bool:
    headers = response.headers
    return (
        headers.get("Content-Type", "").startswith("text/event-stream")
        and "Content-Encoding" not in headers
        and "Content-Length" not in headers
    )


async def _next_piece(upstream: aiohttp.ClientResponse) -> bytes:
    """What the engine has sent; nothing at the end, and where the engine has gone."""
    try:
        return await upstream.content.readany()
    except aiohttp.ClientError:
        return b""


class _OwnError(msgspec.Struct):
    """The shapes in which engines report errors."""

    error: dict[str, object] | str | None = None
    message: str | None = None
    detail: object = None


def _as_error(status: int, body: bytes) -> bytes:
    try:
        own = msgspec.json.decode(body, type=_OwnError)
    except msgspec.DecodeError:
        own = _OwnError()
    if isinstance(own.error, dict) and isinstance(own.error.get("message"), str):
        return body
    text = own.error or own.message or own.detail or "The engine refused the request."
    kind = "upstream_error" if status >= 500 else "invalid_request_error"
    return GatewayError(status, "engine_refused", str(text), kind=kind).body
