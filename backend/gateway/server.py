"""`loggia gateway`: one process, or several that share the port."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from types import FrameType

import uvloop

from backend.gateway.rate_limits import RateLimits
from backend.infra.logging import get_logger
from backend.infra.settings import Settings

_END_SECONDS = 15.0
_log = get_logger(__name__)


def run(settings: Settings) -> None:
    """Serves until SIGTERM. Raises `SystemExit` where the port is busy or a process dies."""
    rate_limits = RateLimits()
    if settings.gateway_workers == 1:
        _serve(settings, _listen(settings), rate_limits)
        return
    # The library keeps the values of all processes in this folder, if it is named at its import.
    with tempfile.TemporaryDirectory(prefix="loggia-gateway-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        _run_processes(settings, rate_limits)


def _serve(
    settings: Settings,
    listener: socket.socket,
    rate_limits: RateLimits,
    parent: int | None = None,
) -> None:
    from backend.gateway.worker import serve

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, listener, rate_limits, parent))


def _run_processes(settings: Settings, rate_limits: RateLimits) -> None:
    fork = multiprocessing.get_context("fork")
    alive, ours = os.pipe()

    def child(listener: socket.socket) -> None:
        os.close(ours)
        _serve(settings, listener, rate_limits, alive)

    processes: list[ForkProcess] = []
    for _ in range(settings.gateway_workers):
        # A socket each: the kernel spreads connections better than processes that compete.
        with _listen(settings) as listener:
            process = fork.Process(target=child, args=(listener,))
            process.start()
            processes.append(process)
    ending = False

    def end(_: int, __: FrameType | None) -> None:
        nonlocal ending
        ending = True
        for process in processes:
            process.terminate()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    wait([process.sentinel for process in processes])
    failed = not ending
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_END_SECONDS)
        process.kill()
    if failed:
        _log.error("a process of the gateway has ended unexpectedly")
        sys.exit(1)


def _listen(settings: Settings) -> socket.socket:
    address = (settings.host, settings.gateway_port)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if settings.gateway_workers > 1:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        sys.exit(
            f"The gateway cannot listen on {settings.host}:{settings.gateway_port} "
            f"({error.strerror}). Free the port, or set LOGGIA_GATEWAY_PORT."
        )
    return listener
