"""A model's files in memory, as the checks read them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import BinaryIO


class MemoryFiles:
    """ModelFiles over a dictionary."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(sorted(files.items()))

    @property
    def sizes(self) -> Mapping[str, int]:
        return {path: len(data) for path, data in self._files.items()}

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self._files[path])
