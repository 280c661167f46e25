"""One import: from the parts of an upload to verified files, a report, and the model's next event.

Every step may be repeated by another worker at any point: what is stored is in the journal, what
is decided is in the model's events, and both are written only under this worker's claim.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from backend.application.commands import CommandContext
from backend.application.models import Models
from backend.application.store import EventStore
from backend.domain.errors import NotAllowed
from backend.domain.model import Model, ModelState, Version
from backend.infra.failpoints import failpoint
from backend.infra.jobs import Claim, Jobs, LeaseLost, fence
from backend.infra.logging import get_logger
from backend.infra.object_store import STAGING, ObjectStore
from backend.infra.postgres import Pool
from backend.infra.telemetry import Telemetry, TelemetryPublisher
from backend.infra.uploads import Uploads, open_upload
from workers.importing.archive import Archive, Entry, open_archive
from workers.importing.archive_limits import ArchiveLimits
from workers.importing.lease import Cancelled, Interrupted, Lease
from workers.importing.names import without_common_folder
from workers.importing.refusals import ImportRefused
from workers.importing.residue import CLEANUP, Residue, is_latest
from workers.importing.storing import (
    BlobWriter,
    StoredFile,
    StoredModel,
    blob_path,
    manifest,
    manifest_path,
)
from workers.importing.validation import CHECKS, validate
from workers.importing.validation.report import Check

ACTOR = "worker:import"
# A fault that comes back is recorded at this claim; a job that kills its workers, after so many.
MOST_ATTEMPTS = 5
_MOST_CLAIMS = 20

_log = get_logger(__name__)


@dataclass(frozen=True)
class Workplace:
    """What an import works with."""

    pool: Pool
    events: EventStore
    models: Models
    store: ObjectStore
    jobs: Jobs
    uploads: Uploads
    residue: Residue
    telemetry: TelemetryPublisher
    limits: ArchiveLimits
    lease_seconds: float


class ImportJob:
    """Carries out one claim."""

    def __init__(self, place: Workplace, claim: Claim, lease: Lease) -> None:
        self._place = place
        self._claim = claim
        self._lease = lease
        self._journal = dict(claim.journal)
        self._journal.setdefault("files", {})
        self._step = "extract"

    def run(self) -> None:
        """Brings the import to its end. Raises `LeaseLost` and `Interrupted`; then it goes on
        elsewhere or later."""
        if self._claim.kind == CLEANUP:
            self._clean_up()
            return
        try:
            self._lease.check()
            self._discard_staged()  # what a killed predecessor left half written
            if self._underway():
                self._import()
            else:
                self._tidy_up()
        except (LeaseLost, Interrupted):
            raise
        except Exception as error:
            self._conclude(error)

    def _clean_up(self) -> None:
        """Removes what a deleted model or a cancelled version left. A retry since keeps its own."""
        model = self._model()
        if model.deleted:
            self._place.residue.discard_model(self._claim, model.id)
        elif self._version().state is ModelState.FAILED:
            self._place.residue.discard_model(self._claim, model.id, self._number)
        self._discard_useless_uploads()
        self._place.jobs.finish(self._claim)

    def _underway(self) -> bool:
        """Whether the version still waits for this import, and not for a later one."""
        model = self._model()
        waiting = not model.deleted and model.version_of(self._number).underway
        return waiting and is_latest(self._place.pool, self._claim)

    def _tidy_up(self) -> None:
        """Ends the job of a worker that was killed between its result and the end of its job."""
        version = self._version()
        if version.state is ModelState.READY and is_latest(self._place.pool, self._claim):
            self._succeed(version.upload_id)
        else:
            self._give_up("failed")

    def _import(self) -> None:
        place = self._place
        version = self._version()
        if self._claim.attempt > _MOST_CLAIMS:
            raise _broke_off(self._claim.attempt - 1, "its worker died each time", self._step)
        upload = place.uploads.get(version.upload_id) if version.upload_id else None
        if upload is None or not upload.complete:
            raise ImportRefused(
                "upload_gone",
                "The uploaded archive is no longer stored.",
                "Delete this model and upload the file again.",
            )
        files = None
        with open_upload(place.store, upload) as source:
            while files is None:
                archive = open_archive(source, place.limits, upload.file_name)
                paths = self._store_files(archive)
                self._journal["leftovers"] = list(archive.leftovers[:100])
                files = self._published(paths)
        self._validate(files)
        self._succeed(version.upload_id)

    # -- storing ---------------------------------------------------------------------------------

    def _store_files(self, archive: Archive) -> list[str]:
        """Stores what the journal does not name yet. Returns the paths of all files."""
        known = dict(self._journal["files"])
        total = archive.total_bytes
        paths: list[str] = []
        done = 0
        self._progress("extract", 0, total, "bytes")
        staging = f"{self._staging}/{self._claim.attempt}"
        with BlobWriter(self._place.store, staging, self._enter) as writer:
            for entry in archive.entries():
                paths.append(entry.path)
                if entry.path not in known:
                    writer.add(entry.path, self._watched(entry, archive, done))
                elif archive.consumed is not None:
                    # What is stored already still has to be read to come to the next file.
                    for _ in self._watched(entry, archive, done):
                        pass
                done += entry.size
        self._progress("extract", total, total, "bytes")
        return paths

    def _watched(self, entry: Entry, archive: Archive, done: int) -> Iterator[bytes]:
        for chunk in entry.chunks():
            self._lease.check()
            failpoint("import.chunk")
            yield chunk
            done += len(chunk)
            consumed = archive.consumed
            self._progress(
                "extract", done if consumed is None else consumed, archive.total_bytes, "bytes"
            )

    def _enter(self, files: Sequence[StoredFile]) -> None:
        """Enters files into the journal before they appear: none is ever unaccounted for.

        One that did not appear after all is missed when the manifest is to be published.
        """
        for file in files:
            self._journal["files"][file.path] = [file.sha256, file.size]
        self._write_journal()

    def _write_journal(self) -> None:
        self._lease.check()
        self._place.jobs.write_journal(self._claim, self._journal)
        failpoint("import.journaled")

    def _published(self, paths: list[str]) -> list[StoredFile] | None:
        """Writes the manifest and records that the files are stored.

        None where some are not there after all; then they are no longer in the journal.
        """
        place = self._place
        final = without_common_folder(paths)
        files = [StoredFile(final[path], *self._journal["files"][path]) for path in paths]
        text, digest = manifest(files)
        self._journal["manifest"] = digest
        self._write_journal()
        with place.residue.nothing_removed():
            gone = {f.sha256 for f in files if not place.store.exists(blob_path(f.sha256))}
            if not gone:
                if not place.store.exists(manifest_path(digest)):
                    place.store.put(manifest_path(digest), [text])
                place.models.record_files_stored(
                    self._context(),
                    self._claim.model_id,
                    self._number,
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

    # -- validating ------------------------------------------------------------------------------

    def _validate(self, files: list[StoredFile]) -> None:
        self._step = "validate"
        done = 0

        def on_check(check: Check) -> None:
            nonlocal done
            self._lease.check()
            failpoint("import.checked")
            done += 1
            self._progress("validate", done, max(done, CHECKS), "steps", check.title)

        self._progress("validate", 0, CHECKS, "steps")
        result = validate(
            StoredModel(self._place.store, files),
            leftovers=self._journal.get("leftovers", []),
            on_check=on_check,
        )
        if result.card is None:
            raise _refused_by(result.report.failures, result.report.to_dict())
        self._lease.check()
        self._place.models.record_validated(
            self._context(),
            self._claim.model_id,
            self._number,
            report=result.report.to_dict(),
            card=result.card,
            fence=fence(self._claim),
        )

    # -- ends ------------------------------------------------------------------------------------

    def _succeed(self, upload_id: UUID | None) -> None:
        failpoint("import.ended")
        self._discard_staged()
        if upload_id is not None:
            self._place.residue.discard_upload(upload_id)
        failpoint("import.tidied")
        self._place.jobs.finish(self._claim)
        _log.info("imported", model_id=str(self._claim.model_id))

    def _fail(self, refusal: ImportRefused, *, parked: str | None = None) -> None:
        """Records the failure and keeps the upload, so that a retry needs no second one."""
        try:
            self._place.models.record_import_failed(
                self._context(),
                self._claim.model_id,
                self._number,
                step=refusal.step,
                reason=refusal.reason,
                remedy=refusal.remedy,
                report=refusal.report,
                fence=fence(self._claim),
            )
        except NotAllowed:
            self._give_up("cancelled")
            return
        failpoint("import.ended")
        _log.info("refused", model_id=str(self._claim.model_id), code=refusal.code)
        self._discard_staged()
        self._place.residue.discard_files(self._claim, self._journal)
        failpoint("import.tidied")
        state = "parked" if parked else "failed"
        self._place.jobs.finish(self._claim, state=state, error=parked or refusal.reason)

    def _give_up(self, state: str) -> None:
        """Ends the job of a version that wants nothing of it any more."""
        self._discard_staged()
        self._place.residue.discard_files(self._claim, self._journal)
        self._discard_useless_uploads()
        self._place.jobs.finish(self._claim, state=state)

    def _discard_useless_uploads(self) -> None:
        """A complete archive of a failed import is kept for a retry until it expires."""
        model = self._model()
        if model.deleted:
            self._place.residue.discard_uploads_of(model.id)
            return
        version = self._version()
        if version.state is ModelState.FAILED and version.upload_id is not None:
            if not version.archive_received:
                self._place.residue.discard_upload(version.upload_id)

    def _conclude(self, error: Exception) -> None:
        """Decides what an exception means for the job. Raises it where the job goes on later."""
        try:
            self._lease.check()
        except Cancelled as cancelled:
            error = cancelled
        if isinstance(error, Cancelled | NotAllowed):
            # NotAllowed: the model was cancelled or deleted between two of our steps.
            self._give_up("cancelled")
        elif isinstance(error, ImportRefused):
            self._fail(error)
        elif isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            self._fail(_disk_full(self._step))
        elif self._claim.attempt < MOST_ATTEMPTS:
            raise error
        else:
            _log.error("parked", model_id=str(self._claim.model_id), error=repr(error))
            fault = f"{type(error).__name__}: {error}"
            self._fail(
                _broke_off(self._claim.attempt, fault, self._step), parked=repr(error)[:2000]
            )

    # -- small things ----------------------------------------------------------------------------

    @property
    def _staging(self) -> str:
        return f"{STAGING}/{self._claim.job_id}"

    def _discard_staged(self) -> None:
        self._place.store.delete_tree(self._staging)

    def _model(self) -> Model:
        return self._place.events.load(Model, self._claim.model_id)

    @property
    def _number(self) -> str:
        return str(self._claim.payload["version"])

    def _version(self) -> Version:
        return self._model().version_of(self._number)

    def _context(self) -> CommandContext:
        payload = self._claim.payload
        return CommandContext(
            ACTOR,
            correlation_id=UUID(payload["correlation_id"]),
            causation_id=UUID(payload["event_id"]),
        )

    def _progress(self, step: str, done: int, total: int, unit: str, message: str = "") -> None:
        self._place.telemetry.publish(
            Telemetry(self._claim.model_id, "import", step, done, total, unit, message)
        )


def _refused_by(failures: list[Check], report: dict[str, Any]) -> ImportRefused:
    first, more = failures[0], len(failures) - 1
    also = f" {more} more {'check' if more == 1 else 'checks'} failed." if more else ""
    return ImportRefused(
        first.id, f"{first.evidence}{also}", first.hint, step="validate", report=report
    )


def _broke_off(times: int, fault: str, step: str) -> ImportRefused:
    return ImportRefused(
        "unexpected",
        f"The import broke off {times} times: {fault}"[:500],
        "Look at the import worker's log, then retry the import.",
        step=step,
    )


def _disk_full(step: str) -> ImportRefused:
    return ImportRefused(
        "disk_full",
        "The object store has no room left for this model's files.",
        "Free some space or ask the operator for more, then retry the import.",
        step=step,
    )
