"""Files in a local directory or in S3, through fsspec.

Layout, relative to the store's address:
`uploads/<upload id>/<offset, 20 digits>` parts of an upload;
`blobs/sha256/<2 hex>/<64 hex>` the content of a file, named by its digest;
`manifests/<64 hex>.json` the list of a model version's files;
`batches/<64 hex>` the list that the models of a batch were chosen from;
`staging/<job id>/...` what an import or a dry run keeps meanwhile, `staging/<32 hex>` what is being
written.

A file appears under its name only when all its bytes are there.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self, cast
from urllib.parse import urlsplit

import fsspec

from backend.infra.settings import Settings

_SAFE_PATH = re.compile(r"[A-Za-z0-9._\-]+(/[A-Za-z0-9._\-]+)*")
STAGING = "staging"
_SYNC_BYTES = 64 * 1024 * 1024
_S3_BLOCK_BYTES = 64 * 1024 * 1024
# Two libraries try again, each all of what the other does: six attempts in all.
_S3_CONFIG = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 1}}
_S3_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of the store; size in bytes, `modified` in seconds since 1970."""

    path: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A write to a remote store that nobody has ended; `begun` in seconds since 1970."""

    path: str
    begun: float
    id: str


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
            filesystem.retries = _S3_ATTEMPTS
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

    def listing(self, folder: str) -> Iterator[Listed]:
        """The files below a folder by path, in the order of its bytes. Never all in memory."""
        if self._local:
            yield from _listed(Path(self._full(folder)), folder)
            return
        bucket, _, prefix = self._full(folder).partition("/")
        root = self._root.partition("/")[2]
        after: dict[str, str] = {}
        while True:
            page = self._fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix + "/", **after)
            for item in page.get("Contents", []):
                path = item["Key"][len(root) :].lstrip("/")
                yield Listed(path, item["Size"], item["LastModified"].timestamp())
            if not page.get("IsTruncated"):
                return
            after = {"ContinuationToken": page["NextContinuationToken"]}

    def unfinished(self) -> Iterator[Unfinished]:
        """Writes that a remote store still keeps room for; a directory shows them in `listing`."""
        if self._local:
            return
        bucket, _, root = self._root.partition("/")
        after: dict[str, str] = {}
        while True:
            page = self._fs.call_s3(
                "list_multipart_uploads", Bucket=bucket, Prefix=f"{root}/" if root else "", **after
            )
            for item in page.get("Uploads", []):
                path = item["Key"][len(root) :].lstrip("/")
                yield Unfinished(path, item["Initiated"].timestamp(), item["UploadId"])
            if not page.get("IsTruncated"):
                return
            after = {
                "KeyMarker": page["NextKeyMarker"],
                "UploadIdMarker": page["NextUploadIdMarker"],
            }

    def abort(self, write: Unfinished) -> None:
        """Ends an unfinished write without a file."""
        bucket, _, key = self._full(write.path).partition("/")
        self._fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=write.id)

    def _full(self, path: str) -> str:
        if not _SAFE_PATH.fullmatch(path) or ".." in path.split("/"):
            raise ValueError(f"'{path}' is not a path of the object store")
        return f"{self._root}/{path}"


def _listed(folder: Path, path: str) -> Iterator[Listed]:
    try:
        with os.scandir(folder) as found:
            # As if by whole path: 'a/b' stands behind 'a.b'.
            entries = sorted(found, key=lambda e: e.name + "/" * e.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _listed(Path(entry.path), f"{path}/{entry.name}")
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # removed meanwhile
        yield Listed(f"{path}/{entry.name}", status.st_size, status.st_mtime)


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
