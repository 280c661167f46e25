"""The gateway's HTTP side: who asks, for what, and the answer as the engine gives it."""

from __future__ import annotations

import asyncio
import hashlib
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import NamedTuple, cast
from urllib.parse import unquote

import msgspec
from aiohttp import web

from backend.gateway import errors, inference, interfaces
from backend.gateway.answers import Answer
from backend.gateway.bodies import Bodies
from backend.gateway.demand import DemandMeter
from backend.gateway.engines import Engines, not_serving
from backend.gateway.errors import GatewayError
from backend.gateway.limits import Limits
from backend.gateway.metering import CLIENT_LEFT, Answered
from backend.gateway.metrics import Metrics
from backend.gateway.payload import Payload
from backend.gateway.rate_limits import RateLimits
from backend.gateway.routing import Key, ModelRoute, Revision, RoutingTable
from backend.gateway.server_keys import ServerKeys
from backend.gateway.spreading import conversation_of
from backend.infra.logging import get_logger
from backend.infra.playground_tokens import PREFIX, InvalidToken, PlaygroundTokens

_JSON = {"Content-Type": "application/json"}
_PREFLIGHT = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    # The wildcard does not cover Authorization; official clients add headers of their own.
    "Access-Control-Allow-Headers": "Authorization, Content-Type, *",
    "Access-Control-Max-Age": "86400",
}
_SAMPLED = frozenset({"/v1/chat/completions", "/v1/completions"})
_MODELS = "/v1/models"

Endpoint = Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]
_log = get_logger(__name__)


class Caller(NamedTuple):
    """The model that a token opens, and the key that it is; None where it is the playground's."""

    route: ModelRoute
    key_id: str | None


class Gateway:
    """Answers requests from memory; nothing here waits for a database or a broker.

    Anybody may call it from a browser (CORS `*`), because only the bearer token counts.
    """

    def __init__(
        self,
        table: RoutingTable,
        ready: asyncio.Event,
        tokens: PlaygroundTokens,
        rate_limits: RateLimits,
        metrics: Metrics,
        demand: DemandMeter,
        keys: ServerKeys,
        limits: Limits | None = None,
        answered: Callable[[Answered], None] = lambda _: None,
    ) -> None:
        self._table = table
        self._ready = ready
        self._tokens = tokens
        self._rate_limits = rate_limits
        self._metrics = metrics
        self._limits = limits or Limits()
        self._answered = answered
        self._loop = asyncio.get_running_loop()
        self._engines = Engines(self._limits, metrics, demand, keys)
        self._bodies = Bodies(self._limits)
        self._active: set[asyncio.Task[object]] = set()
        self._endpoints: dict[str, tuple[str, Endpoint]] = {
            "/v1/chat/completions": ("POST", self._generate),
            "/v1/completions": ("POST", self._generate),
            "/v1/embeddings": ("POST", self._generate),
            "/v1/rerank": ("POST", self._generate),
            _MODELS: ("GET", self._list_models),
            "/healthz": ("GET", self._healthz),
            "/readyz": ("GET", self._readyz),
            "/metrics": ("GET", self._report),
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request."""
        path = request.raw_path.partition("?")[0]
        try:
            if request.method == "OPTIONS":
                return web.Response(status=204, headers=_PREFLIGHT)
            method, endpoint = self._endpoints.get(path) or self._inner(path, request.method)
            if request.method != method:
                raise GatewayError(
                    405,
                    "method_not_allowed",
                    f"{path} does not answer {request.method}. Use {method}.",
                    headers={"Allow": f"{method}, OPTIONS"},
                )
            return await endpoint(request, path)
        except GatewayError as error:
            return _refusal(error)
        except ConnectionError:
            raise  # the client has gone; nobody waits for an answer
        except Exception as error:
            # Without the message and the values: they may quote a prompt or a key.
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("request failed", error=type(error).__name__, where=where)
            return _refusal(
                GatewayError(
                    500,
                    "internal_error",
                    "The gateway failed. Try again; its log has the details.",
                    kind="server_error",
                )
            )

    def routes_changed(self) -> None:
        """The table has changed: requests that wait may be able to go on."""
        self._engines.routes_changed()

    async def close(self) -> None:
        """Lets running requests finish for a bounded time, then ends them with an error."""
        self._engines.stop_waiting()
        running = set(self._active)
        if running:
            _, late = await asyncio.wait(running, timeout=self._limits.drain_seconds)
            for task in late:
                task.cancel(Answer.ENDING)
            if late:
                await asyncio.wait(late, timeout=1)
        await self._engines.close()

    def _inner(self, path: str, asked: str) -> tuple[str, Endpoint]:
        if path.startswith(_MODELS + "/"):
            return "GET", self._show_model
        if path.startswith(interfaces.PREFIX) and asked in interfaces.METHODS:
            return asked, self._generate
        method = inference.method_of(path) if path.startswith(inference.PREFIX) else None
        if method is not None:
            return method, self._generate
        raise GatewayError(
            404,
            "unknown_url",
            "There is nothing at this address. The gateway answers /v1/models, "
            "/v1/chat/completions, /v1/completions, /v1/embeddings and /v1/rerank, and "
            "/v2/models/NAME with /infer, /generate and the like for models on Triton, and "
            "/raw/... for the interfaces of container images.",
        )

    async def _generate(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        started = self._loop.time()
        route, key_id = self._caller(request)
        metrics = self._metrics.of(route.name)
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._active.add(task)
        metrics.in_flight.inc()
        answer = Answer(request, metrics, self._limits, started)
        body, status = b"", 500
        try:
            async with asyncio.timeout(self._limits.body_seconds) as deadline:
                answer.deadline = deadline
                body = await self._bodies.read(request)
                response = await self._relay(request, route, path, body, answer)
            status = response.status
        except TimeoutError:
            response = await answer.timed_out()
        except GatewayError as error:
            status = error.status
            self._metrics.requests.labels(route.name, str(error.status)).inc()
            raise
        except (asyncio.CancelledError, ConnectionError):
            status = CLIENT_LEFT
            raise
        finally:
            self._bodies.release(body)
            metrics.in_flight.dec()
            self._active.discard(task)
            if answer.work.replica_id:
                self._tell(route, key_id, path, answer, status, self._loop.time() - started)
        if response.status == 200:
            metrics.succeeded.inc()
        else:
            self._metrics.requests.labels(route.name, str(response.status)).inc()
        return response

    def _tell(
        self,
        route: ModelRoute,
        key_id: str | None,
        path: str,
        answer: Answer,
        status: int,
        seconds: float,
    ) -> None:
        work = answer.work
        self._answered(
            Answered(
                request_id=answer.request_id,
                model_id=route.model_id,
                key_id=key_id,
                route=path,
                status=work.ended_with or status,
                seconds=seconds,
                at=time.time(),
                work=work,
            )
        )

    async def _relay(
        self, request: web.BaseRequest, route: ModelRoute, path: str, body: bytes, answer: Answer
    ) -> web.StreamResponse:
        if path.startswith(inference.PREFIX):
            return await self._infer(route, path, body, answer)
        if path.startswith(interfaces.PREFIX):
            return await self._call(request, route, path, body, answer)
        payload = Payload(body)
        target = self._table.target(route, payload.model)
        if target is None:
            raise errors.not_opened(payload.model, route.name)
        route = target
        serving = _serving(route, "POST", path)
        defaults: dict[str, bytes] = {}
        if path in _SAMPLED:
            asking = payload.asking_for_usage()
            answer.hides_usage = bool(asking)
            defaults = payload.left_out(serving.defaults) | asking
        headers = {"Content-Type": "application/json", "X-Request-Id": answer.request_id}
        conversation: int | None = None
        if len(serving.replicas) > 1 and path in _SAMPLED and (start := payload.beginning):
            conversation = conversation_of(request.headers["Authorization"], start)
        answer.wait_for_engine()
        async with self._engines.send(
            route, path, payload.completed(defaults), headers, answer.work, conversation
        ) as upstream:
            if upstream.status != 400 or "max_tokens" not in defaults:
                return await answer.relay(upstream)
            refusal = await answer.read(upstream)
        # The prompt and the default length together may be more than the engine's context. A
        # default must not spoil a request that is good without it.
        del defaults["max_tokens"]
        async with self._engines.send(
            route, path, payload.completed(defaults), headers, answer.work, conversation
        ) as upstream:
            if upstream.status == 400:
                return answer.refused(400, refusal)
            return await answer.relay(upstream)

    async def _infer(
        self, route: ModelRoute, path: str, body: bytes, answer: Answer
    ) -> web.StreamResponse:
        """Tensors for the key's model, or for another one of its own repository."""
        method = inference.method_of(path) or "GET"
        _serving(route, method, path)
        headers = {**inference.forwarded(answer.asked), "X-Request-Id": answer.request_id}
        answer.wait_for_engine()
        async with self._engines.send(
            route, path, body, headers, answer.work, method=method
        ) as upstream:
            return await answer.relay_bytes(upstream)

    async def _call(
        self, request: web.BaseRequest, route: ModelRoute, path: str, body: bytes, answer: Answer
    ) -> web.StreamResponse:
        """An interface of a container image; what it is given and answers stays as it is."""
        serving = route.serving
        if serving is None:
            raise not_serving(route)
        own = interfaces.inside(path)
        if (request.method, own) not in (serving.interfaces or ()):
            raise errors.no_interface(route.name, request.method, own)
        _, mark, query = request.raw_path.partition("?")
        headers = {**inference.forwarded(answer.asked), "X-Request-Id": answer.request_id}
        answer.wait_for_engine()
        async with self._engines.send(
            route,
            f"{own}{mark}{query}",
            body,
            headers,
            answer.work,
            method=request.method,
            # Nobody knows what an interface does, so that only reading may happen twice.
            repeatable=request.method == "GET",
        ) as upstream:
            return await answer.relay_bytes(upstream)

    def _caller(self, request: web.BaseRequest) -> Caller:
        """Who sends the request, by its token. Raises `GatewayError`."""
        if not self._ready.is_set():
            raise errors.unavailable("starting", "The gateway is starting. Try again.", 1)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise errors.invalid_key(
                "No API key was given. Send the header 'Authorization: Bearer <API key>'."
            )
        key_id: str | None = None
        if token.startswith(PREFIX):
            model_id = self._playground(token)
        else:
            key = self._key(token)
            model_id, key_id = key.model_id, key.key_id
        route = self._table.models.get(model_id)
        if route is None:
            raise errors.model_not_found(
                "The model of this key has been deleted. Make a key for another model."
            )
        return Caller(route, key_id)

    def _key(self, token: str) -> Key:
        key = self._table.key(hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest())
        if key is None:
            raise errors.invalid_key(
                "The API key is wrong or has been revoked. Make a new one on the model's page."
            )
        if key.expires_at is not None and key.expires_at <= time.time():
            raise errors.invalid_key("The API key has expired. Make a new one on the model's page.")
        if key.requests_per_minute is not None:
            wait = self._rate_limits.take(key.ordinal, key.requests_per_minute, time.monotonic())
            if wait:
                raise errors.rate_limited(key.requests_per_minute, wait)
        return key

    def _playground(self, token: str) -> str:
        try:
            return str(self._tokens.verify(token, time.time()))
        except InvalidToken as error:
            raise errors.invalid_key(
                f"The playground token is not accepted: {error}. Reload the playground."
            ) from error

    async def _list_models(self, request: web.BaseRequest, _: str) -> web.Response:
        route = self._caller(request).route
        names = [route.name, *sorted(route.adapters.values())]
        return _json({"object": "list", "data": [_model(name, route.created) for name in names]})

    async def _show_model(self, request: web.BaseRequest, path: str) -> web.Response:
        route = self._caller(request).route
        name = unquote(path[len(_MODELS) + 1 :])
        if name != route.name and name not in route.adapters.values():
            raise errors.not_opened(name, route.name)
        return _json(_model(name, route.created))

    async def _healthz(self, _: web.BaseRequest, __: str) -> web.Response:
        return _json({"status": "ok"})

    async def _readyz(self, _: web.BaseRequest, __: str) -> web.Response:
        if self._ready.is_set():
            return _json({"status": "ready", "position": self._table.position})
        return _json({"status": "starting", "position": self._table.position}, status=503)

    async def _report(self, _: web.BaseRequest, __: str) -> web.Response:
        return web.Response(
            body=self._metrics.exposition(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )


def _serving(route: ModelRoute, method: str, path: str) -> Revision:
    """What serves the model. Raises `GatewayError` where a container image lacks the interface."""
    serving = route.serving
    if serving is None:
        raise not_serving(route)
    if serving.interfaces is not None and (method, path) not in serving.interfaces:
        raise errors.not_offered(route.name, path)
    return serving


def _model(name: str, created: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created, "owned_by": "loggia"}


def _json(document: object, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(document),
        headers={**_JSON, "Access-Control-Allow-Origin": "*"},
    )


def _refusal(error: GatewayError) -> web.Response:
    response = web.Response(
        status=error.status,
        body=error.body,
        headers={**_JSON, **error.headers, "Access-Control-Allow-Origin": "*"},
    )
    if "Connection" in error.headers:
        response.force_close()
    return response
