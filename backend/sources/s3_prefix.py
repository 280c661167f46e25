"""Models below a prefix of an S3 bucket: listed by the S3 client, fetched by signed addresses.

The bytes come through the guarded client like all others, with its limits and continuations.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import botocore.exceptions  # type: ignore[import-untyped]
import fsspec

from backend.sources.addresses import AddressRules
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.rows import (
    MOST_FILES,
    MOST_ROWS,
    OfferedFile,
    PreviewRow,
    is_model_file,
    is_model_folder,
    usable_name,
)
from backend.sources.transport import resolve

_SIGNED_SECONDS = 7 * 24 * 3600
# No proxies: an empty mapping keeps those of the environment out.
_CONFIG: dict[str, Any] = {
    "connect_timeout": 10,
    "read_timeout": 30,
    "retries": {"max_attempts": 4},
    "proxies": {},
}


@dataclass(frozen=True, slots=True)
class S3Access:
    """How to speak to a store. Without keys, what is public can be read."""

    endpoint: str | None = None
    access_key: str | None = None
    secret_key: str | None = None


class S3Prefix:
    """Everything below `s3://bucket/prefix`. Its calls block."""

    def __init__(self, address: str, access: S3Access, rules: AddressRules) -> None:
        """Raises `FetchRefused` where the address or the endpoint is none to be opened."""
        parts = urlsplit(address)
        if parts.scheme != "s3" or not parts.netloc or parts.username or parts.query:
            raise FetchRefused(
                "address_malformed",
                f"'{address[:200]}' is not the address of an S3 prefix.",
                "Write s3://bucket/prefix/.",
            )
        if access.endpoint is not None:
            url = rules.parsed(access.endpoint)
            port = url.port or (443 if url.scheme == "https" else 80)
            rules.check_resolved(url.host, resolve(url.host, port))
        self.address = address
        self._root = f"{parts.netloc}{parts.path}".rstrip("/")
        self._fs = fsspec.filesystem(
            "s3",
            anon=access.access_key is None,
            key=access.access_key,
            secret=access.secret_key,
            endpoint_url=access.endpoint,
            config_kwargs=_CONFIG,
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def rows(self) -> list[PreviewRow]:
        """The models: prefixes, archives and single files of weights. Raises `FetchFailed`."""
        with self._speaking():
            entries = self._fs.ls(self._root, detail=True)
        if len(entries) > MOST_ROWS:
            raise FetchRefused(
                "too_many_rows",
                f"{self.address} holds more than {MOST_ROWS} entries.",
                "Give a longer prefix.",
            )
        names = {entry["name"]: entry for entry in entries if entry["name"] != self._root}
        if is_model_folder(list(names)):
            return [PreviewRow(usable_name(self._root), f"s3://{self._root}/")]
        return [
            PreviewRow(usable_name(name), f"s3://{name}/")
            if entry["type"] == "directory"
            else PreviewRow(usable_name(name), f"s3://{name}", size_bytes=int(entry["size"]))
            for name, entry in sorted(names.items())
            if entry["type"] == "directory" or is_model_file(name)
        ]

    def files(self) -> list[OfferedFile]:
        """Every file below the prefix, or the object itself. Raises `FetchFailed`."""
        with self._speaking():
            if not self.address.endswith("/") and self._fs.isfile(self._root):
                found = {self._root: self._fs.info(self._root)}
            else:
                found = self._fs.find(self._root, detail=True)
        if len(found) > MOST_FILES:
            raise FetchRefused(
                "too_many_files",
                f"{self.address} holds more than {MOST_FILES} files.",
                "Give a longer prefix.",
            )
        if not found:
            raise FetchFailed(f"{self.address} holds no files.", "Check the bucket and the prefix.")
        base = len(self._root) + 1
        return [
            OfferedFile(name[base:] or name.rsplit("/", 1)[-1], f"s3://{name}", int(entry["size"]))
            for name, entry in sorted(found.items())
            if not name.endswith("/")
        ]

    def signed(self, address: str) -> str:
        """An address at which the guarded client can read the object for a while."""
        return str(self._fs.sign(address.removeprefix("s3://"), expiration=_SIGNED_SECONDS))

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise FetchFailed(
                f"{self.address} does not exist.", "Check the bucket and the prefix."
            ) from None
        except PermissionError:
            raise FetchFailed(
                f"The store does not let us read {self.address}.",
                "Save a connection with keys that may list and read this prefix, and choose it.",
            ) from None
        except (OSError, botocore.exceptions.BotoCoreError) as error:
            raise FetchFailed(
                f"The store of {self.address} does not answer: {error}",
                "Check the connection's endpoint; else retry later.",
                retryable=True,
            ) from None
