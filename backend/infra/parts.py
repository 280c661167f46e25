"""Objects that follow each other, read as one seekable file without a copy."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from backend.infra.object_store import ObjectStore


@dataclass(frozen=True, slots=True)
class PlacedPart:
    """A part's place in the store; offset and size in bytes."""

    path: str
    offset: int
    size: int


def open_parts(store: ObjectStore, parts: Sequence[PlacedPart]) -> BinaryIO:
    """The parts as one file. They are complete, in order and without gaps."""
    return cast("BinaryIO", io.BufferedReader(_PartsReader(store, parts), buffer_size=1024 * 1024))


class _PartsReader(io.RawIOBase):
    def __init__(self, store: ObjectStore, parts: Sequence[PlacedPart]) -> None:
        super().__init__()
        self._store = store
        self._parts = parts
        self._starts = [part.offset for part in parts]
        self._size = parts[-1].offset + parts[-1].size if parts else 0
        self._position = 0
        self._open: tuple[PlacedPart, BinaryIO] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size:
            return 0
        part = self._parts[bisect_right(self._starts, self._position) - 1]
        file = self._part(part)
        file.seek(self._position - part.offset)
        # Files of remote stores read into a buffer too; all of fsspec's do.
        count = int(cast("io.BufferedIOBase", file).readinto(buffer))
        self._position += count
        return count

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None
        super().close()

    def _part(self, part: PlacedPart) -> BinaryIO:
        if self._open is None or self._open[0] is not part:
            if self._open is not None:
                self._open[1].close()
            self._open = (part, self._store.open(part.path))
        return self._open[1]
