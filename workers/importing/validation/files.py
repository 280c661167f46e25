"""The files of a model as the checks see them: names, sizes, and bytes on demand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO, Protocol

MAX_JSON_BYTES = 4 << 20


class ModelFiles(Protocol):
    """The files of one model version by relative path."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Every path with its size in bytes, sorted by path."""
        ...

    def open(self, path: str) -> BinaryIO:
        """The file, seekable."""
        ...


class Unreadable(Exception):
    """A file is too large for what it should be, or does not parse. The text names the fault."""


def read_whole(files: ModelFiles, path: str, *, limit: int) -> bytes:
    """The content of a small file. Raises `Unreadable` where it is larger than `limit` bytes."""
    size = files.sizes[path]
    if size > limit:
        raise Unreadable(f"{path} has {size} bytes; files of this kind have at most {limit}.")
    with files.open(path) as source:
        return source.read()


def read_json(files: ModelFiles, path: str, *, limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The JSON object in a file. Raises `Unreadable`."""
    value = _json(files, path, limit)
    if not isinstance(value, dict):
        raise Unreadable(f"{path} does not hold a JSON object.")
    return value


def read_json_list(files: ModelFiles, path: str, *, limit: int = MAX_JSON_BYTES) -> list[Any]:
    """The JSON array in a file. Raises `Unreadable`."""
    value = _json(files, path, limit)
    if not isinstance(value, list):
        raise Unreadable(f"{path} does not hold a JSON array.")
    return value


def _json(files: ModelFiles, path: str, limit: int) -> Any:
    raw = read_whole(files, path, limit=limit)
    try:
        return json.loads(raw)
    except RecursionError:
        raise Unreadable(f"{path} nests its JSON too deeply.") from None
    except ValueError as error:
        raise Unreadable(f"{path} is not valid JSON: {error}.") from None


def whole_number(value: Any) -> int | None:
    """The value where it is a positive whole number that a model can have, else None."""
    return value if type(value) is int and 0 < value < 2**40 else None
