"""A role as a process of its own, to be killed, frozen and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from backend.infra.failpoints import VARIABLE
from backend.infra.settings import Settings
from tests.rig.waiting import eventually

REPOSITORY = Path(__file__).resolve().parents[2]


class RoleProcess:
    """`loggia ROLE` on the parts that the settings name; its log goes to the data folder."""

    def __init__(self, settings: Settings, *role: str, failpoints: str = "") -> None:
        self._settings = settings
        self._role = role
        self._failpoints = failpoints
        settings.data.mkdir(parents=True, exist_ok=True)
        self.log = settings.data / f"{'-'.join(role)}-{id(self)}.log"
        self._ready_file = self.log.with_suffix(".ready")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> RoleProcess:
        """Starts it without waiting."""
        self._ready_file.unlink(missing_ok=True)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LOGGIA_")},
            "LOGGIA_DATA_DIR": str(self._settings.data),
            "LOGGIA_POSTGRES_DSN": self._settings.dsn,
            "LOGGIA_KAFKA_BOOTSTRAP_SERVERS": ",".join(self._settings.bootstrap_servers),
            "LOGGIA_READY_FILE": str(self._ready_file),
            VARIABLE: self._failpoints,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "backend.cli", *self._role],
                cwd=REPOSITORY,
                env=environment,
                stdout=log,
                stderr=log,
            )
        return self

    def wait_until_ready(self) -> RoleProcess:
        """Waits until it has announced that it works."""
        eventually(self._ready_file.exists, f"{self._role} is ready, see {self.log}", seconds=60)
        return self

    def wait_until_dead(self) -> int:
        """Waits until it has ended; the signal that killed it, as a negative number."""
        assert self.process is not None
        return self.process.wait(timeout=60)

    def is_dead(self) -> bool:
        """Whether it has ended."""
        return self.process is None or self.process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9, also of a frozen one."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=10)
