"""The one client for everything that Loggia's servers fetch from addresses which people give them.

What an address may be is judged in `addresses`, how connections are made in `transport`. Here:
redirects, each judged like the first address; repeated attempts; and downloads that go on where
they broke off (RFC 9110, sections 13.1.5 and 14).
"""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

import httpx2

from backend.domain.addresses import bare
from backend.infra.settings import Settings
from backend.sources.addresses import AddressRules, parse_networks
from backend.sources.errors import ContentChanged, FetchFailed
from backend.sources.exchange import Exchange, Persistence, expect_success
from backend.sources.transport import Patience, Resolver, resolve, too_large

# So much between two failures, and the earlier ones are forgotten.
_PROGRESS_BYTES = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Document:
    """A whole answer; `address` is where it came from after redirects."""

    address: str
    headers: httpx2.Headers
    body: bytes


@dataclass(slots=True)
class Body:
    """A download. `size` is the whole file's, `validator` what a later continuation must name."""

    address: str
    headers: httpx2.Headers
    size: int | None
    validator: str | None
    chunks: Iterator[bytes] = field(default_factory=lambda: iter(()))


class _Deadline(threading.local):
    """Until when what the thread asks for may take."""

    until: float = float("inf")

    def check(self) -> None:
        if time.monotonic() > self.until:
            raise FetchFailed(
                "What was asked for takes longer than it may.",
                "Ask for less at once, or retry later.",
                retryable=True,
            )


class GuardedClient:
    """Fetches, or says why not. Its calls block; one object may serve several threads.

    `check` is called while waiting, at least once a second, and may raise to break off.
    `bytes_per_second` bounds each download's speed.
    """

    def __init__(
        self,
        rules: AddressRules,
        *,
        patience: Patience | None = None,
        persistence: Persistence | None = None,
        bytes_per_second: int | None = None,
        check: Callable[[], None] = lambda: None,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.rules = rules
        self._resolver = resolver
        self._wanted = check
        self._deadline = _Deadline()
        self._exchange = Exchange(
            rules,
            patience=patience,
            persistence=persistence,
            bytes_per_second=bytes_per_second,
            check=self._check,
            resolver=resolver,
            tls=tls,
        )

    @classmethod
    def from_settings(cls, settings: Settings, *, check: Callable[[], None] = lambda: None) -> Self:
        """The client that the settings describe."""
        return cls(
            AddressRules(parse_networks(settings.fetch_allowed_networks)),
            bytes_per_second=settings.fetch_bytes_per_second,
            check=check,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends every connection."""
        self._exchange.close()

    def _check(self) -> None:
        self._wanted()
        self._deadline.check()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """What this thread asks for in the block may take so long in all, attempts and pauses
        included. Raises `FetchFailed`."""
        before = self._deadline.until
        self._deadline.until = min(before, time.monotonic() + seconds)
        try:
            yield
        finally:
            self._deadline.until = before

    def judged(self, host: str, port: int) -> list[str]:
        """What the name leads to, for a client of another protocol that connects to just these.

        Raises `FetchRefused` and `FetchFailed`.
        """
        found = self._resolver(host, port)
        self.rules.check_resolved(host, found)
        return found

    def get(
        self, address: str, *, limit_bytes: int, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """A small document's bytes. Raises `FetchRefused` and `FetchFailed`."""
        return self.document(address, limit_bytes=limit_bytes, headers=headers).body

    def document(
        self, address: str, *, limit_bytes: int, headers: Mapping[str, str] | None = None
    ) -> Document:
        """A small document. Raises `FetchRefused` and `FetchFailed`."""

        def attempt() -> Document:
            with closing(self._exchange.request("GET", address, headers or {})) as answer:
                if not answer.is_success:
                    expect_success(answer, self._exchange.beginning(answer))
                body = bytearray()
                for chunk in self._exchange.body(answer):
                    body += chunk
                    if len(body) > limit_bytes:
                        raise too_large(limit_bytes)
                return Document(str(answer.request.url), answer.headers, bytes(body))

        return self._exchange.persistently(attempt)

    def head(self, address: str, *, headers: Mapping[str, str] | None = None) -> Document:
        """What is known of an address without its body. Raises `FetchRefused`, `FetchFailed`."""

        def attempt() -> Document:
            with closing(self._exchange.request("HEAD", address, headers or {})) as answer:
                expect_success(answer)
                return Document(str(answer.request.url), answer.headers, b"")

        return self._exchange.persistently(attempt)

    @contextmanager
    def stream(
        self,
        address: str,
        *,
        offset: int = 0,
        validator: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Body]:
        """A file from `offset` on. A download that breaks off goes on by itself.

        `validator` is an earlier `Body.validator`: where the file is another one by now,
        `ContentChanged` is raised. Without a validator nothing can be continued safely: then
        `FetchFailed` leaves it to the caller to begin anew.
        """
        download = _Download(self._exchange, address, dict(headers or {}), offset, validator)
        body = self._exchange.persistently(download.open)
        body.chunks = download.chunks()
        try:
            yield body
        finally:
            download.close()


class _Download:
    """One file, over as many answers as it takes."""

    def __init__(
        self,
        exchange: Exchange,
        address: str,
        headers: dict[str, str],
        offset: int,
        validator: str | None,
    ) -> None:
        self._exchange = exchange
        self._address = address
        self._headers = headers
        self._position = offset
        self._validator = validator
        self._size: int | None = None
        self._skip = 0
        self._answer: httpx2.Response | None = None

    def open(self) -> Body:
        """Asks for what is still missing. Raises `FetchFailed` and `ContentChanged`."""
        self.close()
        headers = dict(self._headers)
        if self._position:
            headers["range"] = f"bytes={self._position}-"
            if self._validator is not None:
                headers["if-range"] = self._validator
        answer = self._exchange.request("GET", self._address, headers)
        self._answer = answer
        if answer.status_code == 416 and self._position:
            raise ContentChanged(self._address)
        expect_success(answer)
        size, self._skip = self._placed(answer)
        validator = _validator(answer.headers)
        changed = self._validator is not None and validator != self._validator
        if changed or (self._size is not None and size != self._size):
            raise ContentChanged(self._address)
        self._validator, self._size = validator, size
        return Body(str(answer.request.url), answer.headers, size, validator)

    def chunks(self) -> Iterator[bytes]:
        """The rest of the file."""
        failures, failed_at = 0, self._position
        while True:
            try:
                yield from self._pieces()
            except FetchFailed as failure:
                # A server that sends a little each time must not keep us for ever.
                far = self._position - failed_at >= _PROGRESS_BYTES
                failures, failed_at = (1 if far else failures + 1), self._position
                again = failure.retryable and self._validator is not None
                if not again or failures >= self._exchange.persistence.attempts:
                    raise
                self._exchange.pause_before(failures + 1, failure)
                self._exchange.persistently(self.open)
            else:
                return

    def _pieces(self) -> Iterator[bytes]:
        """What one answer brings that is not known yet."""
        if self._answer is None:
            raise ValueError("the download has not been opened")
        for chunk in self._exchange.body(self._answer):
            piece = chunk[self._skip :]
            self._skip -= len(chunk) - len(piece)
            if piece:
                self._position += len(piece)
                if self._size is not None and self._position > self._size:
                    raise _wrong_size(self._address, self._size)
                yield piece
        if self._size is not None and self._position < self._size:
            raise _wrong_size(self._address, self._size)

    def close(self) -> None:
        """Ends the answer."""
        if self._answer is not None:
            with suppress(httpx2.HTTPError):
                self._answer.close()
            self._answer = None

    def _placed(self, answer: httpx2.Response) -> tuple[int | None, int]:
        """The whole file's size, and how many bytes of this answer are known already."""
        length = answer.headers.get("content-length", "")
        if answer.status_code != 206:
            return (int(length) if length.isdigit() else None), self._position
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if found is None or int(found[1]) != self._position:
            raise FetchFailed(
                f"{bare(self._address)} answered with another part of the file than was asked for.",
                "Retry later, or offer the file from a server that supports Range requests.",
            )
        return (int(found[3]) if found[3] != "*" else None), 0


def _wrong_size(address: str, size: int) -> FetchFailed:
    return FetchFailed(
        f"{bare(address)} did not send the {size} bytes that it announced.",
        "Retry later; if it stays so, the server that offers the file is broken.",
        retryable=True,
    )


def _validator(headers: httpx2.Headers) -> str | None:
    """What If-Range may name: a strong entity tag, else the date of the last change."""
    tag = headers.get("etag", "")
    if tag and not tag.startswith("W/"):
        return tag
    return headers.get("last-modified")
