"""The built web interface: files with compression and caching; every other path is the SPA's."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
from litestar.types import HTTPScope, Send

_COMPRESSIBLE = {"text/html", "text/css", "text/javascript", "image/svg+xml", "application/json"}
# What the operating system's own table may not know.
_MEDIA_TYPES = {".js": "text/javascript", ".woff2": "font/woff2", ".svg": "image/svg+xml"}
_FOREVER = "public, max-age=31536000, immutable"
_ALWAYS_ASK = "no-cache"
_HASHED_FOLDER = "assets/"
_NOT_BUILT = (
    "<!doctype html><title>Loggia</title><p>The web interface has not been built. "
    "Run <code>make up</code>, or <code>npm run build</code> in <code>frontend/</code>."
)


@dataclass(frozen=True)
class _File:
    stamp: tuple[int, int]
    body: bytes
    gzipped: bytes | None
    media_type: str
    etag: str


class WebInterface:
    """Serves a folder. Files are kept in memory and read again when they change."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._files: dict[str, _File] = {}

    async def answer(self, scope: HTTPScope, send: Send) -> None:
        """Answers a GET or HEAD with a file, or with the SPA's page."""
        path = scope["path"].lstrip("/")
        file = await anyio.to_thread.run_sync(self._find, path) if path else None
        name = path
        if file is None and not path.startswith(_HASHED_FOLDER):
            name = "index.html"
            file = await anyio.to_thread.run_sync(self._find, name)
        headers = dict(scope["headers"])
        if file is None:
            missing = b"" if path.startswith(_HASHED_FOLDER) else _NOT_BUILT.encode()
            await _send(send, 404, [(b"content-type", b"text/html; charset=utf-8")], missing)
            return
        immutable = name.startswith(_HASHED_FOLDER)
        answer = [
            (b"content-type", file.media_type.encode()),
            (b"cache-control", (_FOREVER if immutable else _ALWAYS_ASK).encode()),
            (b"etag", file.etag.encode()),
            (b"vary", b"accept-encoding"),
        ]
        if headers.get(b"if-none-match") == file.etag.encode():
            await _send(send, 304, answer, b"")
            return
        body = file.body
        if file.gzipped is not None and b"gzip" in headers.get(b"accept-encoding", b""):
            body = file.gzipped
            answer.append((b"content-encoding", b"gzip"))
        answer.append((b"content-length", b"%d" % len(body)))
        await _send(send, 200, answer, b"" if scope["method"] == "HEAD" else body)

    def _find(self, name: str) -> _File | None:
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder):
            return None
        try:
            status = path.stat()
        except (OSError, ValueError):
            return None
        stamp = (status.st_mtime_ns, status.st_size)
        known = self._files.get(name)
        if known is not None and known.stamp == stamp:
            return known
        if not path.is_file():
            return None
        file = _read(path, stamp)
        self._files[name] = file
        return file


def _read(path: Path, stamp: tuple[int, int]) -> _File:
    body = path.read_bytes()
    guessed = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    media_type = _MEDIA_TYPES.get(path.suffix, guessed)
    compressible = media_type in _COMPRESSIBLE
    return _File(
        stamp=stamp,
        body=body,
        gzipped=gzip.compress(body, 6) if compressible else None,
        media_type=f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type,
        etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
    )


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
