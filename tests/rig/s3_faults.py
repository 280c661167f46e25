"""A proxy before an S3 store that fails as stores and networks do: errors, silence, cut and
altered answers."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

# Decides about a request by method and path; returns the fault's name, or None for none.
Decide = Callable[[str, str], str | None]

_BYTES = 1 << 16


class FaultyStore:
    """Forwards to the store; `decide` says which requests meet which fault.

    `unavailable` answers 503; `silent` answers nothing until the proxy ends; `cut` hangs up within
    the answer's body; `short` sends fewer bytes than the object has, as if that were all;
    `refused upload` hangs up within the request's body; `wrong tag` alters the entity tag;
    `full` answers as a store without room does.
    """

    def __init__(self, endpoint: str, decide: Decide = lambda *_: None) -> None:
        parts = urlsplit(endpoint)
        self.decide = decide
        self.met: list[str] = []
        self.ended = threading.Event()
        proxy = self

        class Handler(_Handler):
            store = (str(parts.hostname), int(parts.port or 80))
            faults = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: tuple[str, int]
    faults: FaultyStore

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        if self.faults.ended.is_set():
            # A client that outlives the proxy must not go on with this connection.
            self.close_connection = True
            return
        fault = self.faults.decide(self.command, self.path)
        if fault is not None:
            self.faults.met.append(fault)
        if fault == "refused upload":
            self.rfile.read(1000)
            self.close_connection = True
            return
        body = self._body()
        if fault == "silent":
            self.faults.ended.wait(120)
            self.close_connection = True
        elif fault == "unavailable":
            self._answer(503, {}, _error("SlowDown"))
        elif fault == "full":
            self._answer(507, {}, _error("XMinioStorageFull"))
        else:
            self._forward(body, fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline() not in {b"\r\n", b""}:
                pass
            return body
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _forward(self, body: bytes, fault: str | None) -> None:
        connection = http.client.HTTPConnection(*self.store, timeout=60)
        headers = {
            k: v
            for k, v in self.headers.items()
            if k.lower() not in {"transfer-encoding", "connection", "expect"}
        }
        headers["content-length"] = str(len(body))
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in _OWN}
        connection.close()
        if fault == "wrong tag":
            kept = {k: '"0badc0de"' if k.lower() == "etag" else v for k, v in kept.items()}
        if fault == "short" and answer.status == 206:
            kept = {k: v for k, v in kept.items() if k.lower() != "content-length"}
            content = content[: len(content) // 2]
        length = answer.getheader("content-length") if self.command == "HEAD" else None
        if fault == "cut" and len(content) > 1:
            self._answer(answer.status, kept, content, sent=len(content) // 2)
            self.close_connection = True
        else:
            self._answer(answer.status, kept, content, length=length)

    def _answer(
        self,
        status: int,
        headers: dict[str, str],
        content: bytes,
        *,
        sent: int | None = None,
        length: str | None = None,
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:sent])
        self.wfile.flush()


_OWN = {"content-length", "transfer-encoding", "connection", "server", "date"}


def _error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
