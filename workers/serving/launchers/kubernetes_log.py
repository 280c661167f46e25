"""The output of a replica's pods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.serving.launchers.fetched_log import OVERLAP_SECONDS, FetchedLog, timed
from workers.serving.launchers.kubernetes_api import Cluster
from workers.serving.launchers.kubernetes_view import notes, statuses

JSON = dict[str, Any]

_LINES_AT_ONCE = 400


@dataclass
class _Run:
    """One run of one container, and the time of the last line that was fetched of it."""

    restarts: int
    last_line: str = ""


class PodLog(FetchedLog):
    """What all pods wrote, and what the cluster says of those that do not run yet."""

    def __init__(self, path: Path, cluster: Cluster, pods: Callable[[], list[JSON]]) -> None:
        super().__init__(path)
        self._cluster = cluster
        self._pods = pods
        self._runs: dict[tuple[str, str], _Run] = {}
        self._noted: list[str] = []

    def since(self, seconds: int | None) -> Iterator[str]:
        """The lines of the last seconds that were not given before; None means all of them."""
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
        if run is None:
            run = self._runs[pod, container] = _Run(restarts)
            missed = restarts > 0 and seconds is None
        else:
            missed = restarts > run.restarts
            run.restarts = restarts
        if missed:
            yield from self._lines(pod, container, run, None, previous=True)
        lately = None if seconds is None else seconds + OVERLAP_SECONDS
        yield from self._lines(pod, container, run, lately, previous=False)

    def _lines(
        self, pod: str, container: str, run: _Run, seconds: int | None, *, previous: bool
    ) -> Iterator[str]:
        text = self._cluster.log(
            pod, container, lines=_LINES_AT_ONCE, seconds=seconds, previous=previous
        )
        for moment, said in map(timed, text.splitlines()):
            if moment > run.last_line:
                run.last_line = moment
                yield said
