"""A log that lies elsewhere, fetched into the file where every replica's log lies."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from backend.domain.errors import DomainError
from workers.serving.engine_log import TAIL_LINES, EngineLog
from workers.serving.launchers.launcher import Unreachable

_PULL_SECONDS = 2.0
# Clocks there and here differ a little; lines seen before are left out by their time.
OVERLAP_SECONDS = 10


class FetchedLog(EngineLog):
    """A log that is fetched before it is read. The file stays when its origin has gone."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = path
        self._fetched_at = -math.inf

    def tail(self, lines: int = TAIL_LINES) -> list[str]:
        """The last lines that say something."""
        if time.monotonic() - self._fetched_at >= _PULL_SECONDS:
            self.refresh()
        return super().tail(lines)

    def new_lines(self) -> list[str]:
        """The complete lines written since the last call."""
        if time.monotonic() - self._fetched_at >= _PULL_SECONDS:
            self.refresh()
        return super().new_lines()

    def since(self, seconds: int | None) -> Iterable[str]:
        """The lines of the last seconds that were not given before; None means all of them.

        Raises `Unreachable` and `DomainError`.
        """
        raise NotImplementedError

    def refresh(self) -> None:
        """Fetches now what is new; what cannot be had is left out."""
        now = time.monotonic()
        first = self._fetched_at == -math.inf
        seconds = self._silence() if first else math.ceil(now - self._fetched_at)
        self._fetched_at = now
        # What cannot be fetched now is there at the next look, or is gone.
        with suppress(Unreachable, DomainError, OSError):
            found = list(self.since(seconds))
            if found:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with self._file.open("a") as file:
                    file.writelines(f"{line}\n" for line in found)

    def _silence(self) -> int | None:
        """Seconds since an earlier worker fetched something; None where none did."""
        try:
            return max(1, math.ceil(time.time() - self._file.stat().st_mtime))
        except OSError:
            return None


def timed(line: str) -> tuple[str, str]:
    """A line's time, which compares as a text with those of the same origin, and the line."""
    moment, _, said = line.partition(" ")
    return moment, said
