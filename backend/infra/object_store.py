"""Files in a local directory or in S3, through fsspec.

Layout, relative to the store's address:
`uploads/<upload id>/<offset, 20 digits>` parts of an upload;
`blobs/sha256/<2 hex>/<64 hex>` the content of a file, named by its digest;
`manifests/<64 hex>.json` the list of a model version's files.

A file appears under its name only when all its bytes are there.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self, cast
from urllib.parse import urlsplit

import fsspec

from backend.infra.settings import Settings

_SAFE_PATH = re.compile(r"[A-Za-z0-9._\-]+(/[A-Za-z0-9._\-]+)*")
STAGING = "staging"
_SYNC_BYTES = 64 * 1024 * 1024
_S3_BLOCK_BYTES = 64 * 1024 * 1024
_S3_CONFIG = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 5}}


class StagedFile(Protocol):
    """A file that is being written and that nobody sees yet."""

    @property
    def durable(self) -> tuple[str, int]:
        """Where its bytes lie meanwhile, and how many of them would survive a crash."""
        ...

    def write(self, chunk: bytes | memoryview) -> int:
        """Adds bytes."""
        ...

    def commit(self, path: str) -> None:
        """Makes the file appear under its name, replacing what is there, all at once."""
        ...

    def discard(self) -> None:
        """Forgets the file."""
        ...


class ObjectStore:
    """Reads and writes files by relative path. All calls block; keep them off the event loop."""

    def __init__(self, filesystem: Any, root: str, *, local: bool) -> None:
        self._fs = filesystem
        self._root = root.rstrip("/")
        self._local = local

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The store that the settings name. Raises `ValueError` for an unknown scheme."""
        address = urlsplit(settings.object_store)
        if address.scheme == "file":
            root = Path(address.path)
            root.mkdir(parents=True, exist_ok=True)
            return cls(fsspec.filesystem("file", auto_mkdir=True), str(root), local=True)
        if address.scheme == "s3":
            endpoint = settings.object_store_endpoint
            filesystem = fsspec.filesystem(
                "s3",
                client_kwargs={"endpoint_url": endpoint} if endpoint else {},
                config_kwargs=_S3_CONFIG,
                default_block_size=_S3_BLOCK_BYTES,
                use_listings_cache=False,
            )
            return cls(filesystem, f"{address.netloc}{address.path}", local=False)
        raise ValueError(
            f"LOGGIA_OBJECT_STORE_URL begins with '{address.scheme}:'; use file:///... or s3://..."
        )

    def uri(self, path: str) -> str:
        """The address of a file, as it stands in events."""
        return f"{'file' if self._local else 's3'}://{self._full(path)}"

    def local_path(self, path: str) -> Path | None:
        """The file on this machine's disk, or None where the store is remote."""
        return Path(self._full(path)) if self._local else None

    def stage(self, folder: str = STAGING) -> StagedFile:
        """A new file, invisible until it is committed.

        Who names a folder of its own can remove with `delete_tree` what a killed predecessor left
        there.
        """
        staging = f"{self._full(folder)}/{secrets.token_hex(16)}"
        if self._local:
            return _LocalStagedFile(Path(self._root), Path(staging))
        return _RemoteStagedFile(self._fs, staging, self._full)

    def put(self, path: str, chunks: Iterable[bytes]) -> int:
        """Writes a whole file; returns its size in bytes."""
        staged = self.stage()
        size = 0
        try:
            for chunk in chunks:
                size += len(chunk)
                staged.write(chunk)
        except BaseException:
            staged.discard()
            raise
        staged.commit(path)
        return size

    def open(self, path: str) -> BinaryIO:
        """The file, seekable. Raises `FileNotFoundError`."""
        if self._local:
            return Path(self._full(path)).open("rb")
        return cast("BinaryIO", self._fs.open(self._full(path), "rb"))

    def exists(self, path: str) -> bool:
        """Whether the file is there."""
        if self._local:
            return Path(self._full(path)).exists()
        return bool(self._fs.exists(self._full(path)))

    def size(self, path: str) -> int:
        """The file's size in bytes. Raises `FileNotFoundError`."""
        return int(self._fs.size(self._full(path)))

    def delete(self, path: str) -> None:
        """Removes the file if it is there."""
        try:
            self._fs.rm_file(self._full(path))
        except FileNotFoundError:
            return

    def delete_tree(self, path: str) -> None:
        """Removes everything below the path if it is there."""
        try:
            self._fs.rm(self._full(path), recursive=True)
        except FileNotFoundError:
            return

    def list(self, path: str) -> list[str]:
        """The paths of the files below a path, sorted."""
        prefix = len(self._root) + 1
        return sorted(name[prefix:] for name in self._fs.find(self._full(path)))

    def _full(self, path: str) -> str:
        if not _SAFE_PATH.fullmatch(path) or ".." in path.split("/"):
            raise ValueError(f"'{path}' is not a path of the object store")
        return f"{self._root}/{path}"


class _LocalStagedFile:
    """Written beside the store's files on the same disk, synced, then renamed."""

    def __init__(self, root: Path, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._path = path
        self._file = self._path.open("xb", buffering=0)
        self._unsynced = 0
        self._synced = 0

    @property
    def durable(self) -> tuple[str, int]:
        return str(self._path.relative_to(self._root)), self._synced

    def write(self, chunk: bytes | memoryview) -> int:
        view = memoryview(chunk)
        total = len(view)
        while view:
            view = view[self._file.write(view) :]
        self._unsynced += total
        if self._unsynced >= _SYNC_BYTES:
            # Otherwise the whole file would be synced at the end, while nothing else goes on.
            os.fdatasync(self._file.fileno())
            self._synced += self._unsynced
            self._unsynced = 0
        return total

    def commit(self, path: str) -> None:
        os.fsync(self._file.fileno())
        self._file.close()
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        self._path.replace(target)

    def discard(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


class _RemoteStagedFile:
    """An object under a staging name, moved by the store itself when complete.

    A digest is known only at the end, so the final name is too.
    """

    def __init__(self, filesystem: Any, staging: str, full: Callable[[str], str]) -> None:
        self._fs = filesystem
        self._full = full
        self._staging = staging
        self._file = filesystem.open(self._staging, "wb", autocommit=False)

    @property
    def durable(self) -> tuple[str, int]:
        # The parts of an unfinished object cannot be read back.
        return self._staging, 0

    def write(self, chunk: bytes | memoryview) -> int:
        return int(self._file.write(bytes(chunk)))

    def commit(self, path: str) -> None:
        self._file.close()
        self._file.commit()
        self._fs.mv(self._staging, self._full(path))

    def discard(self) -> None:
        self._file.discard()
