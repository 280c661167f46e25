"""Removes what has had its time: uploads, dry runs, the jobs of deleted models, the keys of old
commands, and dead letters that were applied."""

from __future__ import annotations

from uuid import UUID

from backend.application.commands import CommandContext
from backend.application.group_commit import forget_old_commands
from backend.domain.errors import NotAllowed
from backend.domain.model import Model, ModelState
from backend.infra.dead_letters import forget_resolved
from backend.infra.dry_runs import DryRuns
from backend.infra.logging import get_logger
from backend.infra.stored_bytes import STORING
from backend.infra.uploads import Upload
from workers.importing.job import ACTOR, Workplace
from workers.importing.residue import CLEANUP

_PAGE = 100
_FORGET_JOBS = (
    "DELETE FROM loggia.jobs AS job WHERE kind = ANY(%s) "
    "AND state NOT IN ('queued', 'running') AND updated_at < now() - interval '1 day' "
    "AND NOT journal ? 'files' AND EXISTS (SELECT 1 FROM loggia.loggia_events "
    "WHERE originator_id = job.model_id AND topic = 'ModelDeleted')"
)

_log = get_logger(__name__)


def sweep(place: Workplace) -> None:
    """One round; may run in several processes at once."""
    _unfinished_uploads(place)
    _unused_archives(place)
    DryRuns(place.pool).forget_old()
    with place.pool.connection() as connection:
        connection.execute(_FORGET_JOBS, ([*STORING, CLEANUP],))
    forget_old_commands(place.pool)
    forget_resolved(place.pool)


def give_up_upload(place: Workplace, upload: Upload, reason: str) -> None:
    """Removes an upload; an import that waits for its last byte fails with the reason."""
    if upload.model_id is not None:
        _fail(place, upload.model_id, upload, reason)
    place.residue.discard_upload(upload.id)


def _unfinished_uploads(place: Workplace) -> None:
    for upload in place.uploads.expired(_PAGE):
        arrived = f"{upload.offset_bytes} of {upload.size_bytes} bytes had arrived"
        give_up_upload(place, upload, f"The upload expired: {arrived}.")
        _log.info("upload expired", upload=str(upload.id))


def _fail(place: Workplace, model_id: UUID, upload: Upload, reason: str) -> None:
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
            reason=reason,
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
