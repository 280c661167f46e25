"""An HTTP server that answers byte by byte as a test says, as broken and hostile servers do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Asked:
    """One request: its path, and its headers by lower-case name."""

    method: str
    path: str
    headers: dict[str, str]


Answer = Callable[[Asked, socket.socket], None]


class AnsweringServer:
    """Calls `answer` for each request; the connection ends with it."""

    def __init__(self, answer: Answer, *, host: str = "127.0.0.1") -> None:
        self._answer = answer
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://{host}:{self.port}"
        self.asked: list[Asked] = []
        self.ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(65536)
                if not piece:
                    return
                head += piece
            first, *rest = head.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
            method, path, _ = first.split(" ", 2)
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in rest)}
            asked = Asked(method, path, headers)
            self.asked.append(asked)
            self._answer(asked, connection)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer; header names are written with underscores."""
    lines = {"content_length": str(len(body)), "connection": "close", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def says(*answers: bytes) -> Answer:
    """Gives the answers in turn, the last one for ever."""
    left = list(answers)

    def speak(_: Asked, connection: socket.socket) -> None:
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    return speak


def file_server(data: bytes, *, cut_after: list[int], etag: str | None = '"v1"') -> Answer:
    """Serves ranges of `data`; the n-th answer breaks off after the n-th number of bytes."""
    cuts = list(cut_after)

    def speak(asked: Asked, connection: socket.socket) -> None:
        headers = {"etag": etag} if etag else {}
        begin = 0
        status = "200 OK"
        wanted = asked.headers.get("range")
        if wanted and asked.headers.get("if-range") in {None, etag}:
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
            status = "206 Partial Content"
            headers["content_range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        whole = answer(status, data[begin:], **headers)
        cut = cuts.pop(0) if cuts else None
        head = len(whole) - len(data[begin:])
        connection.sendall(whole if cut is None else whole[: head + cut])

    return speak
