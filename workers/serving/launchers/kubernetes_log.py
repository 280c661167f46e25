"""The output of a replica's pods, fetched into the file where every replica's log lies."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.domain.errors import DomainError
from workers.serving.engine_log import TAIL_LINES, EngineLog
from workers.serving.launchers.kubernetes_api import Cluster
from workers.serving.launchers.kubernetes_view import notes, statuses
from workers.serving.launchers.launcher import Unreachable

JSON = dict[str, Any]

_PULL_SECONDS = 2.0
_LINES_AT_ONCE = 400
# Clocks of nodes and of this machine differ a little; lines seen before are left out by their time.
_OVERLAP_SECONDS = 10


@dataclass
class _Run:
    """One run of one container, and the time of the last line that was fetched of it."""

    restarts: int
    last_line: str = ""


class PodLog(EngineLog):
    """A log that is fetched before it is read. The file stays when the pods have gone."""

    def __init__(self, path: Path, cluster: Cluster, pods: Callable[[], list[JSON]]) -> None:
        super().__init__(path)
        self._file = path
        self._cluster = cluster
        self._pods = pods
        self._runs: dict[tuple[str, str], _Run] = {}
        self._noted: list[str] = []
        self._pulled_at = -math.inf

    def tail(self, lines: int = TAIL_LINES) -> list[str]:
        """The last lines that say something."""
        self._pull()
        return super().tail(lines)

    def new_lines(self) -> list[str]:
        """The complete lines written since the last call."""
        self._pull()
        return super().new_lines()

    def _pull(self) -> None:
        now = time.monotonic()
        if now - self._pulled_at < _PULL_SECONDS:
            return
        first = self._pulled_at == -math.inf
        seconds = self._silence() if first else math.ceil(now - self._pulled_at)
        self._pulled_at = now
        # What cannot be fetched now is there at the next look, or is gone.
        with suppress(Unreachable, DomainError, OSError):
            found = list(self._fetched(seconds))
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

    def _fetched(self, seconds: int | None) -> Iterator[str]:
        pods = self._pods()
        noted = notes(pods)
        yield from (line for line in noted if line not in self._noted)
        self._noted = noted
        several = len(pods) > 1
        for pod in pods:
            name = pod["metadata"]["name"]
            for status in statuses(pod):
                for line in self._of(name, status, seconds):
                    yield f"[{name[-5:]}] {line}" if several else line

    def _of(self, pod: str, status: JSON, seconds: int | None) -> Iterator[str]:
        container, restarts = status["name"], status.get("restartCount", 0)
        run = self._runs.get((pod, container))
        wanted = None if seconds is None else seconds + _OVERLAP_SECONDS
        if run is None:
            run = self._runs[pod, container] = _Run(restarts)
            missed = restarts > 0 and seconds is None
        else:
            missed = restarts > run.restarts
            run.restarts = restarts
        if missed:
            yield from self._lines(pod, container, run, None, previous=True)
        yield from self._lines(pod, container, run, wanted, previous=False)

    def _lines(
        self, pod: str, container: str, run: _Run, seconds: int | None, *, previous: bool
    ) -> Iterator[str]:
        text = self._cluster.log(
            pod, container, lines=_LINES_AT_ONCE, seconds=seconds, previous=previous
        )
        for line in text.splitlines():
            # Kubernetes writes times of one zone with the same number of digits or fewer, so
            # that they compare as texts but for a second's own end.
            moment, _, said = line.partition(" ")
            if moment > run.last_line:
                run.last_line = moment
                yield said
