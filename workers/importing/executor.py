"""Claims import jobs and carries them out, a few at a time."""

from __future__ import annotations

import os
import socket
import threading

import psycopg
from psycopg_pool import PoolTimeout

from backend.application.store import StoreUnavailable
from backend.infra import dry_runs
from backend.infra.jobs import CHANNEL, Claim, LeaseLost
from backend.infra.logging import get_logger
from backend.infra.postgres import connect
from backend.infra.stored_bytes import IMPORT
from workers.importing.dry_run import DryRun
from workers.importing.job import ImportJob, Workplace
from workers.importing.lease import Interrupted, Lease
from workers.importing.residue import CLEANUP

_POLL_SECONDS = 1.0
_MOST_BACKOFF_SECONDS = 30.0

_log = get_logger(__name__)


class Executor:
    """Threads that take one job after the other until `stop` is set."""

    def __init__(
        self, place: Workplace, *, dsn: str, stop: threading.Event, threads: int = 2
    ) -> None:
        self._place = place
        self._dsn = dsn
        self._stop = stop
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"import-{number}")
            for number in range(threads)
        ]

    def start(self) -> None:
        """Begins to work."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Waits until every thread has given its job back or ended it."""
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        worker = f"{socket.gethostname()}/{os.getpid()}/{number}"
        while not self._stop.is_set():
            try:
                with connect(self._dsn) as listener:
                    listener.execute(f"LISTEN {CHANNEL}")
                    while not self._stop.is_set():
                        if not self.run_one(worker):
                            # Expired leases make no sound: look again after a while.
                            for _ in listener.notifies(timeout=_POLL_SECONDS, stop_after=1):
                                pass
            except (psycopg.Error, PoolTimeout, StoreUnavailable) as error:
                _log.warning("the database does not answer", error=str(error))
                self._stop.wait(_POLL_SECONDS)

    def run_one(self, worker: str) -> bool:
        """Carries out one job; False where there was none."""
        claims = (self._place.jobs.claim(kind, worker) for kind in (IMPORT, CLEANUP, dry_runs.KIND))
        claim = next(filter(None, claims), None)
        if claim is None:
            return False
        _log.info("job claimed", job=str(claim.job_id), kind=claim.kind, attempt=claim.attempt)
        with Lease(
            self._place.jobs, claim, lease_seconds=self._place.lease_seconds, stop=self._stop
        ) as lease:
            try:
                job = DryRun if claim.kind == dry_runs.KIND else ImportJob
                job(self._place, claim, lease).run()
            except Interrupted:
                self._place.jobs.release(claim)
            except LeaseLost as lost:
                _log.warning("job given up", reason=str(lost))
            except Exception as error:
                _log.exception("job broke off", job=str(claim.job_id), error=repr(error))
                self._back_off(claim)
        return True

    def _back_off(self, claim: Claim) -> None:
        """Keeps the job for a while, so that a fault that lasts does not spin, then gives it up."""
        self._stop.wait(min(2.0 ** (claim.attempt - 1), _MOST_BACKOFF_SECONDS))
        try:
            self._place.jobs.release(claim)
        except LeaseLost:
            return
