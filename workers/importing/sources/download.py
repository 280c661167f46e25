"""An archive at an address: fetched in parts that survive their worker, read like an upload."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from backend.infra.failpoints import failpoint
from backend.infra.object_store import StagedFile
from backend.infra.parts import PlacedPart, open_parts
from backend.sources.errors import ContentChanged, FetchFailed
from workers.importing.refusals import ImportRefused
from workers.importing.sources import Ongoing
from workers.importing.sources.url import UrlFile

# At most so much is fetched again when a worker dies.
_PART_BYTES = 64 << 20
_READ_BYTES = 1 << 20


class Download:
    """Brings the archive into the import's staging; what the journal names is there already."""

    def __init__(self, file: UrlFile, ongoing: Ongoing) -> None:
        self._file = file
        self._ongoing = ongoing
        self._digest = hashlib.sha256()
        self._size = 0

    def open(self) -> tuple[BinaryIO, str]:
        """The whole archive, and its SHA-256. Raises `FetchFailed` and `ImportRefused`."""
        kept = self._ongoing.journal.setdefault("archive", {"parts": [], "validator": None})
        if kept.get("sha256") is None:
            try:
                self._resume()
            except ContentChanged:
                kept.update(parts=[], validator=None)
                self._digest, self._size = hashlib.sha256(), 0
                self._fetch()
            self._verify()
            kept["sha256"] = self._digest.hexdigest()
            self._ongoing.write_journal()
        return open_parts(self._ongoing.store, self._parts()), str(kept["sha256"])

    def _parts(self) -> list[PlacedPart]:
        return [PlacedPart(*part) for part in self._ongoing.journal["archive"]["parts"]]

    def _resume(self) -> None:
        parts = self._parts()
        self._file.validator = self._ongoing.journal["archive"]["validator"]
        if parts and self._file.validator is None:
            raise ContentChanged(self._file.path)  # nothing says that it is still the same
        with open_parts(self._ongoing.store, parts) as earlier:
            while chunk := earlier.read(_READ_BYTES):
                self._ongoing.check()
                self._digest.update(chunk)
                self._size += len(chunk)
        self._fetch()

    def _fetch(self) -> None:
        """Fetches what is missing, a part at a time."""
        ongoing = self._ongoing
        chunks = self._watched()
        ongoing.progress("fetch", self._size, self._file.size)
        more = True
        while more:
            offset = self._size
            staged = ongoing.store.stage(f"{ongoing.staging}/archive")
            try:
                more = False
                for chunk in chunks:
                    staged.write(chunk)
                    if self._size - offset >= _PART_BYTES:
                        more = True
                        break
            except FetchFailed:
                # What has come is worth keeping: the next attempt goes on behind it.
                self._keep(staged, offset)
                raise
            except BaseException:
                with suppress(OSError):
                    staged.discard()
                raise
            self._keep(staged, offset)
        ongoing.progress("fetch", self._size, self._size)

    def _keep(self, staged: StagedFile, offset: int) -> None:
        """Enters a part into the journal. A worker that lost its claim has names of its own."""
        if self._size == offset:
            staged.discard()
            return
        path = f"{self._ongoing.staging}/archive/{self._ongoing.attempt}-{offset:020d}"
        staged.commit(path)
        kept = self._ongoing.journal["archive"]
        kept["parts"].append([path, offset, self._size - offset])
        kept["validator"] = self._file.validator
        self._ongoing.write_journal()

    def _watched(self) -> Iterator[bytes]:
        most = self._ongoing.limits.max_total_bytes
        for chunk in self._file.chunks(self._size):
            self._ongoing.check()
            failpoint("import.fetched")
            self._size += len(chunk)
            self._digest.update(chunk)
            if self._size > most:
                raise ImportRefused(
                    "too_large",
                    f"The archive has more than {most} bytes.",
                    "Import a smaller model, or ask the operator to raise LOGGIA_IMPORT_MAX_BYTES.",
                    step="fetch",
                )
            yield chunk
            self._ongoing.progress("fetch", self._size, self._file.size)

    def _verify(self) -> None:
        promised = self._file.sha256
        if promised is not None and promised != self._digest.hexdigest():
            raise wrong_digest(self._file.path, promised, self._digest.hexdigest())


def wrong_digest(path: str, promised: str, found: str) -> ImportRefused:
    """The refusal of content that is not what was promised."""
    return ImportRefused(
        "wrong_digest",
        f"'{path}' has the SHA-256 {found}; {promised} was promised.",
        "Correct the digest, or find out who altered the file; do not use it before.",
        step="fetch",
    )
