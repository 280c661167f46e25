"""A FAKE of a Docker engine, for tests of the launcher: it speaks the engine's HTTP API over a
unix socket, and runs containers as processes of this machine.

An image is a name with a command. Each container gets an address of its own in 127.0.0.0/8, which
its environment tells it as HOST; published ports of 127.0.0.1 forward to it. Nothing is isolated.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import socketserver
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

from tests.rig.forwarding import forward, own_address

JSON = dict[str, Any]

_PATH = re.compile(r"(?:/v1\.\d+)?(/.*)")


@dataclass
class _Container:
    id: str
    name: str
    configuration: JSON
    words: list[str]
    log: Path
    address: str
    process: subprocess.Popen[bytes] | None = None
    started_at: datetime = field(default_factory=partial(datetime.now, UTC))
    ports: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    listeners: list[socket.socket] = field(default_factory=list)

    @property
    def state(self) -> JSON:
        code = self.process.poll() if self.process else None
        running = self.process is not None and code is None
        status = "created" if self.process is None else "running" if running else "exited"
        killed = code is not None and code < 0
        return {
            "Status": status,
            "Running": running,
            "ExitCode": (128 - code if killed else code) if code is not None else 0,
            "OOMKilled": False,
            "StartedAt": f"{self.started_at:%Y-%m-%dT%H:%M:%S}.123456789Z",
            "Error": "",
        }

    def described(self) -> JSON:
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "State": self.state,
            "Config": {
                "Tty": False,
                "Image": self.configuration["Image"],
                "Labels": self.configuration.get("Labels") or {},
                "Env": self.configuration.get("Env") or [],
            },
            "HostConfig": self.configuration["HostConfig"],
            "NetworkSettings": {"Ports": self.ports if self.state["Running"] else {}},
        }


class Refused(Exception):
    """The fake answers with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class FakeDocker:
    """The state; `images` are those of registries, `accounts` what some of them ask for."""

    def __init__(self, folder: Path, images: Mapping[str, Sequence[str]]) -> None:
        self.folder = folder
        self.images = dict(images)
        self.present: set[str] = set()
        self.accounts: dict[str, tuple[str, str]] = {}
        self.logins: list[tuple[str, str] | None] = []
        self.containers: dict[str, _Container] = {}
        self.lock = threading.RLock()

    def processes(self) -> list[int]:
        """The process ids of running containers."""
        return [c.process.pid for c in self.containers.values() if c.process and c.state["Running"]]

    def close(self) -> None:
        """Ends every container."""
        for name in list(self.containers):
            with suppress(Refused):
                self.remove(name)

    def pull(self, image: str, account: tuple[str, str] | None) -> list[JSON]:
        self.logins.append(account)
        if image not in self.images:
            return [{"error": f"manifest for {image} not found"}]
        if self.accounts.get(image, account) != account:
            return [{"error": "unauthorized: authentication required"}]
        time.sleep(0.3)
        self.present.add(image)
        return [{"status": "Pulling"}, {"status": "Download complete"}]

    def create(self, name: str, configuration: JSON) -> JSON:
        with self.lock:
            if any(each.name == name for each in self.containers.values()):
                raise Refused(409, f"The container name /{name} is already in use")
            image = configuration["Image"]
            if image not in self.present:
                raise Refused(404, f"No such image: {image}")
            entrypoint = configuration.get("Entrypoint") or self.images[image]
            made = _Container(
                id=uuid4().hex * 2,
                name=name,
                configuration=configuration,
                words=[*entrypoint, *(configuration.get("Cmd") or [])],
                log=self.folder / f"{name}.log",
                address=own_address(),
            )
            self.containers[made.id] = made
            return {"Id": made.id, "Warnings": []}

    def find(self, name: str) -> _Container:
        for each in self.containers.values():
            if name in {each.id, each.name}:
                return each
        raise Refused(404, f"No such container: {name}")

    def start(self, name: str) -> None:
        container = self.find(name)
        if container.state["Running"]:
            return
        container.started_at = datetime.now(UTC)
        given = dict(pair.partition("=")[::2] for pair in container.configuration["Env"] or [])
        with container.log.open("ab") as log:
            container.process = subprocess.Popen(
                container.words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOST": container.address, **given},
            )
        for port, bindings in container.configuration["HostConfig"]["PortBindings"].items():
            inside = (container.address, int(port.partition("/")[0]))
            listener = forward((bindings[0]["HostIp"], 0), partial(_same, inside))
            container.listeners.append(listener)
            container.ports[port] = [
                {"HostIp": bindings[0]["HostIp"], "HostPort": str(listener.getsockname()[1])}
            ]

    def stop(self, name: str, seconds: int) -> None:
        container = self.find(name)
        if container.process is not None and container.state["Running"]:
            container.process.send_signal(signal.SIGTERM)
            try:
                container.process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                container.process.kill()
                container.process.wait()

    def remove(self, name: str) -> None:
        container = self.find(name)
        self.stop(name, 2)
        for listener in container.listeners:
            listener.close()
        del self.containers[container.id]

    def log_of(self, name: str) -> bytes:
        """As Docker sends it: frames with the stream's number and a length."""
        path = self.find(name).log
        if not path.exists():
            return b""
        moment = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        frames = b""
        for number, line in enumerate(path.read_text().splitlines()):
            content = f"{moment:%Y-%m-%dT%H:%M:%S}.{number:09d}Z {line}\n".encode()
            frames += struct.pack(">BxxxL", 1, len(content)) + content
        return frames


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def address_string(self) -> str:
        return "unix"

    def _answer(self) -> None:
        address = urlsplit(self.path)
        found = _PATH.fullmatch(address.path)
        path = unquote(found.group(1)) if found else "/"
        query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        try:
            status, answer = self._route(path, query)
        except Refused as refusal:
            status, answer = refusal.status, {"message": str(refusal)}
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(answer, bytes) else "application/json"
        self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if status != 204:
            self.wfile.write(content)

    def _route(self, path: str, query: Mapping[str, str]) -> tuple[int, Any]:
        docker, parts = self.server.docker, path.strip("/").split("/")
        match self.command, parts:
            case "GET", ["version"]:
                return 200, {"ApiVersion": "1.47", "MinAPIVersion": "1.24", "Version": "fake"}
            case "POST", ["images", "create"]:
                image = _reference(query)
                lines = docker.pull(image, self._account())
                return 200, b"".join(json.dumps(line).encode() + b"\r\n" for line in lines)
            case "GET", ["images", *name, "json"]:
                if "/".join(name) not in docker.present:
                    raise Refused(404, f"No such image: {'/'.join(name)}")
                return 200, {"Id": "sha256:0"}
            case "POST", ["containers", "create"]:
                return 201, docker.create(query["name"], self._body())
            case "GET", ["containers", "json"]:
                (wanted,) = json.loads(query["filters"])["label"]
                name, _, value = wanted.partition("=")
                return 200, [
                    {"Id": each.id, "Labels": each.configuration["Labels"]}
                    for each in docker.containers.values()
                    if (each.configuration["Labels"] or {}).get(name) == value
                ]
            case "GET", ["containers", name, "json"]:
                return 200, docker.find(name).described()
            case "GET", ["containers", name, "logs"]:
                return 200, docker.log_of(name)
            case "POST", ["containers", name, "start"]:
                self._body()
                docker.start(name)
                return 204, {}
            case "POST", ["containers", name, "stop"]:
                docker.stop(name, int(query.get("t", "10")))
                return 204, {}
            case "DELETE", ["containers", name]:
                docker.remove(name)
                return 204, {}
            case _:
                raise Refused(404, f"the fake knows no {self.command} {path}")

    def _account(self) -> tuple[str, str] | None:
        given = self.headers.get("X-Registry-Auth")
        login = json.loads(base64.urlsafe_b64decode(given)) if given else {}
        if not login.get("username"):
            return None
        return login["username"], login["password"]

    def _body(self) -> JSON:
        found: JSON = json.loads(
            self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}"
        )
        return found

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing about requests."""


def _same(address: tuple[str, int]) -> tuple[str, int]:
    return address


def _reference(query: Mapping[str, str]) -> str:
    tag = query.get("tag", "")
    separator = "@" if tag.startswith("sha256:") else ":"
    return f"{query['fromImage']}{separator}{tag}" if tag else query["fromImage"]


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: Path, docker: FakeDocker) -> None:
        super().__init__(str(path), _Handler)
        self.docker = docker

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


@contextmanager
def fake_docker(
    socket_path: Path, folder: Path, images: Mapping[str, Sequence[str]]
) -> Iterator[FakeDocker]:
    """A fake engine at a socket, with these images in its registries."""
    docker = FakeDocker(folder, images)
    server = _Server(socket_path, docker)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield docker
    finally:
        server.shutdown()
        server.server_close()
        docker.close()
