"""One import: from the parts of an upload to verified files, a report, and the model's next event.

Every step may be repeated by another worker at any point: what is stored is in the journal, what
is decided is in the model's events, and both are written only under this worker's claim.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from backend.application.commands import CommandContext
from backend.application.models import Models
from backend.application.store import EventStore
from backend.domain.errors import NotAllowed
from backend.domain.model import Model, ModelState, Version
from backend.infra.connections import ConnectionStore
from backend.infra.failpoints import failpoint
from backend.infra.jobs import Claim, Jobs, LeaseLost, fence
from backend.infra.logging import get_logger
from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool
from backend.infra.telemetry import Telemetry, TelemetryPublisher
from backend.infra.uploads import Uploads
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.guarded import GuardedClient
from workers.importing.archive_limits import ArchiveLimits
from workers.importing.base_model import base_model_facts
from workers.importing.fetching import Sources
from workers.importing.inspecting import IMAGE_CHECKS, MANUAL_CHECKS, inspect_version
from workers.importing.intake import Intake, staging
from workers.importing.lease import Cancelled, Interrupted, Lease
from workers.importing.quota import Quota
from workers.importing.refusals import ImportRefused
from workers.importing.residue import CLEANUP, Residue, is_latest
from workers.importing.storing import StoredFile, StoredModel
from workers.importing.validation import CHECKS, validate
from workers.importing.validation.report import Check, Report

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
    sources: Sources
    quota: Quota
    telemetry: TelemetryPublisher
    limits: ArchiveLimits
    lease_seconds: float
    connections: ConnectionStore
    # A client that breaks off when the given function raises.
    fetching: Callable[[Callable[[], None]], GuardedClient]


class ImportJob:
    """Carries out one claim."""

    def __init__(self, place: Workplace, claim: Claim, lease: Lease) -> None:
        self._place = place
        self._claim = claim
        self._lease = lease
        self._journal = dict(claim.journal)
        self._journal.setdefault("files", {})
        self._step = "extract"
        self._intake = Intake(place, claim, lease, self._journal, self._context(), self._progress)

    def run(self) -> None:
        """Brings the import to its end. Raises `LeaseLost` and `Interrupted`; then it goes on
        elsewhere or later."""
        if self._claim.kind == CLEANUP:
            self._clean_up()
            return
        try:
            self._lease.check()
            self._intake.discard_half_written()
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
        version = self._version()
        if self._claim.attempt > _MOST_CLAIMS:
            raise _broke_off(self._claim.attempt - 1, "its worker died each time", self._step)
        if not version.has_files:
            self._inspect(version)
            self._succeed(None)
            return
        self._step = "fetch" if version.upload_id is None else "extract"
        files = self._intake.files(version)
        self._validate(version, files)
        self._succeed(version.upload_id)

    # -- validating ------------------------------------------------------------------------------

    def _validate(self, version: Version, files: list[StoredFile]) -> None:
        self._step = "validate"
        place = self._place
        base = None
        if version.base_model_id is not None:
            base = base_model_facts(
                place.events, place.store, place.sources.roots, version.base_model_id
            )
        model = self._model()
        result = validate(
            StoredModel(place.store, files, place.sources.roots),
            kind=model.kind,
            base=base,
            # As they are now: somebody may have accepted one while the files were fetched.
            accepted_risks=frozenset(model.version_of(self._number).accepted_risks),
            origin=version.origin,
            leftovers=self._journal.get("leftovers", []),
            on_check=self._counting(CHECKS),
        )
        self._record_validated(result.report, result.card)

    def _inspect(self, version: Version) -> None:
        """Validates a version that has no files."""
        self._step = "validate"
        place = self._place
        most = MANUAL_CHECKS if version.source == "manual" else IMAGE_CHECKS
        with place.fetching(self._lease.check) as client:
            result = inspect_version(
                version, place.connections, client, on_check=self._counting(most)
            )
        if result.image is not None:
            self._lease.check()
            place.models.record_image_inspected(
                self._context(),
                self._claim.model_id,
                self._number,
                reference=result.image.reference,
                digest=result.image.digest,
                platform=result.image.platform,
                size_bytes=result.image.size_bytes,
                ports=[str(port) for port in result.image.ports],
                labels=result.image.labels,
                fence=fence(self._claim),
            )
            failpoint("import.image-recorded")
        self._record_validated(result.report, result.card)

    def _counting(self, checks: int) -> Callable[[Check], None]:
        """Publishes progress at each of about so many checks."""
        done = 0

        def on_check(check: Check) -> None:
            nonlocal done
            self._lease.check()
            failpoint("import.checked")
            done += 1
            self._progress("validate", done, max(done, checks), "steps", check.title)

        self._progress("validate", 0, checks, "steps")
        return on_check

    def _record_validated(self, report: Report, card: dict[str, Any] | None) -> None:
        if card is None:
            raise _refused_by(report.failures, report.to_dict())
        self._lease.check()
        self._place.models.record_validated(
            self._context(),
            self._claim.model_id,
            self._number,
            report=report.to_dict(),
            card=card,
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
        gone = version.state is ModelState.FAILED and not version.archive_received
        if gone and version.upload_id is not None:
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
        elif isinstance(error, FetchRefused):
            self._fail(ImportRefused(error.code, error.reason, error.remedy, step=self._step))
        elif isinstance(error, FetchFailed) and not (
            error.retryable and self._claim.attempt < MOST_ATTEMPTS
        ):
            self._fail(ImportRefused("not_fetched", error.reason, error.remedy, step=self._step))
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

    def _discard_staged(self) -> None:
        self._place.store.delete_tree(staging(self._claim))

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

    def _progress(
        self, step: str, done: int, total: int | None, unit: str = "bytes", message: str = ""
    ) -> None:
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
