"""Engines whose machines vanish without a word, and engines that only take their time."""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from backend.gateway.limits import Limits
from tests.gateway.running import GatewayUnderTest

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
# Probes begin after five seconds and end after eleven.
NOTICED_SECONDS = 16
BUSY_SECONDS = 14
SO_ATTACH_FILTER = 26


@pytest.fixture
def gateway() -> Iterator[GatewayUnderTest]:
    gateway = GatewayUnderTest(Limits(connect_seconds=1, drain_seconds=1, wait_seconds=0.5))
    gateway.http.timeout = httpx.Timeout(60)
    gateway.start()
    yield gateway
    gateway.stop()


def vanish(connection: socket.socket) -> None:
    """From now on every packet for this end is dropped and nothing is answered."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(drop_all))
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def take(connection: socket.socket) -> None:
    """Reads one request."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(65_536)
    head, _, body = head.partition(b"\r\n\r\n")
    (length,) = (
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    left = length - len(body)
    while left > 0:
        left -= len(connection.recv(65_536))


def while_it_works(listener: socket.socket, ended: threading.Event) -> None:
    connection, _ = listener.accept()
    with connection:
        take(connection)
        vanish(connection)
        listener.close()
        ended.wait(60)


def between_two_requests(listener: socket.socket, ended: threading.Event) -> None:
    connection, _ = listener.accept()
    with connection:
        take(connection)
        # Before the gateway can send the second one.
        vanish(connection)
        connection.sendall(ANSWER)
        listener.close()
        ended.wait(60)


def not_at_all(listener: socket.socket, _: threading.Event) -> None:
    time.sleep(BUSY_SECONDS)
    connection, _ = listener.accept()
    with connection:
        take(connection)
        connection.sendall(ANSWER)


Behaviour = Callable[[socket.socket, threading.Event], None]
LARGE = "x" * 1_000_000


def test_a_machine_that_vanishes_is_noticed_and_a_busy_engine_is_waited_for(
    gateway: GatewayUnderTest,
) -> None:
    ended = threading.Event()

    def ask(behaviour: Behaviour, user: str) -> tuple[int, float]:
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=behaviour, args=(listener, ended), daemon=True).start()
        model_id = gateway.model()
        gateway.deploy(model_id, f"http://127.0.0.1:{listener.getsockname()[1]}")
        key = gateway.key(model_id)
        if behaviour is between_two_requests:
            assert gateway.chat(key).status_code == 200
        began = time.monotonic()
        return gateway.chat(key, user=user).status_code, time.monotonic() - began

    cases = (
        (while_it_works, "small"),
        (while_it_works, LARGE),
        (between_two_requests, "small"),
        (not_at_all, LARGE),
    )
    try:
        with ThreadPoolExecutor(len(cases)) as threads:
            *vanished, busy = threads.map(lambda case: ask(*case), cases)
    finally:
        ended.set()
    assert {status for status, _ in vanished} <= {502, 503}
    assert max(seconds for _, seconds in vanished) < NOTICED_SECONDS
    status, seconds = busy
    assert (status, seconds > BUSY_SECONDS - 1) == (200, True)
