"""Ports that nobody listens on."""

from __future__ import annotations

import itertools
import os
import random
import socket
from contextlib import ExitStack, suppress

# Above those that systems give to connections that go out: one of these may take a port in the
# moment before its listener does. Each process of a parallel run has a part of its own.
_FIRST, _EACH, _PARTS = 61_000, 1_000, 4
_PART = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PARTS
_START = random.SystemRandom().randrange(_EACH)
_PORTS = itertools.cycle(_FIRST + _PART * _EACH + (_START + n) % _EACH for n in range(_EACH))


def free_ports(count: int) -> list[int]:
    """Different free loopback ports, held together while they are chosen."""
    with ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            probe = stack.enter_context(socket.socket())
            port = next(_PORTS)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
        return found


def free_port() -> int:
    return free_ports(1)[0]
