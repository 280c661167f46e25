"""A worker that dies or sleeps in the middle of an import, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.importing.workplace import Site
from tests.rig.waiting import eventually


class WorkerProcess:
    """The executor of another process, on the same database and store."""

    def __init__(self, site: Site, log: Path, **environment: str) -> None:
        self.log = log
        self._out = log.open("w")
        settings = site.settings
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.importing.worker_process"],
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("LOGGIA_")},
                "LOGGIA_DATA_DIR": str(settings.data_dir),
                "LOGGIA_POSTGRES_DSN": settings.dsn,
                "LOGGIA_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
                # Short: others wait for what a killed worker has left.
                "LOGGIA_JOB_LEASE_SECONDS": "2",
                "LOGGIA_FETCH_ALLOWED_NETWORKS": settings.fetch_allowed_networks,
                **environment,
            },
            stdout=self._out,
            stderr=subprocess.STDOUT,
        )

    def says(self, words: str) -> None:
        eventually(lambda: words in self.log.read_text(), f"the worker says '{words}'")

    def paused(self) -> None:
        process = psutil.Process(self.process.pid)
        eventually(lambda: process.status() == psutil.STATUS_STOPPED, "the worker sleeps")

    def died(self) -> int:
        return self.process.wait(timeout=60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._out.close()


# Starts one with the environment variables given.
OtherWorker = Callable[..., WorkerProcess]
