"""What happens when an upload is complete, abandoned or no longer needed.

Everything here may be repeated: a process that dies in between leaves the rest to the next one.
"""

from __future__ import annotations

import threading
from uuid import UUID

from psycopg.rows import DictRow

from backend.application.commands import Accepted, CommandContext
from backend.application.models import Models
from backend.domain.errors import DomainError
from backend.infra.logging import get_logger
from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool
from backend.infra.uploads import Upload, Uploads, folder

_SWEEP_SECONDS = 60.0
_FIRST_SWEEP_SECONDS = 0.5
# Complete and claimed, and the model has not been told. What an event is about stands in its state,
# the text of a JSON object.
_UNANNOUNCED = (
    "SELECT id FROM loggia.uploads WHERE completed_at IS NOT NULL AND model_id IS NOT NULL "
    "AND NOT EXISTS (SELECT 1 FROM loggia.loggia_events WHERE originator_id = model_id AND ("
    "topic = 'ModelDeleted' OR (topic IN ('ModelArchiveReceived', 'ModelImportCancelled', "
    "'ModelImportFailed') AND convert_from(state, 'UTF8')::json ->> 'version' = model_version))) "
    "LIMIT 100"
)
# Of a deleted model, of an import that ended before the last byte, or never imported at all.
_USELESS = (
    "SELECT id FROM loggia.uploads WHERE (model_id IS NULL AND completed_at IS NOT NULL "
    "AND expires_at < now()) OR EXISTS (SELECT 1 FROM loggia.loggia_events "
    "WHERE originator_id = model_id AND (topic = 'ModelDeleted' OR (completed_at IS NULL "
    "AND topic IN ('ModelImportCancelled', 'ModelImportFailed') "
    "AND convert_from(state, 'UTF8')::json ->> 'version' = model_version))) LIMIT 100"
)
_log = get_logger(__name__)


class UploadEnd:
    """Tells the model that its archive is there, and clears away what nobody needs."""

    def __init__(
        self, pool: Pool, uploads: Uploads, object_store: ObjectStore, models: Models
    ) -> None:
        self._pool = pool
        self._uploads = uploads
        self._object_store = object_store
        self._models = models
        self._stop = threading.Event()

    def announce(self, upload: Upload) -> Accepted | None:
        """Tells the model that its archive has arrived, once; None where there is none to tell."""
        if not upload.complete or upload.model_id is None:
            return None
        context = CommandContext(actor=upload.owner).keyed(f"archive-received:{upload.id}")
        return self._models.receive_archive(
            context, upload.model_id, upload_id=upload.id, size_bytes=upload.size_bytes
        )

    def remove(self, upload_id: UUID) -> None:
        """Forgets an upload and its bytes."""
        self._object_store.delete_tree(folder(upload_id))
        self._uploads.delete(upload_id)

    def abandon(self, upload: Upload, *, actor: str, reason: str) -> None:
        """Removes an unfinished upload; an import that waits for it fails with the reason."""
        version = upload.model_version
        if upload.model_id is not None and version is not None and not upload.complete:
            try:
                self._models.record_import_failed(
                    CommandContext(actor=actor),
                    upload.model_id,
                    version,
                    step="upload",
                    reason=reason,
                    remedy="Delete this model and upload the file again.",
                )
            except DomainError as error:
                _log.info("the import had ended already", detail=error.detail)
        self.remove(upload.id)

    def start(self) -> None:
        """Begins to sweep in the background."""
        threading.Thread(target=self._run, name="uploads", daemon=True).start()

    def stop(self) -> None:
        """Ends the background thread at its next wake-up."""
        self._stop.set()

    def sweep(self) -> None:
        """Does what a process that died has left undone, and removes what has expired."""
        for row in self._rows(_UNANNOUNCED):
            upload = self._uploads.get(row["id"])
            if upload is not None:
                self.announce(upload)
        for upload in self._uploads.expired():
            self.abandon(
                upload,
                actor="system",
                reason=f"The upload stopped at {upload.offset_bytes} of {upload.size_bytes} bytes "
                "and was not continued in time.",
            )
        for row in self._rows(_USELESS):
            self.remove(row["id"])

    def _rows(self, query: str) -> list[DictRow]:
        with self._pool.connection() as connection:
            return connection.execute(query.encode()).fetchall()

    def _run(self) -> None:
        pause = _FIRST_SWEEP_SECONDS
        while not self._stop.wait(pause):
            pause = _SWEEP_SECONDS
            try:
                self.sweep()
            except Exception as error:
                _log.warning("uploads could not be swept, trying again", error=repr(error))
