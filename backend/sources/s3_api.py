"""What Loggia says to S3 stores: signed requests (Signature Version 4) by the guarded client.

Signing is botocore's; connections are ours, so that an endpoint is judged at the very moment of
connecting to it, like any address. Listings come in pages, and only what fits is kept of each.
Source: Amazon S3 API reference, ListObjectsV2, ListBuckets, "Error responses".
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote, unquote_plus, urlencode, urlsplit
from xml.parsers import expat

from botocore.auth import S3SigV4QueryAuth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.guarded import GuardedClient

Answer = TypeVar("Answer")

FILE_SECONDS = 7 * 24 * 3600
LISTING_SECONDS = 120.0
PAGE_ENTRIES = 1000
_PAGE_BYTES = 8 << 20
_REQUEST_SECONDS = 900
_MOST_DEPTH = 16
_FIRST_REGION = "us-east-1"
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


@dataclass(frozen=True, slots=True)
class S3Access:
    """How to speak to a store. Without keys, what is public can be read."""

    endpoint: str | None = None
    access_key: str | None = None
    secret_key: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An object with its size in bytes, or a prefix, which ends with a slash and has none."""

    key: str
    size: int | None


@dataclass(slots=True)
class _Document:
    """What our questions need of an answer."""

    root: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    buckets: int = 0


class S3Refused(FetchFailed):
    """The store says no; `code` is its word for why."""

    def __init__(self, code: str, failure: FetchFailed) -> None:
        super().__init__(
            failure.reason,
            failure.remedy,
            retryable=failure.retryable,
            status=failure.status,
            headers=failure.headers,
        )
        self.code = code


class S3Api:
    """A store, asked by path (https://endpoint/bucket/key). Its calls block.

    Raises `FetchRefused`, `FetchFailed`, and `S3Refused` for the store's own errors.
    """

    def __init__(self, access: S3Access, client: GuardedClient) -> None:
        self._access = access
        self._client = client
        self._region = _FIRST_REGION

    def buckets(self) -> int:
        """How many buckets the keys see."""
        return self._ask("", {}, "ListAllMyBucketsResult").buckets

    def listing(self, bucket: str, prefix: str, *, delimiter: str = "") -> Iterator[Entry]:
        """What is below a prefix, in the store's order; asks for a page when it is needed.

        All of it may take two minutes.
        """
        question = {
            "list-type": "2",
            "max-keys": str(PAGE_ENTRIES),
            "encoding-type": "url",
            "prefix": prefix,
            **({"delimiter": delimiter} if delimiter else {}),
        }
        until, seen = time.monotonic() + LISTING_SECONDS, ""
        while True:
            with self._client.within(until - time.monotonic()):
                page = self._ask(bucket, question, "ListBucketResult")
            yield from page.entries
            token = page.facts.get("NextContinuationToken", "")
            if page.facts.get("IsTruncated") != "true":
                return
            if not token or token == seen:
                raise _no_store(self._host, "a page of its listing does not lead to the next")
            question["continuation-token"] = seen = token

    def size(self, bucket: str, key: str) -> int | None:
        """An object's size in bytes; None where there is none, or none that we may see."""
        try:
            found = self._in_region(
                lambda: self._client.head(self.signed(bucket, key, method="HEAD"))
            )
        except FetchFailed as failure:
            if failure.status in {403, 404}:
                return None
            raise
        length = found.headers.get("content-length", "")
        return int(length) if length.isdecimal() else None

    def signed(
        self,
        bucket: str,
        key: str = "",
        query: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        seconds: int = FILE_SECONDS,
    ) -> str:
        """An address at which the guarded client can ask for it, for so many seconds."""
        if bucket and not _BUCKET.fullmatch(bucket):
            raise FetchRefused(
                "address_malformed",
                f"'{bucket[:80]}' is not the name of a bucket.",
                "Write s3://bucket/prefix/.",
            )
        if not {".", ".."}.isdisjoint(key.split("/")):
            raise FetchRefused(
                "address_malformed",
                f"'{key[:200]}' has a part '.' or '..', which web addresses cannot express.",
                "Give the object another name.",
            )
        path = "/".join(part for part in (quote(bucket), quote(key, safe="/~")) if part)
        address = f"{self._endpoint}/{path}"
        if query:
            address += "?" + urlencode(query, quote_via=quote, safe="~")
        if self._access.access_key is None:
            return address
        keys = Credentials(self._access.access_key, self._access.secret_key)
        request = AWSRequest(method, address)
        S3SigV4QueryAuth(keys, "s3", self._region, expires=seconds).add_auth(request)
        return str(request.url)

    @property
    def _endpoint(self) -> str:
        endpoint = self._access.endpoint or f"https://s3.{self._region}.amazonaws.com"
        return endpoint.rstrip("/")

    @property
    def _host(self) -> str:
        return str(urlsplit(self._endpoint).hostname)

    def _ask(self, bucket: str, query: Mapping[str, str], expected: str) -> _Document:
        body = self._in_region(
            lambda: self._client.get(
                self.signed(bucket, "", query, seconds=_REQUEST_SECONDS), limit_bytes=_PAGE_BYTES
            )
        )
        found = _read(body, self._host)
        if found.root != expected:
            raise _no_store(self._host, f"'{found.root[:40]}' came instead of {expected}")
        return found

    def _in_region(self, ask: Callable[[], Answer]) -> Answer:
        """The answer, asked for once more where the store says that it lies in another region."""
        try:
            return ask()
        except FetchFailed as failure:
            said = _said(failure, self._host)
            region = failure.headers.get("x-amz-bucket-region") or said.facts.get("Region", "")
            if region == self._region or not _REGION.fullmatch(region):
                raise _refusal(failure, said) from None
            self._region = region
        try:
            return ask()
        except FetchFailed as failure:
            raise _refusal(failure, _said(failure, self._host)) from None


def _said(failure: FetchFailed, host: str) -> _Document:
    """What stands in the error that came; nothing where it is not S3's."""
    try:
        return _read(failure.body, host)
    except FetchFailed:
        return _Document()


def _refusal(failure: FetchFailed, said: _Document) -> FetchFailed:
    code = said.facts.get("Code", "") if said.root == "Error" else ""
    return S3Refused(code[:60], failure) if code else failure


def _no_store(host: str, why: str) -> FetchFailed:
    return FetchFailed(
        f"{host} does not answer as an S3 store does: {why}.",
        "Check the connection's endpoint; else retry later.",
        retryable=True,
    )


def _read(body: bytes, host: str) -> _Document:
    """The document in a body. No store sends document types, so entities can be no bombs here."""
    found, stack, text = _Document(), list[str](), list[str]()
    named: list[tuple[str, str | None]] = []
    entry: dict[str, str] = {}

    def begin(name: str, _: object) -> None:
        if len(stack) >= _MOST_DEPTH:
            raise ValueError("it nests too deeply")
        found.root = found.root or name
        stack.append(name)
        text.clear()
        if len(stack) == 2:
            entry.clear()

    def end(name: str) -> None:
        stack.pop()
        value = "".join(text)
        text.clear()
        if len(stack) == 1 and name == "Contents":
            named.append((entry["Key"], entry["Size"]))
        elif len(stack) == 1 and name == "CommonPrefixes":
            named.append((entry["Prefix"], None))
        elif len(stack) == 1:
            found.facts[name] = value
        elif len(stack) == 2:
            entry[name] = value
            found.buckets += name == "Bucket"

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body, True)
        quoted = found.facts.get("EncodingType") == "url"
        found.entries = [
            Entry(
                unquote_plus(name, errors="strict") if quoted else name,
                None if size is None else _size(size),
            )
            for name, size in named
        ]
    except (expat.ExpatError, ValueError, KeyError) as error:
        raise _no_store(host, str(error)[:200]) from None
    return found


def _size(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise ValueError(f"'{text[:40]}' is no size")
    return int(text)
