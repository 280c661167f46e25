"""Forwards connections from one address to another, as a node's network would."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

_numbers = itertools.count(2)


def own_address() -> str:
    """An address of 127.0.0.0/8 that nobody else in this process was given."""
    number = next(_numbers)
    return f"127.{64 + os.getpid() % 128}.{number // 250}.{number % 250 + 2}"


def forward(address: tuple[str, int], to: Callable[[], tuple[str, int] | None]) -> socket.socket:
    """Listens at the address until the socket is closed; `to` is asked for each connection."""
    listener = socket.create_server(address, backlog=64)
    threading.Thread(target=_accept, args=(listener, to), daemon=True).start()
    return listener


def _accept(listener: socket.socket, to: Callable[[], tuple[str, int] | None]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        target = to()
        try:
            upstream = socket.create_connection(target, timeout=2) if target else None
        except OSError:
            upstream = None
        if upstream is None:
            client.close()
            continue
        upstream.settimeout(None)
        for source, sink in ((client, upstream), (upstream, client)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
