"""Passes the inference protocol on to Triton: about models only, never about the server."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

import aiohttp
from aiohttp import web

# Loading, unloading, shared memory, tracing and logging are the operator's business.
_MODEL = re.compile(
    r"/v2/models/(?P<name>[^/]+)(?P<rest>(/versions/[0-9]+)?"
    r"(/(ready|config|stats|infer|generate|generate_stream))?)"
)
_SERVER = re.compile(r"/v2(/health/(live|ready))?/?")
_HEADERS = (
    # Triton does not understand a body in chunks.
    "Content-Length",
    "Content-Type",
    "Content-Encoding",
    "Accept-Encoding",
    "Inference-Header-Content-Length",
)
_CHUNK_BYTES = 1 << 16


class Proxy:
    """Sends `/v2` requests on; a model's own name stands for the one of the repository."""

    def __init__(
        self, session: aiohttp.ClientSession, *, port: int, name: str, serves: str
    ) -> None:
        self._session = session
        self._origin = f"http://127.0.0.1:{port}"
        self._names = {name: serves}

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answers one request."""
        path = request.raw_path.partition("?")[0]
        if found := _MODEL.fullmatch(path):
            name = unquote(found["name"])
            name = quote(self._names.get(name, name), safe="")
            path = f"/v2/models/{name}{found['rest']}"
        elif not _SERVER.fullmatch(path):
            return web.json_response({"error": f"there is nothing at {path}"}, status=404)
        headers = {key: request.headers[key] for key in _HEADERS if key in request.headers}
        async with self._session.request(
            request.method,
            self._origin + path,
            data=request.content if request.can_read_body else None,
            headers=headers,
            allow_redirects=False,
        ) as upstream:
            answer = web.StreamResponse(
                status=upstream.status,
                headers={key: upstream.headers[key] for key in _HEADERS if key in upstream.headers},
            )
            await answer.prepare(request)
            async for chunk in upstream.content.iter_any():
                await answer.write(chunk)
            await answer.write_eof()
            return answer
