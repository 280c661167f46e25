"""The outermost layer: correlation, security headers, timing, and the way to the web interface."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID, uuid4

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from backend.api.metrics import Metrics
from backend.api.web_interface import WebInterface

_API_PREFIXES = ("/api/", "/schema/")
_API_PATHS = {"/api", "/schema", "/healthz", "/readyz", "/metrics"}


def content_security_policy(gateway_url: str) -> str:
    """What a page of ours may load. Mantine sets styles inline; scripts never are."""
    return "; ".join(
        (
            "default-src 'self'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            f"connect-src 'self' {gateway_url}",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


class Edge:
    """An ASGI application around the API."""

    def __init__(
        self, api: ASGIApp, web: WebInterface, metrics: Metrics, *, gateway_url: str
    ) -> None:
        self._api: Any = api
        self._web = web
        self._metrics = metrics
        self._headers = [
            (b"content-security-policy", content_security_policy(gateway_url).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes it on."""
        if scope["type"] != ScopeType.HTTP:
            await self._api(scope, receive, send)
            return
        await self._answer(scope, receive, send)

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        correlation_id = _correlation_id(scope)
        scope.setdefault("state", {})["correlation_id"] = correlation_id
        extra = [*self._headers, (b"x-correlation-id", correlation_id.encode())]
        is_api = scope["path"] in _API_PATHS or scope["path"].startswith(_API_PREFIXES)
        started = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [*extra, (b"cache-control", b"no-store")] if is_api else extra
                message["headers"] = [*message["headers"], *own]
                if is_api:
                    self._count(scope, message["status"], time.perf_counter() - started)
            await send(message)

        with bound_contextvars(correlation_id=correlation_id):
            if is_api or scope["method"] not in {"GET", "HEAD"}:
                await self._api(scope, receive, send_with_headers)
            else:
                await self._web.answer(scope, send_with_headers)

    def _count(self, scope: HTTPScope, status: int, seconds: float) -> None:
        handler = scope.get("route_handler")
        operation = str(getattr(handler, "operation_id", None) or "none")
        self._metrics.answered(operation, scope["method"], status, seconds)


def _correlation_id(scope: HTTPScope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-correlation-id":
            try:
                return str(UUID(value.decode()))
            except ValueError:
                break
    return str(uuid4())
