"""The API as tests use it: in this process, or as a process of its own that may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import uvicorn

from backend.api.app import create_app
from backend.api.services import Services
from backend.application.commands import CommandContext, CommandRunner
from backend.application.store import EventStore
from backend.application.users import Users
from backend.domain.errors import NameTaken
from backend.infra.settings import Settings
from tests.rig.ports import free_port
from tests.rig.waiting import eventually

REPOSITORY = Path(__file__).resolve().parents[2]
ADMIN_PASSWORD = "correct horse battery staple"


def register(services: Services, username: str, role: str) -> None:
    """An account with the password of the tests."""
    services.users.register(
        CommandContext(actor="system"),
        username=username,
        password=ADMIN_PASSWORD,
        role_name=role,
    )


def register_admin(settings: Settings) -> None:
    """The account `admin`, where it is not there yet."""
    store = EventStore(settings, pool_size=1)
    try:
        Users(CommandRunner(store, settings.secret_key)).register(
            CommandContext(actor="system"),
            username="admin",
            password=ADMIN_PASSWORD,
            role_name="admin",
        )
    except NameTaken:
        pass
    finally:
        store.close()


class ApiServer:
    """In this process, in a thread of its own, on a free port."""

    def __init__(self, settings: Settings, web_folder: Path | None = None) -> None:
        self.settings = settings.model_copy(update={"port": free_port()})
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self._web_folder = web_folder

    def __enter__(self) -> Self:
        register_admin(self.settings)
        self.services = Services.open(self.settings)
        options = {} if self._web_folder is None else {"web_folder": self._web_folder}
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(self.services, **options),
                port=self.settings.port,
                log_level="warning",
                lifespan="on",
                timeout_graceful_shutdown=2,
            )
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        eventually(lambda: self._server.started, "the API is up")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.services.live.stop_soon()
        self._server.should_exit = True
        self._thread.join(timeout=15)
        assert not self._thread.is_alive()


class ApiProcess:
    """As `loggia api` runs it."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings = settings.model_copy(update={"port": free_port()})
        register_admin(self.settings)
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("LOGGIA_")},
            **{
                f"LOGGIA_{name.upper()}": str(value)
                for name, value in self.settings.model_dump(exclude_unset=True).items()
                if value is not None and name != "postgres_dsn"
            },
            "LOGGIA_POSTGRES_DSN": self.settings.dsn,
        }

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "backend.cli", "api"],
                cwd=REPOSITORY,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        eventually(self._ready, f"the API is ready, see {self.log}")

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=10)

    def stop(self, *, seconds: float = 15) -> int:
        """SIGTERM; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)

    def remove(self) -> None:
        """Ends it if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False
