"""Whether the ports are free, told before anything starts."""

import contextlib
import errno
import socket
from dataclasses import dataclass

import psutil

from backend.embedded.errors import EmbeddedError


@dataclass(frozen=True, slots=True)
class Port:
    """A port Loggia listens on, what for, and the setting that moves it."""

    number: int
    purpose: str
    variable: str
    host: str = "127.0.0.1"


def problem_with(port: Port) -> str | None:
    """Why a port cannot be used, or None when it can."""
    if not 1 <= port.number <= 65535:
        return f"{port.variable}={port.number} is no port number ({port.purpose})"
    family = socket.AF_INET6 if ":" in port.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections of an earlier run that linger in TIME_WAIT keep nobody from listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.host, port.number))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"port {port.number} ({port.purpose}) is in use{_by_whom(port.number)}"
            return f"port {port.number} ({port.purpose}) cannot be used: {error.strerror}"
    return None


def require_free(ports: list[Port]) -> None:
    """Raises EmbeddedError naming every port that is taken and the setting that moves it."""
    problems: list[tuple[str, Port]] = []
    seen: dict[int, Port] = {}
    for port in ports:
        if port.number in seen:
            other = seen[port.number]
            problems.append((f"{other.variable} and {port.variable} are both {port.number}", port))
        elif problem := problem_with(port):
            problems.append((problem, port))
        seen.setdefault(port.number, port)
    if problems:
        settings = " ".join(f"{port.variable}={port.number + 100}" for _, port in problems)
        raise EmbeddedError(
            "; ".join(problem for problem, _ in problems),
            f"stop what uses it, or choose another port, for example: {settings}",
        )


def _by_whom(number: int) -> str:
    """ " by NAME (pid N)" as far as this user may know."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == number:
                if connection.pid is None:
                    break
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""
