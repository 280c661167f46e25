"""The end of an engine's log file."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID

MAX_BYTES = 256 * 1024
MAX_LINES = 1000


def tail(folder: Path, replica_id: UUID | None) -> list[str]:
    """The last lines, bounded; none where the engine has not written or its log is gone."""
    if replica_id is None:
        return []
    try:
        with (folder / str(replica_id) / "log").open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - MAX_BYTES))
            text = log.read(MAX_BYTES).decode(errors="replace")
    except OSError:
        return []
    lines = text.splitlines()
    if size > MAX_BYTES:
        lines = lines[1:]  # the first one has lost its beginning
    return lines[-MAX_LINES:]
