"""What happens when an upload is complete or given up.

Everything here may be repeated: a process that dies in between leaves the rest to the next one.
Uploads whose time is over are removed by the import worker.
"""

from __future__ import annotations

import threading

from backend.application.commands import Accepted, CommandContext
from backend.application.models import Models
from backend.domain.errors import DomainError
from backend.infra.logging import get_logger
from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool
from backend.infra.uploads import Upload, Uploads, folder

_LOOK_SECONDS = 60.0
_FIRST_LOOK_SECONDS = 0.5
# Complete and claimed, and the model has not been told. What an event is about stands in its state,
# the text of a JSON object.
_UNANNOUNCED = (
    "SELECT id FROM loggia.uploads WHERE completed_at IS NOT NULL AND model_id IS NOT NULL "
    "AND NOT EXISTS (SELECT 1 FROM loggia.loggia_events WHERE originator_id = model_id AND ("
    "topic = 'ModelDeleted' OR (topic IN ('ModelArchiveReceived', 'ModelImportCancelled', "
    "'ModelImportFailed') AND convert_from(state, 'UTF8')::json ->> 'version' = model_version))) "
    "LIMIT 100"
)
_log = get_logger(__name__)


class UploadEnd:
    """Tells the model that its archive is there, or that it never will be."""

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

    def give_up(self, upload: Upload, *, actor: str) -> None:
        """Removes an upload; an import that waits for its last byte fails."""
        version = upload.model_version
        if upload.model_id is not None and version is not None and not upload.complete:
            try:
                self._models.record_import_failed(
                    CommandContext(actor=actor),
                    upload.model_id,
                    version,
                    step="upload",
                    reason="The upload was given up.",
                    remedy="Delete this model and upload the file again.",
                )
            except DomainError as error:
                _log.info("the import had ended already", detail=error.detail)
        self._object_store.delete_tree(folder(upload.id))
        self._uploads.delete(upload.id)

    def start(self) -> None:
        """Begins to look in the background for what a process that died has left unsaid."""
        threading.Thread(target=self._run, name="uploads", daemon=True).start()

    def stop(self) -> None:
        """Ends the background thread at its next wake-up."""
        self._stop.set()

    def announce_all(self) -> None:
        """Tells every model whose archive is there and that has not been told."""
        with self._pool.connection() as connection:
            rows = connection.execute(_UNANNOUNCED.encode()).fetchall()
        for row in rows:
            upload = self._uploads.get(row["id"])
            if upload is not None:
                self.announce(upload)

    def _run(self) -> None:
        pause = _FIRST_LOOK_SECONDS
        while not self._stop.wait(pause):
            pause = _LOOK_SECONDS
            try:
                self.announce_all()
            except Exception as error:
                _log.warning("uploads could not be announced, trying again", error=repr(error))
