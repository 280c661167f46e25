"""Imports: from any source to a model, or to a further version of one."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from backend.api.commands import CommandAnswer, answer_of, with_version
from backend.api.identity import Identity
from backend.api.import_bodies import AnyImport, UploadImport, request_of
from backend.api.services import Services
from backend.application.commands import Accepted, CommandContext
from backend.domain.errors import NotFound
from backend.domain.model import ImportRequest
from backend.infra.uploads import Upload


@post("/api/imports", operation_id="importModel", status_code=202)
async def import_model(
    request: Request[Identity, Any, Any],
    data: JSONBody[AnyImport],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Begins an import. The answer's id is the model's: a new one, or the one that was named."""
    accepted = await services.command(lambda: _import(services, request.user, context, data))
    return with_version(answer_of(accepted), 202)


def _import(
    services: Services, identity: Identity, context: CommandContext, wanted: AnyImport
) -> Accepted:
    if not isinstance(wanted, UploadImport):
        return _request(services, context, wanted, request_of(wanted), complete=False)
    upload = _own_upload(services, identity, wanted)
    accepted = _request(services, context, wanted, wanted.of(upload), complete=upload.complete)
    if not upload.complete:
        # The last bytes may have arrived while nobody knew whom to tell.
        current = services.uploads.get(upload.id)
        if current is not None:
            services.upload_end.announce(current)
    return accepted


def _request(
    services: Services,
    context: CommandContext,
    wanted: AnyImport,
    request: ImportRequest,
    *,
    complete: bool,
) -> Accepted:
    if wanted.model_id is None:
        return services.models.request_import(context, request, complete=complete)
    return services.models.request_version(context, wanted.model_id, request, complete=complete)


def _own_upload(services: Services, identity: Identity, wanted: UploadImport) -> Upload:
    upload = services.uploads.get(wanted.upload_id)
    if upload is None or upload.owner != identity.actor:
        raise NotFound(
            f"There is no upload {wanted.upload_id}; it may have expired.",
            remedy="Start a new upload.",
            field="uploadId",
        )
    return upload


HANDLERS = [import_model]
