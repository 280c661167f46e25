"""Files into the object store under the name of their content: read, hashed and written at once."""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import unquote, urlsplit

from backend.infra.object_store import ObjectStore, StagedFile
from backend.sources.path import open_below

# Chunks of at most 256 KiB between reading and writing; bounds the memory.
_QUEUE_CHUNKS = 64
# Small files appear together, so that not each of them is an entry in the journal of its own.
_BATCH_FILES = 64
_BATCH_BYTES = 8 << 20
# A disk that is asked to sync several files at once hardly needs longer than for one.
_APPEARING_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the store, or where it lies outside when it was not copied; size in bytes."""

    path: str
    sha256: str
    size: int
    location: str | None = None


def blob_path(sha256: str) -> str:
    """Where the content with this digest lies."""
    return f"blobs/sha256/{sha256[:2]}/{sha256}"


def manifest_path(sha256: str) -> str:
    """Where the manifest with this digest lies."""
    return f"manifests/{sha256}.json"


def manifest(files: Iterable[StoredFile]) -> tuple[bytes, str]:
    """The list of a version's files, sorted by path, and its digest."""
    rows = [
        {"path": file.path, "size": file.size, "sha256": file.sha256}
        | ({"location": file.location} if file.location else {})
        for file in sorted(files, key=lambda file: file.path)
    ]
    text = json.dumps({"files": rows}, ensure_ascii=False, separators=(",", ":")).encode()
    return text, hashlib.sha256(text).hexdigest()


@dataclass(frozen=True, slots=True)
class _Begin:
    """Stands in the queue before a file's bytes."""

    path: str


class _Abandon:
    """Stands in the queue for 'forget the file that is being written'."""


class BlobWriter:
    """Hashes in the caller's thread and writes in its own, in order, with bounded memory.

    While one file is synced to the disk, the next is already read and hashed. A file whose content
    is in the store already is not written over. `before_storing` is called in the writing thread
    with files that are complete but that nobody sees yet; when it returns, they appear. What it
    raises is raised by `add`, and then they do not. `on_durable` is called there, too, with a
    file's path, where its bytes lie and how many of them would survive a crash.
    """

    def __init__(
        self,
        store: ObjectStore,
        staging: str,
        before_storing: Callable[[Sequence[StoredFile]], None],
        on_durable: Callable[[str, str, int], None] = lambda _path, _place, _size: None,
    ) -> None:
        self._store = store
        self._staging = staging
        self._before_storing = before_storing
        self._on_durable = on_durable
        self._queue: queue.Queue[bytes | StoredFile | _Begin | _Abandon | None] = queue.Queue(
            _QUEUE_CHUNKS
        )
        self._complete: list[tuple[StagedFile, StoredFile]] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="blob-writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            # Whatever broke off the caller, nothing more shall appear.
            self._error = self._error or error
        self._queue.put(None)
        self._thread.join()
        if error is None:
            self._raise()

    def add(self, path: str, chunks: Iterable[bytes]) -> None:
        """Takes a file's content. Raises what reading or an earlier write raised."""
        digest = hashlib.sha256()
        size = 0
        self._queue.put(_Begin(path))
        try:
            for chunk in chunks:
                self._raise()
                self._queue.put(chunk)
                digest.update(chunk)
                size += len(chunk)
        except BaseException:
            self._queue.put(_Abandon())
            raise
        self._queue.put(StoredFile(path, digest.hexdigest(), size))

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        staged: StagedFile | None = None
        path, durable = "", 0
        while (item := self._queue.get()) is not None:
            try:
                if isinstance(item, _Abandon) or self._error is not None:
                    if staged is not None:
                        staged.discard()
                        staged = None
                    continue
                if isinstance(item, _Begin):
                    path, durable = item.path, 0
                    continue
                if staged is None:
                    staged = self._store.stage(self._staging)
                if isinstance(item, bytes):
                    staged.write(item)
                    place, synced = staged.durable
                    if synced > durable:
                        durable = synced
                        self._on_durable(path, place, synced)
                    continue
                self._complete.append((staged, item))
                staged = None
                if self._enough():
                    self._store_complete()
            except BaseException as error:  # raised again in the caller's thread
                self._error = self._error or error
        try:
            if self._error is None:
                self._store_complete()
        except BaseException as error:  # raised again in the caller's thread
            self._error = error
        for unfinished in [file for file, _ in self._complete] + ([staged] if staged else []):
            unfinished.discard()

    def _enough(self) -> bool:
        size = sum(file.size for _, file in self._complete)
        return size >= _BATCH_BYTES or len(self._complete) >= _BATCH_FILES

    def _store_complete(self) -> None:
        if not self._complete:
            return
        self._before_storing([file for _, file in self._complete])
        with ThreadPoolExecutor(_APPEARING_AT_ONCE) as threads:
            appearing = [threads.submit(self._appear, *pair) for pair in self._complete]
        self._complete = [
            pair for pair, done in zip(self._complete, appearing, strict=True) if done.exception()
        ]
        for done in appearing:
            done.result()

    def _appear(self, staged: StagedFile, file: StoredFile) -> None:
        target = blob_path(file.sha256)
        if self._store.exists(target):
            staged.discard()
        else:
            staged.commit(target)


class StoredModel:
    """A model's files in the store, as validation reads them."""

    def __init__(
        self, store: ObjectStore, files: Iterable[StoredFile], roots: Sequence[Path] = ()
    ) -> None:
        """`roots` are where files that were not copied may lie."""
        self._store = store
        self._roots = roots
        self._files = {file.path: file for file in sorted(files, key=lambda file: file.path)}

    @property
    def sizes(self) -> Mapping[str, int]:
        """Every path with its size in bytes."""
        return {path: file.size for path, file in self._files.items()}

    def open(self, path: str) -> BinaryIO:
        """The file, seekable."""
        file = self._files[path]
        if file.location is not None:
            return open_below(Path(unquote(urlsplit(file.location).path)), self._roots)
        return self._store.open(blob_path(file.sha256))
