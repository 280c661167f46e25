"""An engine's output in a file that the engine writes and the worker reads and keeps small."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
TAIL_LINES = 40
_TAIL_BYTES = 64 * 1024
_LINE_CHARACTERS = 500
_MAX_BYTES = 16 * 1024**2
_READ_BYTES = 256 * 1024


class EngineLog:
    """One engine's log file; the previous part lies beside it as `log.1`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def tail(self, lines: int = TAIL_LINES) -> list[str]:
        """The last lines that say something; empty where there is no log."""
        try:
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - _TAIL_BYTES))
                return _lines(file.read())[-lines:]
        except OSError:
            return []

    @property
    def offset(self) -> int:
        """How far it has been read, in bytes."""
        return self._offset

    def go_on(self, offset: int) -> None:
        """What lies before the offset is not new."""
        self._offset = offset

    def new_lines(self) -> list[str]:
        """The complete lines written since the last call; of a flood only the newest part."""
        try:
            with self._path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < self._offset:  # it was cut
                    self._offset = 0
                start = max(self._offset, size - _READ_BYTES)
                file.seek(start)
                content = file.read(size - start)
        except OSError:
            return []
        complete = content.rfind(b"\n") + 1
        self._offset = start + complete
        return _lines(content[:complete])

    def bound(self) -> None:
        """Cuts the log when it has grown large. The engine appends, so it goes on at the start."""
        try:
            if self._path.stat().st_size <= _MAX_BYTES:
                return
            shutil.copyfile(self._path, self._path.with_name("log.1"))
            os.truncate(self._path, 0)
        except OSError:
            return  # a full disk, or the folder has gone: the next call tries again


def _lines(content: bytes) -> list[str]:
    text = _ANSI.sub("", content.decode(errors="replace"))
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")  # no event can have it
    return [line.rstrip()[:_LINE_CHARACTERS] for line in text.splitlines() if line.strip()]
