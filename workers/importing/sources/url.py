"""Files at addresses: http and https directly, s3 through addresses signed for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from backend.sources import html_index
from backend.sources.guarded import GuardedClient
from backend.sources.preview import Credentials, authorization, s3_access
from backend.sources.rows import OfferedFile
from backend.sources.s3_prefix import S3Prefix

_SINGLE_FILES = (".safetensors", ".gguf", ".onnx")


class UrlFile:
    """A file at an address. `validator` identifies its content while it is read, and between
    two workers: whoever sets it gets `ContentChanged` where the file is another one by now."""

    def __init__(
        self,
        offered: OfferedFile,
        client: GuardedClient,
        headers: Mapping[str, str],
        located: Callable[[str], str] = lambda address: address,
    ) -> None:
        self.path = offered.path
        self.size = offered.size_bytes
        self.sha256 = offered.sha256
        self.validator: str | None = None
        self._address = offered.address
        self._client = client
        self._headers = headers
        self._located = located

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """The content from `offset`; goes on by itself where the connection breaks."""
        with self._client.stream(
            self._located(self._address),
            offset=offset,
            validator=self.validator if offset else None,
            headers=self._headers,
        ) as body:
            self.validator = body.validator
            if self.size is None:
                self.size = body.size
            yield from body.chunks


class UrlSource:
    """The files of a `url` origin; without any of its own, what its address leads to."""

    def __init__(
        self, origin: Mapping[str, Any], client: GuardedClient, connection: Credentials | None
    ) -> None:
        self.address = str(origin["address"])
        self.resolved = {"address": self.address}
        self._offered = [
            OfferedFile(file["path"], file["address"], file.get("size_bytes"), file.get("sha256"))
            for file in origin.get("files") or []
        ]
        self._client = client
        self._connection = connection

    @property
    def archive(self) -> UrlFile | None:
        """The one archive that the address is; None where it leads to files."""
        listed = [file.address for file in self._offered]
        path = unquote(urlsplit(self.address).path)
        if path.endswith("/") or path.lower().endswith(_SINGLE_FILES):
            return None
        if listed not in ([], [self.address]):
            return None
        promised = self._offered or [OfferedFile(path.rsplit("/", 1)[-1], self.address)]
        return self._file(promised[0])

    def files(self) -> Sequence[UrlFile]:
        """Every file."""
        offered = self._offered
        if not offered and self.address.startswith("s3://"):
            offered = self._prefix(self.address).files()
        elif not offered and urlsplit(self.address).path.endswith("/"):
            headers = authorization(self._connection, self.address)
            offered = html_index.directory(self.address, self._client, headers)
        elif not offered:
            name = unquote(urlsplit(self.address).path).rsplit("/", 1)[-1]
            offered = [OfferedFile(name, self.address)]
        return [self._file(file) for file in offered]

    def _file(self, offered: OfferedFile) -> UrlFile:
        if offered.address.startswith("s3://"):
            return UrlFile(offered, self._client, {}, self._prefix(offered.address).signed)
        return UrlFile(offered, self._client, authorization(self._connection, offered.address))

    def _prefix(self, address: str) -> S3Prefix:
        return S3Prefix(address, s3_access(self._connection), self._client)
