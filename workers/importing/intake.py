"""From a source to stored, verified files: the part of an import that reads and writes bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from backend.application.commands import CommandContext
from backend.domain.version import ModelState, Version
from backend.infra.failpoints import failpoint
from backend.infra.jobs import Claim, fence
from backend.infra.object_store import STAGING
from workers.importing.archive import Entry
from workers.importing.fetching import Readable
from workers.importing.lease import Lease
from workers.importing.names import without_common_folder
from workers.importing.sources import Ongoing
from workers.importing.storing import BlobWriter, StoredFile, blob_path, manifest, manifest_path

if TYPE_CHECKING:
    from workers.importing.job import Workplace

Progress = Callable[[str, int, int | None], None]

# Files that stay where they are cost little to hash again.
_JOURNAL_BYTES = 1 << 30


def staging(claim: Claim) -> str:
    """Where an import keeps what is not complete yet."""
    return f"{STAGING}/{claim.job_id}"


class Intake:
    """Stores the files of one claim's version. `journal` is shared with the job."""

    def __init__(
        self,
        place: Workplace,
        claim: Claim,
        lease: Lease,
        journal: dict[str, Any],
        context: CommandContext,
        progress: Progress,
    ) -> None:
        self._place = place
        self._claim = claim
        self._lease = lease
        self._journal = journal
        self._context = context
        self._progress = progress
        self._spending = place.quota.begin(journaled=True)
        self._unwritten = 0

    def discard_half_written(self) -> None:
        """Removes what killed predecessors were writing, but for what can be continued."""
        kept = [str(part[0]) for part in self._journal.get("archive", {}).get("parts", [])]
        kept += [str(self._journal["partial"][1])] if "partial" in self._journal else []
        for path in self._place.store.list(staging(self._claim)):
            if path not in kept:
                self._place.store.delete(path)

    def files(self, version: Version) -> list[StoredFile]:
        """Every file of the version, stored and recorded; what the journal names is there.

        Raises `ImportRefused`, `FetchRefused`, `FetchFailed` and what the lease raises.
        """
        ongoing = Ongoing(
            store=self._place.store,
            journal=self._journal,
            write_journal=self._write_journal,
            check=self._lease.check,
            progress=self._progress,
            staging=staging(self._claim),
            attempt=self._claim.attempt,
            limits=self._place.limits,
        )
        with self._place.sources.open(version, ongoing) as opened:
            while True:
                source = opened()
                paths = self._store(source)
                self._journal["leftovers"] = list(source.leftovers[:100])
                self._record_fetched(version, source, paths)
                files = self._published(version.number, paths)
                if files is not None:
                    return files

    def _store(self, source: Readable) -> list[str]:
        """Stores what the journal does not name yet. Returns the paths of all files."""
        known = {**self._journal["files"], **self._journal.setdefault("referenced", {})}
        paths: list[str] = []
        readable_alone = source.consumed is None
        done = sum(int(row[1]) for row in known.values()) if readable_alone else 0
        self._progress(source.step, done, source.total_bytes)

        def enter(files: Sequence[StoredFile]) -> None:
            for file in files:
                source.check(file)
            self._enter(files)

        folder = f"{staging(self._claim)}/{self._claim.attempt}"
        with BlobWriter(self._place.store, folder, enter, source.kept) as writer:
            for entry in source.entries():
                paths.append(entry.path)
                location = source.location(entry.path)
                if entry.path in known:
                    if not readable_alone:
                        # What is stored already still has to be read to come to the next file.
                        for _ in self._watched(entry, source, done):
                            pass
                        done += entry.size
                    continue
                chunks = self._watched(entry, source, done)
                if location is None:
                    writer.add(entry.path, chunks)
                else:
                    self._refer(source, entry.path, location, chunks)
                done += entry.size
        self._progress(source.step, source.total_bytes or done, source.total_bytes or done)
        return paths

    def _watched(self, entry: Entry, source: Readable, done: int) -> Iterator[bytes]:
        for chunk in entry.chunks():
            self._lease.check()
            failpoint("import.chunk")
            yield chunk
            done += len(chunk)
            consumed = source.consumed
            self._progress(source.step, done if consumed is None else consumed, source.total_bytes)

    def _refer(self, source: Readable, path: str, location: str, chunks: Iterator[bytes]) -> None:
        """Takes the digest of a file that stays where it is."""
        digest = hashlib.sha256()
        size = 0
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
        source.check(StoredFile(path, digest.hexdigest(), size, location))
        self._journal["referenced"][path] = [digest.hexdigest(), size, location]
        self._unwritten += size
        if self._unwritten >= _JOURNAL_BYTES:
            self._write_journal()
            self._unwritten = 0

    def _enter(self, files: Sequence[StoredFile]) -> None:
        """Enters files into the journal before they appear: none is ever unaccounted for.

        One that did not appear after all is missed when the manifest is to be published.
        """
        for file in files:
            self._journal["files"][file.path] = [file.sha256, file.size]
            if self._journal.get("partial", [None])[0] == file.path:
                del self._journal["partial"]
        self._write_journal()
        self._spending.add(files)

    def _write_journal(self) -> None:
        self._lease.check()
        self._place.jobs.write_journal(self._claim, self._journal)
        failpoint("import.journaled")

    def _record_fetched(self, version: Version, source: Readable, paths: list[str]) -> None:
        if source.resolved is None or version.state is not ModelState.IMPORTING:
            return
        rows = [*self._journal["files"].items(), *self._journal["referenced"].items()]
        sizes = {path: int(row[1]) for path, row in rows}
        self._place.models.record_source_fetched(
            self._context,
            self._claim.model_id,
            version.number,
            resolved=source.resolved,
            file_count=len(paths),
            total_bytes=sum(sizes[path] for path in paths),
            fence=fence(self._claim),
        )
        failpoint("import.fetch-recorded")

    def _published(self, number: str, paths: list[str]) -> list[StoredFile] | None:
        """Writes the manifest and records that the files are stored.

        None where some are not there after all; then they are no longer in the journal.
        """
        place = self._place
        final = without_common_folder(paths)
        rows = {**self._journal["files"], **self._journal["referenced"]}
        files = [StoredFile(final[path], *rows[path]) for path in paths]
        text, digest = manifest(files)
        self._journal["manifest"] = digest
        self._write_journal()
        with place.residue.nothing_removed():
            gone = {
                file.sha256
                for file in files
                if file.location is None and not place.store.exists(blob_path(file.sha256))
            }
            if not gone:
                if not place.store.exists(manifest_path(digest)):
                    place.store.put(manifest_path(digest), [text])
                place.models.record_files_stored(
                    self._context,
                    self._claim.model_id,
                    number,
                    manifest_uri=place.store.uri(manifest_path(digest)),
                    manifest_sha256=digest,
                    file_count=len(files),
                    total_bytes=sum(file.size for file in files),
                    fence=fence(self._claim),
                )
                failpoint("import.files-recorded")
                return files
        # A worker died between entering and storing them, or another import that had the same
        # content failed and took it away.
        self._journal["files"] = {
            path: row for path, row in self._journal["files"].items() if row[0] not in gone
        }
        return None
