"""Files of a repository on a hub: read over as many connections as it takes, and verified."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from backend.sources.errors import FetchFailed
from backend.sources.guarded import GuardedClient

# Attempts in a row that bring no byte; the guarded client has tried several times in each.
_FRUITLESS = 3


@dataclass(frozen=True)
class HubFile:
    """A file of a repository at a commit. Size in bytes.

    The hub promises the SHA-256 of large files, and git's blob id (SHA-1) of small ones.
    """

    path: str
    size: int
    sha256: str | None
    git_sha1: str | None


class HubSourceFile:
    """A file of a repository as imports read it. `explain` gives a failure the hub's words."""

    def __init__(
        self,
        file: HubFile,
        address: str,
        client: GuardedClient,
        headers: Mapping[str, str],
        explain: Callable[[FetchFailed, HubFile], Exception],
    ) -> None:
        self._file = file
        self._address = address
        self._client = client
        self._headers = headers
        self._explain = explain
        self.path: str = file.path
        self.size: int | None = file.size
        self.sha256: str | None = file.sha256

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """The content from `offset`; the whole is compared with the hub's digest.

        From an offset on that is possible for small files only, which are read from the start
        again; who continues a large one must compare the whole with `sha256`. Raises
        `FetchRefused` and `FetchFailed`.
        """
        file = self._file
        position = 0 if file.git_sha1 else offset
        digest = _Digest(file) if position == 0 else None
        fruitless = 0
        while position < file.size or position == 0:
            before = position
            try:
                with self._client.stream(
                    self._address, offset=position, headers=self._headers
                ) as body:
                    for chunk in body.chunks:
                        skip = max(0, offset - position)
                        position += len(chunk)
                        if position > file.size:
                            raise self._wrong(f"has more than the {file.size} bytes")
                        if digest is not None:
                            digest.update(chunk)
                        if skip < len(chunk):
                            yield chunk[skip:]
                if position < file.size:
                    raise self._wrong(f"ends after {position} of the {file.size} bytes")
                break
            except FetchFailed as failure:
                fruitless = 0 if position > before else fruitless + 1
                if failure.status is not None:
                    raise self._explain(failure, file) from failure
                if not failure.retryable or fruitless >= _FRUITLESS:
                    raise
        if digest is not None and not digest.fits():
            raise self._wrong("has other content than the digest")

    def _wrong(self, what: str) -> FetchFailed:
        return FetchFailed(
            f"'{self.path}' {what} that the hub's listing promises.",
            "Retry the import; if it stays so, the hub's storage or something between it and "
            "this server is broken.",
        )


class _Digest:
    """Compares content with what the hub promises."""

    def __init__(self, file: HubFile) -> None:
        self._promised = file.sha256 or file.git_sha1
        # git's name of a file is no protection, but the hub promises nothing better for these.
        self._hash = (
            hashlib.sha256()
            if file.sha256
            else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
        )

    def update(self, chunk: bytes) -> None:
        """Takes the next bytes."""
        self._hash.update(chunk)

    def fits(self) -> bool:
        """Whether the content is the promised one."""
        return self._hash.hexdigest() == self._promised
