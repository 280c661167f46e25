"""Keeps a claim alive in the background and tells the work when to stop."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

import psycopg
from psycopg_pool import PoolTimeout

from backend.infra.jobs import Claim, Jobs, LeaseLost
from backend.infra.logging import get_logger

_log = get_logger(__name__)
_MOST_SECONDS_BETWEEN_BEATS = 1.0


class Cancelled(Exception):
    """A person has cancelled the work."""


class Interrupted(Exception):
    """This process is to end; another one goes on."""


class Lease:
    """Beats while the block runs. `check()` is cheap and belongs into every loop of the work."""

    def __init__(
        self, jobs: Jobs, claim: Claim, *, lease_seconds: float, stop: threading.Event
    ) -> None:
        self._jobs = jobs
        self._claim = claim
        self._lease_seconds = lease_seconds
        self._stop = stop
        self._cancelled = claim.cancel_requested
        self._lost = False
        self._beaten_at = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def check(self) -> None:
        """Raises `LeaseLost`, `Cancelled` or `Interrupted` where the work must not go on."""
        # A process that was paused may come here before its first beat: nobody must write then.
        if self._lost or time.monotonic() - self._beaten_at > self._lease_seconds:
            raise LeaseLost(f"job {self._claim.job_id} is no longer ours")
        if self._cancelled:
            raise Cancelled
        if self._stop.is_set():
            raise Interrupted

    def _beat(self) -> None:
        seconds = min(self._lease_seconds / 3, _MOST_SECONDS_BETWEEN_BEATS)
        while not self._ended.wait(seconds):
            began = time.monotonic()
            try:
                self._cancelled = self._jobs.heartbeat(self._claim) or self._cancelled
                self._beaten_at = began
            except LeaseLost:
                self._lost = True
                return
            except (psycopg.Error, PoolTimeout) as error:
                _log.warning("the lease could not be extended", error=str(error))
