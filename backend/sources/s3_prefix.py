"""Models below a prefix of an S3 bucket: listed page by page, fetched by signed addresses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.guarded import GuardedClient
from backend.sources.rows import (
    MOST_FILES,
    MOST_ROWS,
    OfferedFile,
    PreviewRow,
    is_model_file,
    is_model_folder,
    usable_name,
)
from backend.sources.s3_api import Entry, S3Access, S3Api, S3Refused

_SCHEME = "s3://"
_WRONG_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch"}


class S3Prefix:
    """Everything below `s3://bucket/prefix`. Its calls block."""

    def __init__(self, address: str, access: S3Access, client: GuardedClient) -> None:
        """Raises `FetchRefused` where the address is none of a prefix."""
        bucket, _, key = address.removeprefix(_SCHEME).partition("/")
        if not address.startswith(_SCHEME) or not bucket or "@" in bucket or "?" in address:
            raise FetchRefused(
                "address_malformed",
                f"'{address[:200]}' is not the address of an S3 prefix.",
                "Write s3://bucket/prefix/.",
            )
        self.address = address
        self._bucket = bucket
        self._key = key.rstrip("/")
        self._api = S3Api(access, client)

    def rows(self) -> list[PreviewRow]:
        """The models: prefixes, archives and single files of weights. Raises `FetchFailed`."""
        with self._speaking():
            refusal = FetchRefused(
                "too_many_rows",
                f"{self.address} holds more than {MOST_ROWS} entries.",
                "Give a longer prefix.",
            )
            entries = self._below(MOST_ROWS, refusal, delimiter="/") or self._itself()
        if not entries:
            raise self._missing()
        if is_model_folder([entry.key for entry in entries]):
            return [PreviewRow(usable_name(self._key or self._bucket), self._uri(self._folder))]
        return [
            PreviewRow(usable_name(entry.key), self._uri(entry.key), size_bytes=entry.size)
            for entry in entries
            if entry.size is None or is_model_file(entry.key)
        ]

    def files(self) -> list[OfferedFile]:
        """Every file below the prefix, or the object itself. Raises `FetchFailed`."""
        with self._speaking():
            refusal = FetchRefused(
                "too_many_files",
                f"{self.address} holds more than {MOST_FILES} files.",
                "Give a longer prefix.",
            )
            found = self._itself() or self._below(MOST_FILES, refusal)
        if not found:
            raise FetchFailed(f"{self.address} holds no files.", "Check the bucket and the prefix.")
        above = self._key.rpartition("/")[0] + "/" if found[0].key == self._key else self._folder
        return [
            OfferedFile(entry.key.removeprefix(above), self._uri(entry.key), entry.size)
            for entry in found
            if not entry.key.endswith("/")
        ]

    def signed(self, address: str) -> str:
        """An address at which the guarded client can read the object for a while."""
        bucket, _, key = address.removeprefix(_SCHEME).partition("/")
        return self._api.signed(bucket, key)

    @property
    def _folder(self) -> str:
        return f"{self._key}/" if self._key else ""

    def _uri(self, key: str) -> str:
        return f"{_SCHEME}{self._bucket}/{key}"

    def _itself(self) -> list[Entry]:
        """The object that the address names, unless it names a prefix."""
        if not self._key or self.address.endswith("/"):
            return []
        size = self._api.size(self._bucket, self._key)
        return [] if size is None else [Entry(self._key, size)]

    def _below(self, most: int, refusal: FetchRefused, *, delimiter: str = "") -> list[Entry]:
        """The entries in the order of their names; no more are read than may come."""
        found: list[Entry] = []
        for entry in self._api.listing(self._bucket, self._folder, delimiter=delimiter):
            if entry.key != self._folder:
                found.append(entry)
            if len(found) > most:
                raise refusal
        return sorted(found, key=lambda entry: entry.key)

    def _missing(self) -> FetchFailed:
        return FetchFailed(f"{self.address} does not exist.", "Check the bucket and the prefix.")

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except S3Refused as refused:
            if refused.code in _WRONG_KEYS:
                raise FetchRefused(
                    "keys_refused",
                    f"The store of {self.address} does not accept the connection's keys.",
                    "Save the connection again with the right access key and secret key.",
                ) from None
            if refused.status == 404:
                raise self._missing() from None
            if refused.status == 403:
                raise FetchFailed(
                    f"The store does not let us read {self.address}.",
                    "Save a connection with keys that may list and read this prefix, and choose "
                    "it.",
                ) from None
            raise FetchFailed(
                f"The store of {self.address} refuses: {refused.code}.",
                "Check the connection's endpoint; else retry later.",
                retryable=refused.retryable,
            ) from None
