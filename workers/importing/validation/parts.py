"""A folder of a model that is checked like a model of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import BinaryIO

from workers.importing.validation.files import ModelFiles

# One folder, not a way to one.
_FOLDER = re.compile(r"[A-Za-z0-9_\-][A-Za-z0-9_.\-]*")


def is_folder_name(name: object) -> bool:
    """Whether a model's file may name this folder beside itself."""
    return isinstance(name, str) and _FOLDER.fullmatch(name) is not None and len(name) <= 128


class Part:
    """The files below one folder, with their paths relative to it."""

    def __init__(self, files: ModelFiles, folder: str) -> None:
        self._files = files
        self._prefix = f"{folder}/"
        self._sizes = {
            path.removeprefix(self._prefix): size
            for path, size in files.sizes.items()
            if path.startswith(self._prefix)
        }

    @property
    def sizes(self) -> Mapping[str, int]:
        """Every path with its size in bytes."""
        return self._sizes

    def open(self, path: str) -> BinaryIO:
        """The file, seekable."""
        return self._files.open(self._prefix + path)
