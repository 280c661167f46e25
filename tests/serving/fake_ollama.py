"""A fake Ollama: speaks the parts of its HTTP API that Loggia uses, and checks what it is sent.

It keeps blobs by digest and refuses content that is not what its digest says. It makes models only
from blobs that it has, checks a create request's fields strictly, and answers the OpenAI routes for
models that it has made. `FROM` names in `LIBRARY` can be pulled.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LIBRARY = {"llama3.2"}
TOKEN = "an-ollama-token"
_CREATE = {
    "model": str, "stream": bool, "files": dict, "from": str, "adapters": dict, "template": str,
    "system": str, "parameters": dict, "license": list, "messages": list,
}  # fmt: skip


class FakeOllama(ThreadingHTTPServer):
    """What it has been sent and holds: `models` by name, with the request that made each."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.uploads: list[str] = []
        self.models: dict[str, dict[str, Any]] = {}
        self.loaded: set[str] = set()
        self.pulled: set[str] = set()
        self.removed: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.cancelled = threading.Event()
        self.says_no: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def fake_ollama() -> Iterator[FakeOllama]:
    """One that answers until the block ends."""
    server = FakeOllama()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeOllama

    def do_HEAD(self) -> None:
        if self._allowed():
            known = self.path.removeprefix("/api/blobs/") in self.server.blobs
            self._answer(200 if known else 404, None)

    def do_GET(self) -> None:
        if not self._allowed():
            return
        if self.path == "/api/version":
            self._answer(200, {"version": "0.12.3"})
        elif self.path == "/api/tags":
            names = [{"name": f"{name}:latest"} for name in self.server.models]
            self._answer(200, {"models": names})
        else:
            self._answer(404, {"error": "not found"})

    def do_DELETE(self) -> None:
        if not self._allowed():
            return
        name = self._json()["model"]
        found = self.server.models.pop(name, None)
        self.server.loaded.discard(name)
        if found is not None:
            self.server.removed.append(name)
        self._answer(200 if found is not None else 404, {"error": "model not found"})

    def do_POST(self) -> None:
        if not self._allowed():
            return
        if self.path.startswith("/api/blobs/"):
            self._take_blob(self.path.removeprefix("/api/blobs/"))
            return
        body = self._json()
        routes = {
            "/api/create": self._create,
            "/api/show": self._show,
            "/api/pull": self._pull,
            "/api/generate": self._load,
            "/api/embed": self._load,
            "/v1/chat/completions": self._complete,
            "/v1/completions": self._complete,
            "/v1/embeddings": self._complete,
        }
        routes[self.path](body)

    def _take_blob(self, digest: str) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            self._answer(400, {"error": "digest mismatch"})
            return
        self.server.blobs[digest] = content
        self.server.uploads.append(digest)
        self._answer(201, None)

    def _create(self, body: dict[str, Any]) -> None:
        odd = [n for n, v in body.items() if n not in _CREATE or not isinstance(v, _CREATE[n])]
        named = [*body.get("files", {}).values(), *body.get("adapters", {}).values()]
        if odd or ("files" in body) == ("from" in body):
            self._answer(400, {"error": f"neither files nor from, or odd fields {odd}"})
        elif any(digest not in self.server.blobs for digest in named):
            self._answer(400, {"error": "a blob is missing"})
        elif "from" in body and body["from"] not in self.server.pulled:
            self._answer(404, {"error": f"model '{body['from']}' not found"})
        elif self.server.says_no:
            self._stream([{"status": "parsing GGUF"}, {"error": self.server.says_no}])
        else:
            self.server.models[body["model"]] = body
            steps = ("parsing GGUF", "writing manifest", "success")
            self._stream([{"status": step} for step in steps])

    def _show(self, body: dict[str, Any]) -> None:
        known = body["model"] in self.server.models or body["model"] in self.server.pulled
        self._answer(200 if known else 404, {"error": f"model '{body['model']}' not found"})

    def _pull(self, body: dict[str, Any]) -> None:
        if body["model"] not in LIBRARY:
            self._stream(
                [{"status": "pulling manifest"}, {"error": "pull model manifest: no such"}]
            )
            return
        self.server.pulled.add(body["model"])
        done = {"status": "pulling", "total": 10, "completed": 10}
        self._stream([{"status": "pulling manifest"}, done, {"status": "success"}])

    def _load(self, body: dict[str, Any]) -> None:
        if body["model"] not in self.server.models or body["keep_alive"] != -1:
            self._answer(404, {"error": "model not found"})
            return
        self.server.loaded.add(body["model"])
        self._answer(200, {"model": body["model"], "done": True})

    def _complete(self, body: dict[str, Any]) -> None:
        self.server.asked.append(body)
        if body["model"] not in self.server.loaded:
            self._answer(404, {"error": {"message": "model not found"}})
        elif self.path == "/v1/embeddings":
            self._answer(200, {"model": body["model"], "data": [{"embedding": [0.5, 0.25]}]})
        elif body.get("stream"):
            self._stream_tokens(body)
        else:
            if (tokens := body.get("max_tokens", 1)) > 1:
                time.sleep(tokens / 10)
            usage = {"prompt_tokens": 1, "completion_tokens": tokens}
            choice = {"text": "hello", "message": {"role": "assistant", "content": "hello"}}
            self._answer(200, {"model": body["model"], "choices": [choice], "usage": usage})

    def _stream_tokens(self, body: dict[str, Any]) -> None:
        self._begin("text/event-stream")
        try:
            for _ in range(body.get("max_tokens", 1)):
                chunk = {"model": body["model"], "choices": [{"text": "la", "delta": {}}]}
                self._piece(f"data: {json.dumps(chunk)}\n\n".encode())
                time.sleep(0.05)
            self._piece(b"data: [DONE]\n\n")
            self._piece(b"")
        except OSError:
            self.server.cancelled.set()

    def _stream(self, steps: list[dict[str, Any]]) -> None:
        self._begin("application/x-ndjson")
        for step in steps:
            self._piece(json.dumps(step).encode() + b"\n")
        self._piece(b"")

    def _begin(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _piece(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def _allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._answer(401, {"error": "unauthorized"})
        return False

    def _json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def _answer(self, status: int, body: Any) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing about requests."""
