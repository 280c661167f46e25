"""A model version's files as one directory, made from the content-addressed store.

Directories are named by the manifest's digest, so revisions of one version share them. One is
there completely or not at all.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import msgspec

from backend.infra.logging import get_logger
from backend.infra.object_store import ObjectStore
from backend.sources.errors import FetchRefused
from backend.sources.path import open_below

Report = Callable[[int, int], None]

_log = get_logger(__name__)
_CHUNK_BYTES = 8 * 1024 * 1024


class FilesUnavailable(Exception):
    """A model's files cannot be had as they were imported."""

    def __init__(self, reason: str, *, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


class _File(msgspec.Struct):
    path: str
    size: int
    sha256: str
    location: str | None = None


class _Manifest(msgspec.Struct):
    files: list[_File]


class ModelFiles:
    """Directories of model files below one folder."""

    def __init__(self, store: ObjectStore, folder: Path, roots: Sequence[Path] = ()) -> None:
        """`roots` are where files that were not copied may lie."""
        self._store = store
        self._roots = roots
        self._folder = folder
        self._staging: set[str] = set()

    def materialise(self, manifest_sha256: str, report: Report) -> Path:
        """The directory with the manifest's files; `report` gets bytes done and in total.

        It is called for each part that was read, and ends the work by raising something.
        Files of a local store are linked, others fetched and checked against their digest.
        Raises `FilesUnavailable`.
        """
        target = self._folder / manifest_sha256
        if target.is_dir():
            self._check(manifest_sha256, report)
            return target
        staging = self._folder / f".{manifest_sha256}.{secrets.token_hex(4)}"
        self._staging.add(staging.name)
        try:
            staging.mkdir(parents=True)
            self._fill(staging, self._manifest(manifest_sha256), report)
            try:
                staging.rename(target)
            except OSError:
                if not target.is_dir():  # else another replica was faster
                    raise
        except FileNotFoundError as error:
            raise FilesUnavailable(
                f"The object store no longer has {error.filename or error}.",
                remedy="Restore it from a backup, or import the model again.",
            ) from error
        except OSError as error:
            raise FilesUnavailable(
                f"The model's files could not be written to the data directory: {error}.",
                remedy="Check its free space and permissions, then redeploy.",
            ) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            self._staging.discard(staging.name)
        return target

    def remove_unused(self, find_used: Callable[[], Collection[str]]) -> None:
        """Removes every directory but those of these manifests, and what a crash left behind.

        They are asked for when the directories have been seen: one that is made meanwhile stays.
        """
        if not self._folder.is_dir():
            return
        seen = list(self._folder.iterdir())
        used = find_used()
        for entry in seen:
            if entry.name not in used and entry.name not in self._staging:
                shutil.rmtree(entry, ignore_errors=True)

    def _check(self, manifest_sha256: str, report: Report) -> None:
        """Whether the files of a complete directory that lie elsewhere are what was imported."""
        try:
            files = self._manifest(manifest_sha256).files
        except Exception as error:  # a store out of reach fails in many ways
            _log.warning("the list of a model's files cannot be read", error=str(error))
            return
        for file in files:
            if file.location is not None:
                self._unchanged(file, partial(_further, report, 0, file.size))

    def _manifest(self, sha256: str) -> _Manifest:
        with self._store.open(f"manifests/{sha256}.json") as file:
            content = file.read()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise FilesUnavailable(
                "The list of the model's files has been altered in the object store.",
                remedy="Restore it from a backup, or import the model again.",
            )
        return msgspec.json.decode(content, type=_Manifest)

    def _fill(self, folder: Path, manifest: _Manifest, report: Report) -> None:
        total = sum(file.size for file in manifest.files)
        done = 0
        for file in manifest.files:
            path = PurePosixPath(file.path)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise FilesUnavailable(
                    f"The model has a file with the unsafe path '{file.path}'.",
                    remedy="Import the model again.",
                )
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            blob = f"blobs/sha256/{file.sha256[:2]}/{file.sha256}"
            source = self._store.local_path(blob)
            if file.location is not None:
                target.symlink_to(self._unchanged(file, partial(_further, report, done, total)))
            elif source is not None:
                self._link(source, target, file)
            else:
                self._fetch(blob, target, file, partial(_further, report, done, total))
            done += file.size
            report(done, total)

    @staticmethod
    def _link(source: Path, target: Path, file: _File) -> None:
        if source.stat().st_size != file.size:
            raise _altered(file.path)
        try:
            os.link(source, target)
        except OSError:  # another disk
            target.symlink_to(source)

    def _unchanged(self, file: _File, report: Callable[[int], None]) -> Path:
        """Where a file was left, if it is still what was imported."""
        source = Path(unquote(urlsplit(file.location or "").path))
        digest = hashlib.sha256()
        done = 0
        try:
            with open_below(source, self._roots) as content:
                while chunk := content.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    done += len(chunk)
                    report(done)
        except (OSError, FetchRefused) as error:
            raise FilesUnavailable(
                f"'{file.path}' can no longer be read where it was left, at {source}: {error}",
                remedy="Put it back and see that this server may read it below "
                "LOGGIA_IMPORT_ROOTS; or import the model again.",
            ) from error
        if done != file.size or digest.hexdigest() != file.sha256:
            raise FilesUnavailable(
                f"'{file.path}' has changed at {source} since the model was imported.",
                remedy="Put the imported content back, or import the model again.",
            )
        return source

    def _fetch(self, blob: str, target: Path, file: _File, report: Callable[[int], None]) -> None:
        digest = hashlib.sha256()
        done = 0
        with self._store.open(blob) as source, target.open("xb") as sink:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                sink.write(chunk)
                done += len(chunk)
                report(done)
        if digest.hexdigest() != file.sha256:
            raise _altered(file.path)


def _further(report: Report, base: int, total: int, done: int) -> None:
    report(base + done, total)


def _altered(path: str) -> FilesUnavailable:
    return FilesUnavailable(
        f"'{path}' is not what was imported: its content has changed in the object store.",
        remedy="Restore it from a backup, or import the model again.",
    )
