"""Removes uploads whose time is over, and files that a killed process left half written."""

from __future__ import annotations

import time
from uuid import UUID

from backend.application.commands import CommandContext
from backend.domain.errors import NotAllowed
from backend.domain.model import Model, ModelState
from backend.infra.dry_runs import DryRuns
from backend.infra.logging import get_logger
from backend.infra.uploads import Upload
from workers.importing.job import ACTOR, Workplace

# No writer that is alive is silent for so long: every network call ends earlier.
_STAGING_SECONDS = 3600
_PAGE = 100

_log = get_logger(__name__)


def sweep(place: Workplace) -> None:
    """One round; may run in several processes at once."""
    _unfinished_uploads(place)
    _unused_archives(place)
    _staging(place)
    DryRuns(place.pool).forget_old()


def _unfinished_uploads(place: Workplace) -> None:
    for upload in place.uploads.expired(_PAGE):
        if upload.model_id is not None:
            _fail_expired(place, upload.model_id, upload)
        place.residue.discard_upload(upload.id)
        _log.info("upload expired", upload=str(upload.id))


def _fail_expired(place: Workplace, model_id: UUID, upload: Upload) -> None:
    model = place.events.find(Model, model_id)
    version = model.version_of_upload(upload.id) if model is not None else None
    if version is None or version.state is not ModelState.IMPORTING or version.archive_received:
        return
    try:
        place.models.record_import_failed(
            CommandContext(ACTOR),
            model_id,
            version.number,
            step="upload",
            reason=f"The upload expired: {upload.offset_bytes} of {upload.size_bytes} bytes had "
            "arrived.",
            remedy="Delete this model and upload the file again.",
        )
    except NotAllowed:
        return  # cancelled or deleted meanwhile


def _unused_archives(place: Workplace) -> None:
    """Archives that arrived but came to nothing, once their time for a retry is over."""
    for upload in place.uploads.expired_archives(_PAGE):
        model = place.events.find(Model, upload.model_id) if upload.model_id else None
        version = model.version_of_upload(upload.id) if model is not None else None
        if model is None or model.deleted or version is None or version.state is ModelState.FAILED:
            place.residue.discard_upload(upload.id)
            _log.info("archive expired", upload=str(upload.id))


def _staging(place: Workplace) -> None:
    """A remote store forgets unfinished writes by itself; a directory does not."""
    folder = place.store.local_path("staging")
    if folder is None or not folder.is_dir():
        return
    before = time.time() - _STAGING_SECONDS
    for path in folder.rglob("*"):
        try:
            if path.is_file() and path.stat().st_mtime < before:
                path.unlink()
                _log.info("half-written file removed", name=path.name)
        except FileNotFoundError:
            continue  # another process was first
