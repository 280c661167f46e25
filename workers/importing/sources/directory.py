"""Files in a directory of the server, copied or left where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from backend.sources.errors import ContentChanged, FetchRefused
from backend.sources.path import PathFile, inspect_path, open_below

_CHUNK_BYTES = 1 << 18


class DirectoryFile:
    """A file below a root. `location` is where it stays, when it is not copied."""

    sha256: str | None = None

    def __init__(self, file: PathFile, roots: Sequence[Path], *, stays: bool) -> None:
        self.path = file.path
        self.size: int | None = file.size
        self.location = file.real.as_uri() if stays else None
        self._real = file.real
        self._roots = roots

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """The content from `offset`."""
        try:
            with open_below(self._real, self._roots) as source:
                source.seek(offset)
                while chunk := source.read(_CHUNK_BYTES):
                    yield chunk
                left = source.tell()
        except OSError as error:
            raise FetchRefused(
                "unreadable",
                f"{self.path} cannot be read: {error.strerror}.",
                "Check the file and its permissions, then retry the import.",
            ) from None
        if left != self.size:
            raise ContentChanged(str(self._real))


class DirectorySource:
    """The files of a `path` origin."""

    def __init__(self, origin: Mapping[str, Any], roots: Sequence[Path]) -> None:
        """Raises `FetchRefused` where the path is none to import from, or does not do."""
        found = inspect_path(str(origin["path"]), roots)
        if found.problems:
            more = len(found.problems) - 1
            also = f" {more} more {'problem' if more == 1 else 'problems'}." if more else ""
            raise FetchRefused(
                "path_unfit",
                f"{found.problems[0]}{also}",
                "Mend the directory, then retry the import.",
            )
        self.resolved = {"path": str(found.real)}
        self._found = found
        self._roots = roots
        self._stays = origin["mode"] == "reference"

    def files(self) -> Sequence[DirectoryFile]:
        """Every file."""
        return [DirectoryFile(file, self._roots, stays=self._stays) for file in self._found.files]
