"""A web server for tests: it offers what a test puts in, and counts who asked for what."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

# Of a slow file, after its first half.
_DROP_BYTES = 64
_DROP_SECONDS = 0.05


class Web:
    """Files by path, `/` before each. `tokens` are asked for where there are any.

    The second half of the `slow` files comes in drops, until `hurry` is set.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        self.seen: list[str] = []
        self.slow: set[str] = set()
        self.hurry = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                """Tests say what they want to know."""

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def _answer(self, *, with_body: bool) -> None:
                web.seen.append(f"{self.command} {self.path}")
                token = self.headers.get("authorization", "").removeprefix("Bearer ")
                content = web.files.get(self.path)
                if web.tokens and token not in web.tokens:
                    status, content = 401, b""
                else:
                    status, content = (200, content) if content is not None else (404, b"")
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                if with_body:
                    self._send(content)

            def _send(self, content: bytes) -> None:
                sent = len(content) // 2 if self.path in web.slow else len(content)
                self.wfile.write(content[:sent])
                while sent < len(content):
                    more = len(content) if web.hurry.wait(_DROP_SECONDS) else _DROP_BYTES
                    self.wfile.write(content[sent : sent + more])
                    sent += more

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, path: str, content: bytes) -> str:
        """Offers a file; returns its address."""
        self.files[path] = content
        return self.url + path
