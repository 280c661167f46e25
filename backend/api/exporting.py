"""A model version as one zip file, made while it is sent: memory does not grow with the model."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit

from backend.domain.configuration_document import FILE_NAME
from backend.infra.object_store import ObjectStore
from backend.readmodels.exports import Export
from backend.readmodels.manifests import ManifestEntry
from backend.sources.path import open_below

_READ_BYTES = 1 << 20
# Weights do not shrink; a file that is stored as it is can be unpacked as fast as it is read.
_METHOD = zipfile.ZIP_STORED


class FileChanged(Exception):
    """A file is no longer what was imported. The answer breaks off, so that nobody keeps it."""


def content_disposition(name: str) -> str:
    """The header that names the file, for names in any script (RFC 6266)."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in name)
    return f"attachment; filename=\"{plain}.zip\"; filename*=UTF-8''{quote(name)}.zip"


def archive(export: Export, object_store: ObjectStore, roots: Sequence[Path]) -> Iterator[bytes]:
    """The zip file's bytes, in pieces of about a megabyte. `roots` are where files may lie that
    were not copied.

    Raises `FileChanged`, and `OSError` and `FetchRefused` where a file cannot be read.
    """
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", _METHOD) as made:
        with made.open(_member(FILE_NAME, len(export.configuration)), "w") as target:
            target.write(export.configuration)
        for file in export.files:
            digest = hashlib.sha256()
            # Every byte is written under its name before the next file begins.
            with (
                _opened(file, object_store, roots) as source,
                made.open(_member(file.path, file.size), "w") as to,
            ):
                while chunk := source.read(_READ_BYTES):
                    digest.update(chunk)
                    to.write(chunk)
                    yield pipe.taken()
            if digest.hexdigest() != file.sha256:
                raise FileChanged(f"{file.path} is no longer the file that was imported")
    yield pipe.taken()


def _member(path: str, size: int) -> zipfile.ZipInfo:
    # Without a time of its own, so that the same export is the same file.
    member = zipfile.ZipInfo(path)
    member.compress_type = _METHOD
    member.external_attr = 0o644 << 16
    # By its size the entry gets the form for more than 4 GiB where it needs it.
    member.file_size = size
    return member


def _opened(file: ManifestEntry, object_store: ObjectStore, roots: Sequence[Path]) -> BinaryIO:
    if file.location is not None:
        return open_below(Path(unquote(urlsplit(file.location).path)), roots)
    return object_store.open(f"blobs/sha256/{file.sha256[:2]}/{file.sha256}")


class _Pipe:
    """What the zip file is written to; it cannot be searched, so sizes follow the files."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """What was written is still there to be taken."""

    def taken(self) -> bytes:
        """What was written since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
