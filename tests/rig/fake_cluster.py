"""A FAKE of a Kubernetes API server, for tests of the launcher: no cluster stands behind it.

It speaks the API's HTTP over a real socket, so that the real client is used as it is: objects with
resource versions, `409` for names that are taken and for preconditions that fail, label selectors,
watches as streams of JSON lines that resume at a version, and `410` for versions it has forgotten.
What is posted is checked against the vendored schemas, as a real server would. Pods are run by
`fake_nodes`. There is no admission, no role and no controller but the few that are needed.
"""

from __future__ import annotations

import copy
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import yaml

from tests.rig.kubernetes_schemas import problems

JSON = dict[str, Any]

NAMESPACE = "models"
TOKEN = "fake-token"
_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+/[^/]+))/namespaces/(?P<namespace>[^/]+)"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?P<log>/log)?"
)
_KINDS = {
    "deployments": ("apps/v1", "Deployment"),
    "services": ("v1", "Service"),
    "secrets": ("v1", "Secret"),
    "pods": ("v1", "Pod"),
    "horizontalpodautoscalers": ("autoscaling/v2", "HorizontalPodAutoscaler"),
    "inferenceservices": ("serving.kserve.io/v1beta1", "InferenceService"),
}
_POLL_SECONDS = 0.02


class Refused(Exception):
    """The fake answers with this status."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": status,
            "reason": reason,
            "message": message,
        }
        self.status = status


class FakeCluster:
    """The state, and what a test does to it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.objects: dict[tuple[str, str], JSON] = {}
        self.requests: list[tuple[str, str]] = []
        self.logs: Callable[[str, str, bool], str] = lambda pod, container, previous: ""
        self.service_made: Callable[[JSON], None] = lambda service: None
        self.failing: list[int] = []
        self.version = 1
        self._changes: list[tuple[int, str, str, JSON]] = []
        self._forgotten = 0
        self._cut = 0

    # What a test does

    def forget_history(self) -> None:
        """No watch can go on from a version before now, as after compaction."""
        with self.lock:
            self._forgotten = self.version
            self._changes = []

    def cut_watches(self) -> None:
        """Ends every stream in the middle."""
        with self.lock:
            self._cut += 1

    def fail_next(self, *statuses: int) -> None:
        """Answers the next requests, watches too, with these statuses."""
        with self.lock:
            self.failing.extend(statuses)

    def of(self, plural: str) -> list[JSON]:
        """Every object of a kind, by name."""
        with self.lock:
            found = [copy.deepcopy(o) for (kind, _), o in self.objects.items() if kind == plural]
        return sorted(found, key=lambda o: str(o["metadata"]["name"]))

    # What the API does

    def create(self, plural: str, manifest: JSON) -> JSON:
        version, kind = _KINDS[plural]
        if (manifest.get("apiVersion"), manifest.get("kind")) != (version, kind):
            raise Refused(400, "BadRequest", f"this is no {version} {kind}")
        if wrong := problems(manifest):
            raise Refused(422, "Invalid", "; ".join(wrong))
        with self.lock:
            name = manifest["metadata"]["name"]
            if (plural, name) in self.objects:
                raise Refused(409, "AlreadyExists", f'{plural} "{name}" already exists')
            made = copy.deepcopy(manifest)
            made["metadata"] |= {"uid": str(uuid4()), "namespace": NAMESPACE}
            self._write("ADDED", plural, made)
        if plural == "services":
            self.service_made(made)
        return made

    def change(self, plural: str, name: str, act: Callable[[JSON], object]) -> None:
        """Changes an object, if it is there and if it is a change."""
        with self.lock:
            found = self.objects.get((plural, name))
            if found is None:
                return
            changed = copy.deepcopy(found)
            act(changed)
            if changed != found:
                self._write("MODIFIED", plural, changed)

    def delete(self, plural: str, name: str, uid: str | None = None) -> JSON:
        with self.lock:
            found = self.read(plural, name)
            if uid is not None and found["metadata"]["uid"] != uid:
                raise Refused(409, "Conflict", "the object has another uid")
            del self.objects[plural, name]
            self._note("DELETED", plural, found)
            return found

    def read(self, plural: str, name: str) -> JSON:
        with self.lock:
            found = self.objects.get((plural, name))
            if found is None:
                raise Refused(404, "NotFound", f'{plural} "{name}" not found')
            return copy.deepcopy(found)

    def watch(
        self, plural: str, selector: str, after: int, seconds: float
    ) -> Iterator[tuple[str, JSON]]:
        """Changes after a version, until the time is over or somebody cuts."""
        with self.lock:
            cut = self._cut
        waited = 0.0
        while waited < seconds:
            with self.lock:
                if cut != self._cut:
                    return
                if after < self._forgotten:
                    gone = Refused(410, "Expired", f"too old resource version: {after}")
                    yield "ERROR", gone.body
                    return
                news = [c for c in self._changes if c[0] > after]
                latest = self.version
            for version, event, kind, found in news:
                if kind == plural and _selected(found, selector):
                    yield event, found
                after = version
            if not news and after < latest:
                after = latest
            threading.Event().wait(_POLL_SECONDS)
            waited += _POLL_SECONDS

    def _write(self, event: str, plural: str, found: JSON) -> None:
        self.objects[plural, found["metadata"]["name"]] = found
        self._note(event, plural, found)

    def _note(self, event: str, plural: str, found: JSON) -> None:
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        self._changes.append((self.version, event, plural, copy.deepcopy(found)))


def _selected(found: JSON, selector: str) -> bool:
    labels = found["metadata"].get("labels", {})
    pairs = [part.partition("=") for part in selector.split(",") if part]
    return all(labels.get(name) == value for name, _, value in pairs)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(lambda place, _: (201, self.cluster.create(place["plural"], self._body())))

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    @property
    def cluster(self) -> FakeCluster:
        return self.server.cluster

    def _get(self, place: dict[str, str], query: dict[str, str]) -> tuple[int, Any]:
        plural, name = place["plural"], place["name"]
        if place["log"]:
            previous = query.get("previous", "").lower() == "true"
            text = self.cluster.logs(name, query["container"], previous)
            lines = text.splitlines()[-int(query.get("tailLines", "1000")) :]
            return 200, "".join(f"{line}\n" for line in lines)
        if name:
            return 200, self.cluster.read(plural, name)
        selector = query.get("labelSelector", "")
        if query.get("watch", "").lower() == "true":
            self._stream(plural, selector, query)
            return 0, None
        with self.cluster.lock:
            items = [o for o in self.cluster.of(plural) if _selected(o, selector)]
            version = str(self.cluster.version)
        return 200, {
            "apiVersion": _KINDS[plural][0],
            "kind": f"{_KINDS[plural][1]}List",
            "metadata": {"resourceVersion": version},
            "items": items,
        }

    def _delete(self, place: dict[str, str], _: dict[str, str]) -> tuple[int, Any]:
        uid = self._body().get("preconditions", {}).get("uid")
        self.cluster.delete(place["plural"], place["name"], uid)
        return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def _stream(self, plural: str, selector: str, query: dict[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        changes = self.cluster.watch(
            plural,
            selector,
            int(query["resourceVersion"]),
            min(float(query["timeoutSeconds"]), self.server.watch_seconds),
        )
        for event, found in changes:
            line = json.dumps({"type": event, "object": found}).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _body(self) -> JSON:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found: JSON = json.loads(content or b"{}") or {}
        return found

    def _answer(self, act: Callable[[dict[str, str], dict[str, str]], tuple[int, Any]]) -> None:
        address = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        with self.cluster.lock:
            self.cluster.requests.append((self.command, self.path))
            failing = self.cluster.failing.pop(0) if self.cluster.failing else None
        try:
            if failing is not None:
                self._body()
                raise Refused(failing, "Told", "the fake was told to fail")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise Refused(401, "Unauthorized", "Unauthorized")
            found = _PATH.fullmatch(address.path)
            place = (
                {name: value or "" for name, value in (found or {}).groupdict().items()}
                if (found)
                else {}
            )
            if place.get("plural") not in _KINDS or place.get("namespace") != NAMESPACE:
                raise Refused(404, "NotFound", "the server could not find the requested resource")
            status, answer = act(place, query)
        except Refused as refusal:
            status, answer = refusal.status, refusal.body
        if status:
            self._send(status, answer)

    def _send(self, status: int, answer: Any) -> None:
        is_text = isinstance(answer, str)
        content = answer.encode() if is_text else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if is_text else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing about requests."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    watch_seconds = 30.0

    def __init__(self, cluster: FakeCluster, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.cluster = cluster
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Ends every connection, also those that wait for the next request."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class RunningCluster:
    """The fake and its socket, which can go away and come back while the state stays."""

    def __init__(self, cluster: FakeCluster, folder: Path) -> None:
        self.cluster = cluster
        self.kubeconfig = folder / "kubeconfig"
        self._server: _Server | None = None
        self._port = 0

    def start(self) -> None:
        """Listens, on the port of before."""
        self._server = _Server(self.cluster, self._port)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.kubeconfig.write_text(yaml.safe_dump(self._config()))

    def stop(self) -> None:
        """Nothing listens any more, and every stream ends."""
        if self._server is not None:
            self.cluster.cut_watches()
            self._server.shutdown()
            self._server.server_close()
            self._server.hang_up()
            self._server = None

    def _config(self) -> JSON:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{self._port}"}}],
            "users": [{"name": "fake", "user": {"token": TOKEN}}],
        }


@contextmanager
def fake_cluster(folder: Path) -> Iterator[RunningCluster]:
    """A fake API server that listens, with a kubeconfig file for it in the folder."""
    running = RunningCluster(FakeCluster(), folder)
    running.start()
    try:
        yield running
    finally:
        running.stop()
