"""What runs in the containers of tests: a small model server with interfaces of its own.

It listens on $HOST:$PORT after $LOAD_SECONDS; `/classify` answers with the given text, the
greeting and a digest of the token. `/die` ends it. With MODE=die-at-load it ends before it listens.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/ready":
            self.answer(200, {})
        elif self.path == "/die":
            print("told to die", flush=True)
            os._exit(7)
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if path == "/classify":
            self.answer(
                200,
                {
                    "text": content.decode(),
                    "kind": self.headers.get("Content-Type"),
                    "path": self.path,
                    "greeting": os.environ.get("GREETING", ""),
                    "token": hashlib.sha256(os.environ.get("TOKEN", "").encode()).hexdigest(),
                    "authorization": self.headers.get("Authorization"),
                },
            )
        elif path == "/v1/completions":
            model = json.loads(content)["model"]
            self.answer(200, {"model": model, "choices": [{"text": "from a container"}]})
        else:
            self.answer(404, {"detail": "Not Found"})

    def answer(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing about requests."""


print("loading", flush=True)
time.sleep(float(os.environ.get("LOAD_SECONDS", "0")))
if os.environ.get("MODE") == "die-at-load":
    print("ValueError: no weights in this image", flush=True)
    sys.exit(3)
ThreadingHTTPServer(
    (os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])), Handler
).serve_forever()
