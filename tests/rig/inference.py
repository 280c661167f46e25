"""Doubles of inference servers that run already: real sockets, and just enough of the protocols."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.rig.ports import free_port


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


class HttpDouble:
    """Answers JSON from `answers` by path; with a key, only to those who send it."""

    def __init__(self, *, key: str | None = None) -> None:
        self.key = key
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        # Path and Authorization header of every request.
        self.asked: list[tuple[str, str | None]] = []
        self.connections: list[socket.socket] = []
        self._server: _Server | None = None
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and JSON of one answer."""
        raise NotImplementedError

    def start(self) -> None:
        """Listens on its port, again where it has been stopped."""
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                double.connections.append(self.connection)

            def do_GET(self) -> None:
                self._handle(None)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self._handle(json.loads(self.rfile.read(length) or b"null"))

            def _handle(self, body: Any) -> None:
                sent = self.headers.get("Authorization")
                double.asked.append((self.path, sent))
                status, answer = 401, {"error": "no key"}
                if double.key is None or sent == f"Bearer {double.key}":
                    status, answer = double.answer(self.path, body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing about requests."""

        self._server = _Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Disappears, with every connection."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        while self.connections:
            with suppress(OSError):
                self.connections.pop().shutdown(socket.SHUT_RDWR)


class VllmDouble(HttpDouble):
    """vLLM's server with models by name; completions say which server they come from."""

    def __init__(self, *models: str, key: str | None = None, version: str = "0.32.0") -> None:
        self.models = list(models)
        self.version = version
        self.running = 0
        super().__init__(key=key)

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "/health":
            return 200, {}
        if path == "/version":
            return 200, {"version": self.version}
        if path == "/v1/models":
            return 200, {"object": "list", "data": [{"id": name} for name in self.models]}
        if path == "/metrics":
            return 200, {"running": self.running, "waiting": 0}
        if path == "/v1/completions" and body["model"] in self.models:
            tokens = body.get("max_tokens", 1)
            return 200, {
                "choices": [{"text": f"from {self.port}"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": tokens},
            }
        return 404, {"detail": "Not Found"}


class TritonDouble(HttpDouble):
    """Triton's server with explicit model control: HTTP for health, gRPC for the repository."""

    def __init__(self, *repository: str, key: str | None = None) -> None:
        self.repository = list(repository)
        self.loaded: set[str] = set()
        self.loads: list[str] = []
        self.grpc_address = f"127.0.0.1:{free_port()}"
        self._grpc: grpc.Server | None = None
        super().__init__(key=key)

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "/v2":
            extensions = ["model_repository", "statistics"]
            return 200, {"name": "triton", "version": "2.51.0", "extensions": extensions}
        if path == "/v2/health/ready":
            return 200, {}
        name = path.removeprefix("/v2/models/").removesuffix("/ready")
        return (200, {}) if name in self.loaded else (400, {"error": "no such model"})

    def start(self) -> None:
        super().start()
        double = self

        class Repository(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
            def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
                return service_pb2.ModelReadyResponse(ready=request.name in double.loaded)

            def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
                double.check(context)
                if request.model_name not in double.repository:
                    context.abort(
                        grpc.StatusCode.INVALID_ARGUMENT,
                        f"failed to load '{request.model_name}', no version is available",
                    )
                double.loaded.add(request.model_name)
                double.loads.append(request.model_name)
                return service_pb2.RepositoryModelLoadResponse()

            def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802
                double.check(context)
                double.loaded.discard(request.model_name)
                return service_pb2.RepositoryModelUnloadResponse()

        self._grpc = grpc.server(ThreadPoolExecutor(4))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Repository(), self._grpc)
        self._grpc.add_insecure_port(self.grpc_address)
        self._grpc.start()

    def check(self, context: Any) -> None:
        """Refuses those who do not send the key."""
        sent = dict(context.invocation_metadata()).get("authorization")
        if self.key is not None and sent != f"Bearer {self.key}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no key")

    def stop(self) -> None:
        super().stop()
        if self._grpc is not None:
            self._grpc.stop(None).wait(5)
            self._grpc = None
