"""A test hub: a small server of our own that speaks the Hugging Face Hub's HTTP protocol.

It is not the Hub and holds nothing but what a test puts in; the real `huggingface_hub` client
talks to it. Two origins, as the real one has: the hub, and the storage that large files are
redirected to. Protocol: model info, tree with pages, resolve with redirects and ranges, listing
by author, collections, whoami, and the error codes in `X-Error-Code` and `X-Error-Message`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.rig.hub_repository import Repository, git_blob_sha1, is_large, node, sha256_of

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Seen:
    """A request that arrived; `sent` counts the body bytes that went out."""

    method: str
    path: str
    offset: int
    authorization: str | None


class Hub:
    """The server. Faults are attributes that a test sets."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.collections: dict[str, dict[str, Any]] = {}
        self.renamed: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self.seen: list[Seen] = []
        self.page_size = 1000
        # How often the next requests are answered 429, and after how many seconds they may return.
        self.rate_limited = 0
        self.retry_after = 1
        # Files whose next answers end after so many bytes: path -> list of byte counts.
        self.cuts: dict[str, list[int]] = {}
        # Files that arrive with one byte changed.
        self.corrupted: set[str] = set()
        # Answers in place of the true ones: path -> body.
        self.forged: dict[str, bytes] = {}
        # Where large files are redirected to instead of the storage.
        self.redirect_to: str | None = None
        self.on_chunk: Callable[[str, int], None] = lambda _path, _offset: None
        self._hub = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, _HubHandler))
        self._storage = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, _StorageHandler))
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            for server in (self._hub, self._storage)
        ]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._hub.server_port}"

    @property
    def storage(self) -> str:
        return f"http://127.0.0.1:{self._storage.server_port}"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._hub, self._storage):
            server.shutdown()
            server.server_close()

    def add(self, name: str, files: dict[str, bytes], **facts: Any) -> Repository:
        """A new repository."""
        repository = Repository(name, dict(files), **facts)
        self.repositories[name] = repository
        return repository

    def collect(self, slug: str, title: str, models: list[str]) -> None:
        """A new collection of models."""
        self.collections[slug] = {"title": title, "models": models}

    def offsets(self, path: str) -> list[int]:
        """From which byte on the storage or the hub was asked for the file, in order."""
        return [s.offset for s in self.seen if s.method == "GET" and s.path.endswith(path)]

    def by_digest(self, sha256: str) -> tuple[str, bytes]:
        for repository in self.repositories.values():
            for files in (repository.files, *repository.history.values()):
                for path, content in files.items():
                    if sha256_of(content) == sha256:
                        return path, content
        raise KeyError(sha256)


def _handler(hub: Hub, base: type[_Handler]) -> type[_Handler]:
    return type(base.__name__, (base,), {"hub": hub})


class _Answered(Exception):
    """The answer has been sent."""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `Hub.seen`."""

    def do_GET(self) -> None:
        offset = _offset(self.headers.get("Range"))
        path = unquote(urlsplit(self.path).path)
        self.hub.seen.append(Seen(self.command, path, offset, self.headers.get("Authorization")))
        try:
            self.answer(path)
        except _Answered:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_HEAD = do_GET  # noqa: N815 (the library looks for this name)

    def answer(self, path: str) -> None:
        raise NotImplementedError

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query)

    @property
    def token(self) -> str | None:
        header = self.headers.get("Authorization") or ""
        return header.removeprefix("Bearer ") or None

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        raise _Answered

    def send_json(self, value: Any, **headers: str) -> None:
        body = json.dumps(value).encode()
        self.send(200, body, Content_Type="application/json", **headers)

    def fail(self, status: int, code: str, message: str, **headers: str) -> None:
        body = json.dumps({"error": message}).encode()
        codes = {"X_Error_Code": code} if code else {}
        self.send(
            status,
            body,
            Content_Type="application/json",
            X_Error_Message=message,
            **codes,
            **headers,
        )

    def send_file(self, path: str, content: bytes, **headers: str) -> None:
        if path in self.hub.corrupted:
            content = content[:-1] + bytes([content[-1] ^ 1])
        offset = _offset(self.headers.get("Range"))
        if offset > len(content):
            self.send(416, Content_Range=f"bytes */{len(content)}")
        self.send_response(206 if offset else 200)
        self.send_header("Content-Length", str(len(content) - offset))
        self.send_header("Accept-Ranges", "bytes")
        if offset:
            self.send_header("Content-Range", f"bytes {offset}-{len(content) - 1}/{len(content)}")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "HEAD":
            raise _Answered
        cuts = self.hub.cuts.get(path)
        end = min(len(content), offset + cuts.pop(0)) if cuts else len(content)
        for start in range(offset, end, _CHUNK):
            self.hub.on_chunk(path, start)
            self.wfile.write(content[start : min(end, start + _CHUNK)])
        if end < len(content):
            self.wfile.flush()
            self.close_connection = True
        raise _Answered


class _HubHandler(_Handler):
    def answer(self, path: str) -> None:
        if self.hub.rate_limited > 0:
            self.hub.rate_limited -= 1
            self.fail(
                429,
                "",
                "Too many requests",
                Retry_After=str(self.hub.retry_after),
                RateLimit=f'"api";r=0;t={self.hub.retry_after}',
            )
        if path in self.hub.forged:
            self.send(200, self.hub.forged[path], Content_Type="application/json")
        if path == "/api/whoami-v2":
            self._whoami()
        if path == "/api/models":
            self._listing()
        if match := re.fullmatch(r"/api/collections/(.+)", path):
            self._collection(match[1])
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/.*)?", path):
            repository = self._repository(match[1], f"/api/models/{{}}{match[2] or ''}")
            self._api(repository, match[2] or "")
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            repository = self._repository(match[1], f"/{{}}/resolve/{match[2]}/{match[3]}")
            self._resolve(repository, match[2], match[3])
        self.fail(404, "", "Sorry, we can't find the page you are looking for.")

    def _whoami(self) -> None:
        if self.token not in self.hub.tokens:
            self.fail(401, "", "Invalid credentials in Authorization header")
        name = self.hub.tokens[self.token or ""]
        self.send_json(
            {
                "type": "user",
                "name": name,
                "auth": {"accessToken": {"displayName": "test", "role": "read"}},
            }
        )

    def _listing(self) -> None:
        author = self.query.get("author", [""])[0]
        shown = [
            repository
            for name, repository in self.hub.repositories.items()
            if name.split("/")[0] == author and self._may_see(repository)
        ]
        self._page([self._info(repository) for repository in shown])

    def _collection(self, slug: str) -> None:
        known = self.hub.collections.get(slug)
        if known is None:
            self.fail(404, "", "Collection not found")
        assert known is not None
        self.send_json(
            {
                "slug": slug,
                "title": known["title"],
                "owner": {"name": slug.split("/")[0], "type": "org"},
                "items": [
                    {"_id": str(n), "id": name, "type": "model", "position": n}
                    for n, name in enumerate(known["models"])
                ],
                "lastUpdated": "2026-01-01T00:00:00.000Z",
                "position": 0,
                "private": False,
                "theme": "green",
                "upvotes": 0,
            }
        )

    def _repository(self, name: str, address: str) -> Repository:
        if name in self.hub.renamed:
            new = address.format(self.hub.renamed[name])
            self.send(307, Location=quote(new))
        repository = self.hub.repositories.get(name)
        if self.token is not None and self.token not in self.hub.tokens:
            self.fail(401, "", "Invalid credentials in Authorization header")
        if repository is None or not self._may_see(repository):
            # As the real one: it does not tell a stranger whether a repository exists.
            status = 404 if self.token else 401
            self.fail(status, "RepoNotFound", "Repository not found")
        assert repository is not None
        if repository.disabled:
            self.fail(403, "", "Access to this resource is disabled.")
        return repository

    def _may_see(self, repository: Repository) -> bool:
        return not repository.private or self.token in repository.readers

    def _require_access(self, repository: Repository) -> None:
        if repository.gated and self.token not in repository.readers:
            name = repository.name
            if self.token is None:
                self.fail(401, "GatedRepo", f"Access to model {name} is restricted. Please log in.")
            self.fail(403, "GatedRepo", f"Access to model {name} is restricted.")

    def _files(self, repository: Repository, revision: str) -> dict[str, bytes]:
        files = repository.at(revision)
        if files is None:
            self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        assert files is not None
        return files

    def _api(self, repository: Repository, rest: str) -> None:
        if rest == "/auth-check":
            self._require_access(repository)
            self.send(200)
        if not rest or (match := re.fullmatch(r"/revision/([^/]+)", rest)):
            revision = match[1] if rest and match else "main"
            self._files(repository, revision)
            commit = revision if revision in repository.history else repository.commit
            self.send_json({**self._info(repository), "sha": commit})
        if match := re.fullmatch(r"/tree/([^/]+)/?", rest):
            files = self._files(repository, match[1])
            self._page([node(path, content) for path, content in sorted(files.items())])

    def _page(self, rows: list[dict[str, Any]]) -> None:
        start = int(self.query.get("cursor", ["0"])[0])
        end = start + self.hub.page_size
        headers = {}
        if end < len(rows):
            bare = re.sub(r"[?&]cursor=\d+", "", self.path)
            join = "&" if "?" in bare else "?"
            headers["Link"] = f'<{self.hub.endpoint}{bare}{join}cursor={end}>; rel="next"'
        self.send_json(rows[start:end], **headers)

    def _info(self, repository: Repository) -> dict[str, Any]:
        return {
            "_id": repository.commit[:24],
            "id": repository.name,
            "modelId": repository.name,
            "author": repository.name.split("/")[0],
            "sha": repository.commit,
            "lastModified": "2026-01-01T00:00:00.000Z",
            "createdAt": "2026-01-01T00:00:00.000Z",
            "private": repository.private,
            "gated": repository.gated,
            "disabled": False,
            "downloads": 7,
            "likes": 1,
            "tags": ["license:apache-2.0"],
            "pipeline_tag": "text-generation",
            "library_name": "transformers",
            "cardData": repository.card,
        }

    def _resolve(self, repository: Repository, revision: str, path: str) -> None:
        self._require_access(repository)
        content = self._files(repository, revision).get(path)
        if content is None:
            self.fail(404, "EntryNotFound", "Entry not found")
        assert content is not None
        commit: dict[str, Any] = {"X_Repo_Commit": revision}
        if not is_large(path):
            self.send_file(path, content, ETag=f'"{git_blob_sha1(content)}"', **commit)
        sha256 = sha256_of(content)
        target = self.hub.redirect_to or f"{self.hub.storage}/{sha256}/{quote(path)}"
        self.send(
            302,
            Location=target,
            X_Linked_Size=str(len(content)),
            X_Linked_ETag=f'"{sha256}"',
            **commit,
        )


class _StorageHandler(_Handler):
    def answer(self, path: str) -> None:
        try:
            name, content = self.hub.by_digest(path.split("/")[1])
        except KeyError:
            self.send(404)
        self.send_file(name, content)


def _offset(header: str | None) -> int:
    match = re.fullmatch(r"bytes=(\d+)-", header or "")
    return int(match[1]) if match else 0
