"""A test registry: a small OCI registry of our own with what a test puts in.

It speaks the pulling half of the OCI distribution protocol, signs in by Basic or by Docker's
token service, and can be told to lie. `inspect_image` talks to it as to any registry.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def digest_of(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


class Registry:
    """The server. `sign_in` is none, basic or token; accounts are user name -> password."""

    def __init__(self, *, sign_in: str = "none") -> None:
        self.sign_in = sign_in
        self.accounts = {"ana": "secret"}
        self.public: set[str] = set()
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.corrupted: set[str] = set()
        self.claimed_digest: str | None = None
        self.rate_limited = False
        self.seen: list[tuple[str, str | None]] = []
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"registry": self})
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, name: str, tag: str, media_type: str, document: Any) -> str:
        """Stores a manifest under a tag and its digest; returns the digest."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = digest_of(body)
        self.manifests[name, tag] = self.manifests[name, digest] = (media_type, body)
        return digest

    def put_blob(self, body: bytes) -> dict[str, Any]:
        """Stores a blob; returns its descriptor without a media type."""
        self.blobs[digest_of(body)] = body
        return {"digest": digest_of(body), "size": len(body)}

    def push(
        self,
        name: str,
        tag: str = "latest",
        *,
        ports: tuple[str, ...] = ("8080/tcp",),
        platform: str = "linux/amd64",
        layers: tuple[int, ...] = (1000, 2000),
        **run: Any,
    ) -> str:
        """Stores an image; returns its manifest's digest."""
        system, architecture = platform.split("/")
        config = {
            "os": system,
            "architecture": architecture,
            "config": {
                "ExposedPorts": {port: {} for port in ports},
                "Env": ["PATH=/bin", "MODEL_DIR=/model"],
                "Labels": {"org.opencontainers.image.title": name},
                "Entrypoint": ["/serve"],
                **run,
            },
        }
        described = self.put_blob(json.dumps(config).encode())
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_IMAGE,
            "config": {"mediaType": OCI_CONFIG, **described},
            "layers": [
                {"mediaType": OCI_LAYER, "digest": digest_of(b"%d" % size), "size": size}
                for size in layers
            ],
        }
        return self.put(name, tag, OCI_IMAGE, manifest)

    def push_index(self, name: str, tag: str, platforms: dict[str, str]) -> str:
        """Stores a list of platform -> manifest digest; returns its digest."""
        rows = []
        for platform, digest in platforms.items():
            system, architecture = platform.split("/")
            _, body = self.manifests[name, digest]
            rows.append(
                {
                    "mediaType": OCI_IMAGE,
                    "digest": digest,
                    "size": len(body),
                    "platform": {"os": system, "architecture": architecture},
                }
            )
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": rows}
        return self.put(name, tag, OCI_INDEX, index)


class _Answered(Exception):
    """The answer has been sent."""


class _Handler(BaseHTTPRequestHandler):
    registry: Registry
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `Registry.seen`."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.registry.seen.append((path, self.headers.get("Authorization")))
        with contextlib.suppress(_Answered, ConnectionError):
            self._answer(path)

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        raise _Answered

    def _fail(self, status: int, code: str, **headers: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
        self._send(status, body, Content_Type="application/json", **headers)

    def _answer(self, path: str) -> None:
        registry = self.registry
        if path == "/token":
            self._token()
        if registry.rate_limited:
            self._fail(429, "TOOMANYREQUESTS")
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", path)
        self._require_account(found[1] if found else "")
        if path == "/v2/":
            self._send(200, b"{}", Content_Type="application/json")
        if found and found[2] == "manifests":
            self._manifest(found[1], found[3])
        if found and found[3] in registry.blobs:
            self._send(
                200,
                self._spoilt(found[3], registry.blobs[found[3]]),
                Content_Type="application/octet-stream",
            )
        self._fail(404, "BLOB_UNKNOWN" if found else "UNSUPPORTED")

    def _manifest(self, name: str, wanted: str) -> None:
        if (name, wanted) not in self.registry.manifests:
            self._fail(404, "MANIFEST_UNKNOWN")
        media_type, body = self.registry.manifests[name, wanted]
        digest = self.registry.claimed_digest or digest_of(body)
        self._send(
            200,
            self._spoilt(digest_of(body), body),
            Content_Type=media_type,
            Docker_Content_Digest=digest,
        )

    def _spoilt(self, digest: str, body: bytes) -> bytes:
        return body.replace(b"amd64", b"amd65") if digest in self.registry.corrupted else body

    def _require_account(self, name: str) -> None:
        mode, header = self.registry.sign_in, self.headers.get("Authorization") or ""
        if mode == "basic" and self._account(header) is None:
            self._fail(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="registry"')
        if mode == "token":
            scope = f"repository:{name}:pull" if name else ""
            known = {f"Bearer {who}.{scope}".rstrip(".") for who in ("ana", "anonymous")}
            if header not in known:
                asked = f',scope="{scope}"' if scope else ""
                realm = f"{self.registry.endpoint}/token"
                challenge = f'Bearer realm="{realm}",service="test-registry"{asked}'
                self._fail(401, "UNAUTHORIZED", WWW_Authenticate=challenge)
            if header.startswith("Bearer anonymous") and name not in self.registry.public:
                self._fail(403, "DENIED")

    def _token(self) -> None:
        header = self.headers.get("Authorization")
        query = parse_qs(urlsplit(self.path).query)
        assert query["service"] == ["test-registry"]
        scope = query.get("scope", [""])[0]
        if header is None:
            token = f"anonymous.{scope}".rstrip(".")
        elif self._account(header) is not None:
            token = f"ana.{scope}".rstrip(".")
        else:
            self._fail(401, "UNAUTHORIZED")
        self._send(200, json.dumps({"token": token}).encode(), Content_Type="application/json")

    def _account(self, header: str) -> str | None:
        if not header.startswith("Basic "):
            return None
        name, _, password = base64.b64decode(header[6:]).decode().partition(":")
        return name if self.registry.accounts.get(name) == password else None
