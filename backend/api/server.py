"""The process that serves the API."""

from __future__ import annotations

import signal
from types import FrameType

import uvicorn

from backend.api.app import create_app
from backend.api.services import Services
from backend.infra.settings import Settings

_STOP_SECONDS = 3


class _Server(uvicorn.Server):
    """Ends the event streams as soon as it is told to stop, so that they delay nothing."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or Ctrl-C."""
        self._services.live.stop_soon()
        super().handle_exit(sig, frame)


def run(settings: Settings) -> None:
    """Serves until told to stop; then requests get three seconds."""
    services = Services.open(settings)
    config = uvicorn.Config(
        create_app(services),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        # Only for signing in: guesses are counted by address.
        proxy_headers=settings.trusted_proxies is not None,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_STOP_SECONDS,
        backlog=1024,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        # The server raises the signal again when it has ended: nothing is left to be done then.
        signal.signal(number, lambda *_: None)
    _Server(config, services).run()
