"""The one way to another host: connects only to an address that has just been judged.

The name is resolved once, every address that it resolves to is judged, and the connection goes to
one of those very addresses; TLS and the Host header keep the name. A name that resolves otherwise
a moment later (DNS rebinding) changes nothing. Proxies named by the environment are not used, or
they would do the resolving. Bodies travel uncompressed, so that none can unfold into a bomb.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpcore2
import httpx2

from backend.sources.addresses import AddressRules
from backend.sources.errors import FetchFailed, FetchRefused

Resolver = Callable[[str, int], list[str]]

# Between two looks at whether the caller still wants what it waits for.
_SLICE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait. `idle`: for the next bytes; `head`: for an answer's head as a whole;
    `total`: for all of it. Below `least_bytes` in each `window` the other side counts as dead.
    Seconds and bytes."""

    connect_seconds: float = 10
    idle_seconds: float = 30
    head_seconds: float = 60
    total_seconds: float = 24 * 3600
    window_seconds: float = 60
    least_bytes: int = 60 << 10


class _Watch(threading.local):
    """Until when the request that this thread is in may take, and who else may break it off."""

    until: float = float("inf")


def resolve(host: str, port: int) -> list[str]:
    """The system's answer, in its order. Raises `FetchFailed`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise FetchFailed(
            f"The host '{host}' is not known.",
            "Check the address for typing errors, and that this server can resolve names.",
            retryable=error.errno == socket.EAI_AGAIN,
        ) from None
    except (UnicodeError, ValueError):
        raise FetchRefused(
            "address_malformed", f"'{host}' is not a host name.", "Correct the address."
        ) from None
    return list(dict.fromkeys(str(row[4][0]) for row in found))


class _Stream(httpcore2.NetworkStream):
    """A connection whose waits are short ones, so that deadlines and cancellation are noticed."""

    def __init__(
        self, inner: httpcore2.NetworkStream, watch: _Watch, check: Callable[[], None]
    ) -> None:
        self._inner = inner
        self._watch = watch
        self._check = check

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        idle_until = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while True:
            self._check()
            left = min(idle_until, self._watch.until) - time.monotonic()
            if left <= 0:
                raise httpcore2.ReadTimeout("no bytes in time")
            try:
                return self._inner.read(max_bytes, min(left, _SLICE_SECONDS))
            except httpcore2.ReadTimeout:
                continue

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        tls = self._inner.start_tls(ssl_context, server_hostname, timeout)
        return _Stream(tls, self._watch, self._check)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore2.NetworkBackend):
    def __init__(
        self, rules: AddressRules, resolver: Resolver, watch: _Watch, check: Callable[[], None]
    ) -> None:
        self._rules = rules
        self._resolver = resolver
        self._watch = watch
        self._check = check
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        resolved = self._resolver(host, port)
        self._rules.check_resolved(host, resolved)
        failure: Exception = httpcore2.ConnectError(f"'{host}' has no address")
        for address in resolved:
            self._check()
            try:
                inner = self._sockets.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(inner, self._watch, self._check)
        raise failure

    def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> httpcore2.NetworkStream:
        raise FetchRefused("scheme", f"The socket {path} is not opened.", "Use an address.")


class GuardedTransport(httpx2.BaseTransport):
    """Judges each request and each connection; also fit for clients of other libraries.

    `check` is called while waiting and may raise to break off. `limit_bytes` bounds every body.
    Raises `FetchRefused`, `FetchFailed` and httpx2's own errors.
    """

    def __init__(
        self,
        rules: AddressRules,
        *,
        patience: Patience | None = None,
        limit_bytes: int | None = None,
        check: Callable[[], None] = lambda: None,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._rules = rules
        self._patience = patience or Patience()
        self._limit_bytes = limit_bytes
        self._watch = _Watch()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=tls or httpx2.create_ssl_context(),
            max_connections=16,
            keepalive_expiry=15,
            network_backend=_Backend(rules, resolver, self._watch, check),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends one request; a redirect is an answer like any other."""
        self._rules.check_form(request.url)
        request.headers["accept-encoding"] = "identity"
        patience = self._patience
        url = request.url
        with self._within(time.monotonic() + patience.head_seconds), _translated():
            answer = self._pool.handle_request(
                httpcore2.Request(
                    request.method,
                    httpcore2.URL(
                        scheme=url.raw_scheme,
                        host=url.raw_host,
                        port=url.port,
                        target=url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions={
                        "timeout": {
                            "connect": patience.connect_seconds,
                            "read": patience.idle_seconds,
                            "write": patience.idle_seconds,
                            "pool": patience.connect_seconds,
                        }
                    },
                )
            )
        response = httpx2.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer, self),
            extensions=answer.extensions,
            request=request,
        )
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            response.close()
            raise FetchRefused(
                "compressed",
                f"{url.host} sends a body compressed with '{encoding[:40]}', which was not asked "
                "for and can hide a decompression bomb.",
                "Serve the file as it is, without a Content-Encoding.",
            )
        return response

    def close(self) -> None:
        """Ends every connection."""
        self._pool.close()

    def body(self, answer: httpcore2.Response) -> Iterator[bytes]:
        """The body's bytes, as long as they come fast enough and are not too many."""
        patience, limit = self._patience, self._limit_bytes
        began = window_began = time.monotonic()
        end = began + patience.total_seconds
        count = window_count = 0
        source = iter(answer.iter_stream())
        while True:
            with self._within(min(end, window_began + 2 * patience.window_seconds)), _translated():
                chunk = next(source, None)
            if chunk is None:
                return
            now = time.monotonic()
            count += len(chunk)
            window_count += len(chunk)
            if limit is not None and count > limit:
                raise too_large(limit)
            if now > end:
                raise httpx2.ReadTimeout("the body takes too long")
            if now - window_began > patience.window_seconds:
                if window_count < patience.least_bytes:
                    raise httpx2.ReadTimeout("the body trickles")
                window_began, window_count = now, 0
            yield chunk

    @contextmanager
    def _within(self, until: float) -> Iterator[None]:
        before, self._watch.until = self._watch.until, until
        try:
            yield
        finally:
            self._watch.until = before


class _Body(httpx2.SyncByteStream):
    def __init__(self, answer: httpcore2.Response, transport: GuardedTransport) -> None:
        self._answer = answer
        self._transport = transport

    def __iter__(self) -> Iterator[bytes]:
        return self._transport.body(self._answer)

    def close(self) -> None:
        self._answer.close()


def too_large(limit: int) -> FetchRefused:
    """The refusal of a body with more than `limit` bytes."""
    return FetchRefused(
        "too_large",
        f"The answer has more than {limit} bytes, the most that is read here.",
        "Offer a smaller document, or split it.",
    )


@contextmanager
def _translated() -> Iterator[None]:
    """httpcore's errors as httpx's, the only ones that clients know."""
    try:
        yield
    except httpcore2.TimeoutException as error:
        raise httpx2.ReadTimeout(str(error)) from error
    except httpcore2.ConnectError as error:
        raise httpx2.ConnectError(str(error)) from error
    except httpcore2.NetworkError as error:
        raise httpx2.ReadError(str(error)) from error
    except httpcore2.ProtocolError as error:
        raise httpx2.RemoteProtocolError(str(error)) from error
