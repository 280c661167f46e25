"""Sockets to engines, which notice that the machine at the other end has gone without a word."""

from __future__ import annotations

import socket

import aiohttp

# While an answer is waited for: probes after five seconds of silence, and the end after eleven.
_PROBES = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
# For what was sent and is not taken, in milliseconds. The kernel counts an engine that is there but
# does not read as well, and engines that work on one request after the other may not for minutes.
_NOT_TAKEN = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)
# So much the machine takes before the engine has read anything.
TAKEN_UNREAD = 32 * 1024


def open_watched(address: aiohttp.AddrInfoType) -> socket.socket:
    """For requests of up to `TAKEN_UNREAD` bytes."""
    return _opened(address, (*_PROBES, _NOT_TAKEN))


def open_patient(address: aiohttp.AddrInfoType) -> socket.socket:
    """For larger ones, which may wait for the engine to read them."""
    return _opened(address, _PROBES)


def _opened(
    address: aiohttp.AddrInfoType, options: tuple[tuple[int, int, int], ...]
) -> socket.socket:
    family, kind, protocol, _, _ = address
    opened = socket.socket(family, kind, protocol)
    try:
        for option in options:
            opened.setsockopt(*option)
    except OSError:
        opened.close()
        raise
    return opened
