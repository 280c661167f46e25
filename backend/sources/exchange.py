"""Requests and answers: redirects, each judged like the first address, and repeated attempts."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx2

from backend.domain.addresses import bare
from backend.sources.addresses import AddressRules
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.transport import GuardedTransport, Patience, Resolver

Value = TypeVar("Value")

MOST_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
_WORTH_ANOTHER = {408, 425, 429, 500, 502, 503, 504}
_SLICE_SECONDS = 0.25
_SAID_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Persistence:
    """How often to try, and how long to pause: `pause_seconds` doubles each time, up to
    `most_pause_seconds`, which also bounds what a server may ask for with Retry-After."""

    attempts: int = 5
    pause_seconds: float = 0.5
    most_pause_seconds: float = 60


class Exchange:
    """Asks and listens on behalf of one client."""

    def __init__(
        self,
        rules: AddressRules,
        *,
        patience: Patience | None,
        persistence: Persistence | None,
        bytes_per_second: int | None,
        check: Callable[[], None],
        resolver: Resolver,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.rules = rules
        self.persistence = persistence or Persistence()
        self._bytes_per_second = bytes_per_second
        self._check = check
        self._transport = GuardedTransport(
            rules, patience=patience, check=check, resolver=resolver, tls=tls
        )

    def close(self) -> None:
        """Ends every connection."""
        self._transport.close()

    def request(self, method: str, address: str, headers: Mapping[str, str]) -> httpx2.Response:
        """The answer after every redirect; the caller closes it."""
        url = self.rules.parsed(address)
        given = httpx2.Headers(dict(headers))
        origin = _origin(url)
        for _ in range(MOST_REDIRECTS + 1):
            self._check()
            kept = given.copy()
            if _origin(url) != origin:
                # What proves who we are is meant for the host that it was given for.
                for name in ("authorization", "cookie", "proxy-authorization"):
                    kept.pop(name, None)
            with explained(url):
                answer = self._transport.handle_request(httpx2.Request(method, url, headers=kept))
            if answer.status_code not in _REDIRECTS or "location" not in answer.headers:
                return answer
            location = answer.headers["location"]
            answer.close()
            url = self._next(url, location)
        raise FetchRefused(
            "too_many_redirects",
            f"{bare(address)} leads from one address to the next more than {MOST_REDIRECTS} times.",
            "Give the address at which the file really lies.",
        )

    def _next(self, url: httpx2.URL, location: str) -> httpx2.URL:
        try:
            target = url.join(location)
        except httpx2.InvalidURL:
            raise FetchRefused(
                "address_malformed",
                f"{url.host} leads on to '{bare(location)[:200]}', which is not an address.",
                "Give the address at which the file really lies.",
            ) from None
        target = self.rules.parsed(str(target))
        if url.scheme == "https" and target.scheme == "http":
            raise FetchRefused(
                "downgrade",
                f"{url.host} leads on from https to http, where anybody could alter the file.",
                "Give the address at which the file really lies.",
            )
        return target

    def body(self, answer: httpx2.Response) -> Iterator[bytes]:
        """The body's bytes with errors in words, no faster than allowed."""
        began, count = time.monotonic(), 0
        chunks = answer.iter_raw()
        while True:
            with explained(answer.request.url):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk
            if self._bytes_per_second is not None:
                count += len(chunk)
                self._pause(began + count / self._bytes_per_second - time.monotonic())

    def beginning(self, answer: httpx2.Response) -> bytes:
        """The first kilobytes of an answer that is an error, as far as they come."""
        said = bytearray()
        with suppress(FetchFailed):
            for chunk in self.body(answer):
                said += chunk
                if len(said) >= _SAID_BYTES:
                    break
        return bytes(said[:_SAID_BYTES])

    def persistently(self, attempt: Callable[[], Value]) -> Value:
        """The result of the first attempt that succeeds."""
        for number in range(1, self.persistence.attempts + 1):
            try:
                return attempt()
            except FetchFailed as failure:
                if not failure.retryable or number == self.persistence.attempts:
                    raise
                self.pause_before(number + 1, failure)
        raise AssertionError("unreachable")

    def pause_before(self, attempt: int, failure: FetchFailed) -> None:
        """Waits as long as this attempt, counted from 2, should be put off."""
        most = self.persistence.most_pause_seconds
        seconds = min(self.persistence.pause_seconds * 2.0 ** (attempt - 2), most)
        asked = _retry_after(failure.headers.get("retry-after"))
        if asked is not None:
            self._pause(min(asked, most))
        else:
            self._pause(seconds * random.uniform(0.5, 1.0))

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left, _SLICE_SECONDS))


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _retry_after(text: str | None) -> float | None:
    """The seconds that a server asks for (RFC 9110, 10.2.3), or None."""
    if text is None:
        return None
    if text.strip().isdigit():
        return float(text)
    with suppress(ValueError):
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    return None


def expect_success(answer: httpx2.Response, said: bytes = b"") -> None:
    """Raises `FetchFailed` for any status but 2xx; `said` is what the body begins with."""
    status = answer.status_code
    if 200 <= status < 300:
        return
    where = f"{answer.request.url.host} answered {status} {answer.reason_phrase}".rstrip()
    remedies = {
        401: "Save a connection with valid credentials and choose it.",
        403: "Ask for access, or save a connection with credentials that have it.",
        404: "Check the address for typing errors.",
        410: "Check the address for typing errors.",
        429: "Wait a while, then retry.",
    }
    answer.close()
    raise FetchFailed(
        f"{where} for {answer.request.url.path}.",
        remedies.get(status, "Retry later, or ask whoever runs that server."),
        retryable=status in _WORTH_ANOTHER,
        status=status,
        headers=answer.headers,
        body=said,
    )


@contextmanager
def explained(url: httpx2.URL) -> Iterator[None]:
    """The library's errors as `FetchFailed`."""
    try:
        yield
    except httpx2.TimeoutException:
        raise FetchFailed(
            f"{url.host} did not answer, or too slowly.",
            "Retry later, or offer the files from a faster server.",
            retryable=True,
        ) from None
    except httpx2.ConnectError as error:
        if isinstance(error.__cause__ and error.__cause__.__cause__, ssl.SSLError):
            raise FetchFailed(
                f"{url.host} cannot prove who it is: {error}.",
                "Use an address with a valid certificate; a private authority is named to the "
                "server with SSL_CERT_FILE.",
            ) from None
        raise FetchFailed(
            f"{url.host} cannot be reached: {error}.",
            "Check the address, and that this server may connect to it.",
            retryable=True,
        ) from None
    except httpx2.HTTPError as error:
        raise FetchFailed(
            f"The connection to {url.host} broke off: {error}.", "Retry later.", retryable=True
        ) from None
