"""`loggia up` as a test uses it: free ports, a data folder of its own, the first password."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from backend.infra.settings import Settings
from tests.rig.ports import free_ports
from tests.rig.waiting import eventually

REPOSITORY = Path(__file__).resolve().parents[2]
PASSWORD_LINE = re.compile(r"First password:?\s+(\S+)")
READY_LINE = "Loggia is ready"


class RunningPlatform:
    """A supervisor with all its children. `start()` returns when the platform says it is ready.

    `administrator` and `password` sign in; the password is None after a start on old data.
    Extra environment variables go in `environment`; `module` is what to run instead of the real
    command.
    """

    administrator = "admin"

    def __init__(
        self,
        environment: dict[str, str] | None = None,
        module: tuple[str, ...] = ("backend.cli", "up"),
    ) -> None:
        self._module = module
        self.data_dir = Path(tempfile.mkdtemp(prefix="loggia-platform-"))
        self.data_dir.chmod(0o755)
        api, gateway, postgres, kafka = free_ports(4)
        self.url = f"http://127.0.0.1:{api}"
        self.gateway_url = f"http://127.0.0.1:{gateway}"
        self.bootstrap_servers = f"127.0.0.1:{kafka}"
        self.password: str | None = None
        self.process: subprocess.Popen[str] | None = None
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("LOGGIA_")},
            **{k: v for k, v in os.environ.items() if k == "LOGGIA_CACHE_DIR"},
            "PYTHONPATH": str(REPOSITORY),
            "LOGGIA_DATA_DIR": str(self.data_dir),
            "LOGGIA_PORT": str(api),
            "LOGGIA_GATEWAY_PORT": str(gateway),
            "LOGGIA_POSTGRES_PORT": str(postgres),
            "LOGGIA_KAFKA_PORT": str(kafka),
            **(environment or {}),
        }
        self._lines: list[str] = []
        self._reader: threading.Thread | None = None

    @property
    def output(self) -> str:
        """Everything the platform printed since the last start."""
        return "".join(self._lines)

    @property
    def dsn(self) -> str:
        """The embedded database, to look at what no interface shows."""
        password = (self.data_dir / "postgres.password").read_text().strip()
        port = self.environment["LOGGIA_POSTGRES_PORT"]
        return f"postgresql://loggia:{password}@127.0.0.1:{port}/loggia"

    @property
    def settings(self) -> Settings:
        """Database and topic, to look at them past every interface."""
        return Settings(
            _env_file=None,
            data_dir=self.data_dir,
            postgres_dsn=self.dsn,
            kafka_bootstrap_servers=self.bootstrap_servers,
        )

    def pid_of(self, role: str) -> int | None:
        """The process of a role, such as `work import`; None while there is none."""
        record = self.data_dir / "run" / "children" / f"{role.replace(' ', '-')}.json"
        try:
            return int(json.loads(record.read_text())["pid"])
        except (FileNotFoundError, ValueError):
            return None

    def launch(self) -> None:
        """Start it without waiting."""
        self._lines = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", *self._module],
            # Not the repository: a developer's .env file is no part of a test.
            cwd=self.data_dir,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, *, seconds: float = 90) -> None:
        """Start it and wait until it is ready. Raises AssertionError with its log otherwise."""
        self.launch()
        try:
            eventually(self._started, "the platform is ready", seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None
        shown = PASSWORD_LINE.search(self.output)
        if shown:
            self.password = shown.group(1)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = 30) -> int:
        """Ask it to stop; returns its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait(seconds=seconds)

    def wait(self, *, seconds: float = 30) -> int:
        """Wait until it ends by itself; returns its exit status."""
        assert self.process is not None
        assert self._reader is not None
        status = self.process.wait(timeout=seconds)
        self._reader.join(timeout=5)
        return status

    def kill(self) -> None:
        """kill -9 of the supervisor."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=10)

    def remove(self) -> None:
        """Stop what runs and delete the data."""
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        subprocess.run(
            [sys.executable, "-m", "backend.cli", "down"],
            cwd=self.data_dir,
            env=self.environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)

    def _started(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(
                f"`loggia up` ended with {self.process.returncode}:\n{self.output}"
            )
        return READY_LINE in self.output
