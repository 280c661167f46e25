"""Imports: from an upload to a model."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from backend.api.commands import CommandAnswer, answer_of, with_version
from backend.api.identity import Identity
from backend.api.services import Services
from backend.api.wire import Body
from backend.application.commands import Accepted, CommandContext
from backend.domain.errors import NotFound
from backend.domain.model import ImportRequest


class NewImport(Body):
    """A model to be imported from an upload, which may still be under way.

    The model's name is the file's name; `name`, where given, must be the same.
    """

    upload_id: UUID
    source: Literal["upload"] = "upload"
    kind: str = "base"
    name: str | None = None
    base_model_id: UUID | None = None


@post("/api/imports", operation_id="importModel", status_code=202)
async def import_model(
    request: Request[Identity, Any, Any],
    data: JSONBody[NewImport],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Begins an import. The answer's id is the new model's."""
    accepted = await services.command(lambda: _import(services, request.user, context, data))
    return with_version(answer_of(accepted), 202)


def _import(
    services: Services, identity: Identity, context: CommandContext, wanted: NewImport
) -> Accepted:
    upload = services.uploads.get(wanted.upload_id)
    if upload is None or upload.owner != identity.actor:
        raise NotFound(
            f"There is no upload {wanted.upload_id}; it may have expired.",
            remedy="Start a new upload.",
            field="uploadId",
        )
    accepted = services.models.request_import(
        context,
        ImportRequest(
            name=wanted.name or None,
            kind=wanted.kind,
            base_model_id=wanted.base_model_id,
            file_name=upload.file_name,
            upload_id=upload.id,
            size_bytes=upload.size_bytes,
        ),
        complete=upload.complete,
    )
    if not upload.complete:
        # The last bytes may have arrived while nobody knew whom to tell.
        current = services.uploads.get(upload.id)
        if current is not None:
            services.upload_end.announce(current)
    return accepted


HANDLERS = [import_model]
