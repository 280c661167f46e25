"""A container's output, and what Docker's errors mean."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker.errors
import requests

from backend.domain.errors import NotAllowed
from workers.serving.launchers.fetched_log import OVERLAP_SECONDS, FetchedLog, timed
from workers.serving.launchers.launcher import Unreachable

_LINES_AT_ONCE = 400


class ContainerLog(FetchedLog):
    """What a container wrote."""

    def __init__(self, path: Path, client: Callable[[], Any], name: str) -> None:
        super().__init__(path)
        self._client = client
        self._name = name
        self._last_line = ""

    def since(self, seconds: int | None) -> Iterator[str]:
        """The lines of the last seconds that were not given before; None means all of them."""
        since = None if seconds is None else int(time.time()) - seconds - OVERLAP_SECONDS
        try:
            with explained():
                content = self._client().logs(
                    self._name, timestamps=True, since=since, tail=_LINES_AT_ONCE
                )
        except Absent:
            return
        for moment, said in map(timed, content.decode(errors="replace").splitlines()):
            if moment > self._last_line:
                self._last_line = moment
                yield said


class Absent(Exception):
    """Docker knows nothing of this name."""


class explained:  # noqa: N801
    """Says Docker's errors in words for people, and which of them another try may mend."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, docker.errors.NotFound):
            raise Absent from error
        if isinstance(error, docker.errors.APIError):
            said = str(error.explanation or error)[:500]
            if error.is_client_error():
                raise NotAllowed(
                    f"Docker refuses: {said}", remedy="Change what it names, then redeploy."
                ) from error
            raise Unreachable(f"Docker failed: {said}") from error
        if isinstance(error, docker.errors.DockerException | requests.RequestException):
            raise Unreachable(f"Docker does not answer: {error}") from error
