"""Answers the OpenAI routes for one model, from an Ollama server that knows it by another name."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from workers.serving.engines.ollama_front.making import OllamaServer
from workers.serving.engines.ollama_front.plan import Plan

_ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
_BODY_BYTES = 64 * 1024**2
_SILENCE_SECONDS = 600.0


class Front:
    """Passes requests on, and counts those that are under way."""

    def __init__(
        self, plan: Plan, session: aiohttp.ClientSession, server: OllamaServer, url: str
    ) -> None:
        self._plan = plan
        self._session = session
        self._server = server
        self._url = url
        self._running = 0
        self.made = asyncio.Event()

    def application(self) -> web.Application:
        """The routes."""
        application = web.Application(client_max_size=_BODY_BYTES)
        application.router.add_get("/health", self._health)
        application.router.add_get("/load", self._load)
        for path in _ROUTES:
            application.router.add_post(path, self._pass_on)
        return application

    async def _health(self, _: web.Request) -> web.Response:
        """200 once the model is made and while the server behind responds."""
        if not self.made.is_set():
            return web.json_response({"status": "making the model"}, status=503)
        try:
            alive = await self._server.is_alive()
        except (aiohttp.ClientError, TimeoutError):
            alive = False
        return web.json_response(
            {"status": "ok" if alive else "gone"}, status=200 if alive else 503
        )

    async def _load(self, _: web.Request) -> web.Response:
        return web.json_response({"running": self._running, "waiting": 0})

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        try:
            body = msgspec.json.decode(await request.read(), type=dict[str, Any])
        except msgspec.DecodeError:
            return _error(400, "The body is not a JSON object.")
        if body.get("model") != self._plan.name:
            return _error(404, f"The model '{body.get('model')}' does not exist.")
        body["model"] = self._plan.made
        self._running += 1
        try:
            async with self._session.post(
                f"{self._url}{request.path}",
                data=msgspec.json.encode(body),
                headers={"Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(None, sock_read=_SILENCE_SECONDS),
            ) as upstream:
                return await self._relay(request, upstream)
        except aiohttp.ClientConnectorError as error:
            return _error(502, f"The Ollama server does not answer: {error}.")
        finally:
            self._running -= 1

    async def _relay(
        self, request: web.Request, upstream: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        kind = upstream.headers.get("Content-Type", "application/json")
        made, name = (msgspec.json.encode(each) for each in (self._plan.made, self._plan.name))
        if not kind.startswith("text/event-stream"):
            content = (await upstream.read()).replace(made, name)
            return web.Response(
                status=upstream.status, body=content, headers={"Content-Type": kind}
            )
        response = web.StreamResponse(status=upstream.status, headers={"Content-Type": kind})
        await response.prepare(request)
        async for line in upstream.content:
            await response.write(line.replace(made, name))
        await response.write_eof()
        return response


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "error"}}, status=status)
