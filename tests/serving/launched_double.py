"""A double of an inference engine: a real process that speaks just enough of the OpenAI protocol.

What it does wrong is chosen on the command line, so that the launcher and the reconciler meet it
as they would meet an engine:
  die-at-load       ends with an error before it listens
  die-at-health     ends with an error when it is asked whether it is healthy
  never-healthy     listens, and answers 503 for ever
  hang              takes connections and never answers
  die-later         ends with status 7 when /die is called (any other mode does so too)
  ok                works

With an adapter rank it loads and unloads adapters as vLLM does; one whose files hold `refused` it
refuses, and one whose files hold `slow` takes two seconds.
With `--only-one` it does not start beside another one of the test, as if memory were short.

`/v1/completions` with `max_tokens` above 1 takes `max_tokens` tenths of a second. An adapter's
`number` differs from its base's by the effect.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

parser = argparse.ArgumentParser()
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--directory", required=True)
parser.add_argument("--mode", default="ok")
parser.add_argument("--load-seconds", type=float, default=0.0)
parser.add_argument("--only-one", action="store_true")
parser.add_argument("--label", default="")
parser.add_argument("--adapter")
parser.add_argument("--adapter-directory")
parser.add_argument("--effect", type=float, default=0.5)
parser.add_argument("--adapter-rank", type=int, default=0)
arguments = parser.parse_args()

running = 0
loaded: dict[str, str] = (
    {arguments.adapter: arguments.adapter_directory} if arguments.adapter else {}
)
hanging = threading.Event()
lock = threading.Lock()
loading = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if hanging.is_set() or arguments.mode == "hang":
            time.sleep(3600)
        if self.path == "/health" and arguments.mode == "die-at-health":
            print("RuntimeError: told to die at its health check", file=sys.stderr, flush=True)
            os._exit(5)
        if self.path == "/health":
            self.answer(503 if arguments.mode == "never-healthy" else 200, {})
        elif self.path == "/metrics":
            self.answer(200, {"running": running, "waiting": 0})
        elif self.path == "/v1/models":
            cards = [{"id": arguments.model, "root": arguments.directory, "parent": None}]
            cards += [{"id": n, "root": d, "parent": arguments.model} for n, d in loaded.items()]
            self.answer(200, {"data": cards})
        elif self.path == "/die":
            print("RuntimeError: told to die", file=sys.stderr, flush=True)
            os._exit(7)
        elif self.path == "/hang":
            self.answer(200, {})
            hanging.set()
        else:
            self.answer(404, {})

    def do_POST(self) -> None:
        global running
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if hanging.is_set() or arguments.mode == "hang":
            time.sleep(3600)
        if self.path.endswith("_lora_adapter"):
            self.change_adapters(body)
            return
        if body["model"] not in {arguments.model, *loaded}:
            self.answer(404, {"error": {"message": "no such model"}})
            return
        with lock:
            running += 1
        try:
            if body.get("stream"):
                self.stream(body["max_tokens"])
                return
            if body["max_tokens"] > 1:
                time.sleep(body["max_tokens"] / 10)
            self.answer(
                200,
                {
                    "choices": [{"text": f"revision {arguments.label}"}],
                    "number": arguments.effect if body["model"] in loaded else 0.0,
                    "usage": {"completion_tokens": body["max_tokens"]},
                },
            )
        finally:
            with lock:
                running -= 1

    def stream(self, tokens: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client has left
            for _ in range(tokens):
                self.wfile.write(b'data: {"choices": [{"text": "la"}]}\n\n')
                self.wfile.flush()
                time.sleep(0.1)
            self.wfile.write(b"data: [DONE]\n\n")

    def change_adapters(self, body: dict[str, Any]) -> None:
        name = body["lora_name"]
        if not arguments.adapter_rank:
            self.answer(404, {"detail": "Not Found"})
        elif self.path == "/v1/unload_lora_adapter":
            found = loaded.pop(name, None)
            self.answer(200 if found else 404, {"error": {"message": f"{name}?"}})
        else:
            with loading:
                status, answer = self.load_adapter(name, body)
            self.answer(status, answer)

    @staticmethod
    def load_adapter(name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if name in loaded and not body["load_inplace"]:
            return 400, {"error": {"message": f"{name} has already been loaded"}}
        if (Path(body["lora_path"]) / "refused").exists():
            return 500, {"error": {"message": "the shapes do not match"}}
        if (Path(body["lora_path"]) / "slow").exists():
            time.sleep(2)
        loaded[name] = body["lora_path"]
        return 200, {}

    def answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing about requests."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


print(f"loading {arguments.directory}", flush=True)
time.sleep(arguments.load_seconds)
if (Path(arguments.directory) / "broken").exists():
    print("ValueError: the model is broken", file=sys.stderr, flush=True)
    sys.exit(4)
if arguments.mode == "die-at-load":
    print("ValueError: the double was told to die while it loads", file=sys.stderr, flush=True)
    sys.exit(3)
if arguments.only_one:
    place = Path("../only-one.lock").open("a")  # noqa: SIM115 - held until the process ends
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("MemoryError: there is room for one double only", file=sys.stderr, flush=True)
        sys.exit(4)
print("serving", flush=True)
Server((arguments.host, arguments.port), Handler).serve_forever()
