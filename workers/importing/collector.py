"""Finds what nothing refers to in the object store and in the tables, and removes it.

Listings and references are compared in sorted pages, so that millions of objects need little
memory. Running imports are not hurt: what is younger than the grace period is left alone, and an
object is removed only under the lock of `backend.infra.removals`, after a second look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import TypeVar

import psycopg
from psycopg.rows import DictRow

from backend.infra.logging import get_logger
from backend.infra.object_store import STAGING, Listed
from backend.infra.postgres import connect, lock_number, try_lock
from backend.infra.removals import removing
from backend.infra.uploads import UPLOADS, part_path
from workers.importing.job import Workplace
from workers.importing.orphan_rows import orphan_rows
from workers.importing.owners import Owners, UploadParts
from workers.importing.references import BATCHES, BLOBS, MANIFESTS, Needed, References
from workers.importing.storing import blob_path, manifest_path
from workers.importing.sweep import give_up_upload

# No writer that is alive is silent for so long: every network call ends earlier.
GRACE_SECONDS = 3600.0

_PAGE = 500
_NAMES = 20
_STATEMENT_MILLISECONDS = 600_000
_LOCK = "collector"
# Where the content of each kind lies, and under which path.
_CONTENT: dict[str, tuple[str, Callable[[str], str]]] = {
    BLOBS: ("blobs/sha256", blob_path),
    MANIFESTS: ("manifests", manifest_path),
    BATCHES: ("batches", lambda digest: f"batches/{digest}"),
}
_WORDS = {BLOBS: "files", MANIFESTS: "manifests", BATCHES: "lists of batches"}

_log = get_logger(__name__)
T = TypeVar("T")


class CollectionRunning(Exception):
    """Another process is collecting at this moment."""


@dataclass
class Found:
    """Things of one kind that should not be there, or should be and are not.

    `names` are the first few. What is `lost` can only be brought back by a person; everything else
    is removed when that is asked for.
    """

    what: str
    lost: bool = False
    removed: bool = False
    count: int = 0
    size_bytes: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str, size_bytes: int = 0) -> None:
        """Counts one."""
        self.count += 1
        self.size_bytes += size_bytes
        if len(self.names) < _NAMES:
            self.names.append(name)


class Collector:
    """One look at everything, with or without removing what it finds."""

    def __init__(
        self, place: Workplace, dsn: str, *, remove: bool, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._place = place
        self._store = place.store
        self._dsn = dsn
        self._remove = remove
        self._grace_seconds = grace_seconds
        self._before = time.time() - grace_seconds
        self._found: dict[str, Found] = {}

    def run(self) -> list[Found]:
        """What was found, and removed where that was asked for. Raises `CollectionRunning`."""
        timeout = f"-c statement_timeout={_STATEMENT_MILLISECONDS}"
        with closing(connect(self._dsn, options=timeout)) as connection:
            if not try_lock(connection, _LOCK):
                raise CollectionRunning
            try:
                self._look(connection)
            finally:
                # The server notices only some time later that a connection was closed.
                connection.execute("SELECT pg_advisory_unlock(%s)", (lock_number(_LOCK),))
        for group in self._found.values():
            group.removed = self._remove and not group.lost
            _log.info(
                "removed" if group.removed else "found",
                what=group.what,
                count=group.count,
                bytes=group.size_bytes,
                names=group.names,
            )
        return list(self._found.values())

    def _look(self, connection: psycopg.Connection[DictRow]) -> None:
        for what, name in orphan_rows(connection, self._grace_seconds, remove=self._remove):
            self._group(what).add(name)
        owners = Owners(connection)
        self._uploads(owners)
        self._staging(owners)
        self._unfinished(owners)
        references = References(connection, self._store)
        for kind in _CONTENT:
            self._content(kind, references)

    # -- what lies under the name of its content ---------------------------------------------------

    def _content(self, kind: str, references: References) -> None:
        folder, path_of = _CONTENT[kind]
        pairs = _side_by_side(self._store.listing(folder), references.of(kind), path_of)
        for page in _pages(pairs):
            orphans = {
                listed.path: listed.size
                for listed, needed in page
                if listed is not None and needed is None and self._old(listed)
            }
            for path in sorted(self._discarded(kind, orphans, references)):
                self._group(f"{_WORDS[kind]} that nothing refers to").add(path, orphans[path])
            self._lost(kind, references, page)

    def _discarded(self, kind: str, paths: Iterable[str], references: References) -> set[str]:
        """Those of these paths that nothing refers to at a second look; removed if asked for."""
        _, path_of = _CONTENT[kind]
        digests = {path.rsplit("/", 1)[-1].removesuffix(".json"): path for path in paths}
        strays = {path for digest, path in digests.items() if path_of(digest) != path}
        if not digests:
            return set()
        if not self._remove:
            with self._place.pool.connection() as connection:
                free = references.free(connection, kind, digests)
                return strays | {digests[digest] for digest in free}
        with removing(self._place.pool) as connection:
            free = references.free(connection, kind, digests)
            discarded = strays | {digests[digest] for digest in free}
            for path in sorted(discarded):
                self._store.delete(path)
        return discarded

    def _lost(
        self,
        kind: str,
        references: References,
        page: Iterable[tuple[Listed | None, Needed | None]],
    ) -> None:
        missing = [
            needed.name
            for listed, needed in page
            if needed is not None and listed is None and needed.certain
        ]
        altered = [
            needed.name
            for listed, needed in page
            if needed is not None and listed is not None and needed.size not in (None, listed.size)
        ]
        if not missing and not altered:
            return
        _, path_of = _CONTENT[kind]
        with self._place.pool.connection() as connection:
            # Removed rightly since the references were gathered?
            free = references.free(connection, kind, missing)
        for name in missing:
            if name not in free and not self._store.exists(path_of(name)):
                self._group(f"{_WORDS[kind]} that are needed and gone", lost=True).add(
                    path_of(name)
                )
        for name in altered:
            self._group(f"{_WORDS[kind]} of a wrong size", lost=True).add(path_of(name))

    # -- what belongs to an upload or to a job -----------------------------------------------------

    def _uploads(self, owners: Owners) -> None:
        listed = groupby(self._store.listing(UPLOADS), key=lambda listed: _owner(listed.path))
        for page in _pages((name, list(parts)) for name, parts in listed):
            known = owners.uploads([name for name, _ in page])
            for name, parts in page:
                if name not in known and all(map(self._old, parts)):
                    size = sum(part.size for part in parts)
                    self._group("bytes of uploads that are over").add(f"{UPLOADS}/{name}", size)
                    self._discard_tree(f"{UPLOADS}/{name}")
        for upload in owners.uploads_with_parts():
            if self._whole(upload) or not owners.same(upload):
                continue
            self._group("uploads whose bytes are gone").add(str(upload.id))
            found = self._place.uploads.get(upload.id) if self._remove else None
            if found is not None:
                give_up_upload(self._place, found, "Bytes of the upload are gone from the store.")

    def _whole(self, upload: UploadParts) -> bool:
        return all(self._store.exists(part_path(upload.id, at)) for at in upload.offsets)

    def _staging(self, owners: Owners) -> None:
        listed = groupby(self._store.listing(STAGING), key=lambda listed: _owner(listed.path))
        for page in _pages((name, list(files)) for name, files in listed):
            alive = owners.jobs_underway([name for name, _ in page])
            for name, files in page:
                if name in alive or not all(map(self._old, files)):
                    continue
                for file in files:
                    self._group("half-written files").add(file.path, file.size)
                self._discard_tree(f"{STAGING}/{name}")

    def _discard_tree(self, path: str) -> None:
        if self._remove:
            # What is written without a job is written under this lock.
            with removing(self._place.pool):
                self._store.delete_tree(path)

    def _unfinished(self, owners: Owners) -> None:
        for page in _pages(self._store.unfinished()):
            names = [_owner(write.path) for write in page]
            alive = owners.jobs_underway(names) | owners.uploads(names)
            for write in page:
                if _owner(write.path) not in alive and write.begun <= self._before:
                    self._group("unfinished writes").add(write.path)
                    if self._remove:
                        self._store.abort(write)

    # -- small things ------------------------------------------------------------------------------

    def _old(self, listed: Listed) -> bool:
        return listed.modified <= self._before

    def _group(self, what: str, *, lost: bool = False) -> Found:
        return self._found.setdefault(what, Found(what, lost))


def _owner(path: str) -> str:
    """The id of the upload or of the job that a path belongs to."""
    return path.split("/", 2)[1]


def _pages(items: Iterable[T]) -> Iterator[list[T]]:
    source = iter(items)
    while page := list(islice(source, _PAGE)):
        yield page


def _side_by_side(
    listing: Iterator[Listed], references: Iterator[Needed], path_of: Callable[[str], str]
) -> Iterator[tuple[Listed | None, Needed | None]]:
    """Objects and references with the same path together; both come in the order of paths."""
    listed, needed = next(listing, None), next(references, None)
    while listed is not None or needed is not None:
        path = path_of(needed.name) if needed is not None else None
        if listed is not None and (path is None or listed.path < path):
            yield listed, None
            listed = next(listing, None)
        elif listed is None or listed.path != path:
            yield None, needed
            needed = next(references, None)
        else:
            yield listed, needed
            listed, needed = next(listing, None), next(references, None)
