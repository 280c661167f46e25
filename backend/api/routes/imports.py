"""Imports: from any source to a model, or to a further version of one."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter

from backend.api.commands import CommandAnswer, answer_of, with_version
from backend.api.guards import check_consent
from backend.api.identity import Identity
from backend.api.import_bodies import AnyImport, UploadImport, request_of
from backend.api.import_checks import check_at_once
from backend.api.services import Services
from backend.application.commands import Accepted, CommandContext
from backend.domain.errors import NotAllowed, NotFound
from backend.domain.model import ImportRequest
from backend.infra.dry_runs import DryRunState
from backend.infra.uploads import Upload
from backend.readmodels.version_facts import Card, Failure, Report
from backend.readmodels.wire_names import camel_keys

DRY_RUNS = "/api/imports/dry-runs"
_DRY_RUN_SECONDS = 20.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.5


class PlannedEvent(msgspec.Struct, rename="camel", frozen=True):
    """An event that the import would write."""

    type: str
    data: dict[str, Any]


class DryRun(msgspec.Struct, rename="camel", frozen=True):
    """How the import would go. `failure` says why it would fail; then there is no card, and a
    report only where it came so far. Nothing was written."""

    id: UUID
    report: Report | None
    card: Card | None
    failure: Failure | None
    events: list[PlannedEvent]


class DryRunUnderway(msgspec.Struct, rename="camel", frozen=True):
    """A dry run whose result is not there yet: ask for it by its id."""

    id: UUID


_DryRun = Annotated[
    bool,
    QueryParameter(
        name="dryRun",
        description="Reads and checks everything, and writes nothing: 200 with a `DryRun`, or "
        "202 with its id alone, under which `/api/imports/dry-runs/{id}` has it later.",
    ),
]


@post(
    "/api/imports",
    operation_id="importModel",
    status_code=202,
    responses={
        200: ResponseSpec(DryRun, generate_examples=False, description="The result of a dry run.")
    },
)
async def import_model(
    request: Request[Identity, Any, Any],
    data: JSONBody[AnyImport],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
    dry_run: _DryRun = False,
) -> Response[CommandAnswer]:
    """Begins an import. The answer's id is the model's: a new one, or the one that was named."""
    check_consent(request.user.role, data.accepted_risks)
    if not isinstance(data, UploadImport):
        await services.fetches.run(lambda: check_at_once(services.looking, data))
    if dry_run:
        asked = await services.query(lambda: _rehearse(services, request.user, context, data))
        return await _answer_to_dry_run(services, asked)
    accepted = await services.command(lambda: _import(services, request.user, context, data))
    return with_version(answer_of(accepted), 202)


@get(
    DRY_RUNS + "/{dry_run:uuid}",
    operation_id="readDryRun",
    responses={
        202: ResponseSpec(
            DryRunUnderway, generate_examples=False, description="It is still under way."
        )
    },
)
async def read_dry_run(
    request: Request[Identity, Any, Any],
    dry_run: FromPath[UUID],
    services: NamedDependency[Services],
) -> Response[DryRun]:
    """The result of a dry run of one's own, for about an hour after it ended."""
    found = await services.query(lambda: services.dry_runs.find(dry_run))
    if found is None or found.actor != request.user.actor:
        raise NotFound(
            f"There is no dry run {dry_run}; results are kept for an hour.",
            remedy="Make the dry run again.",
        )
    return _dry_run_answer(found)


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


def _rehearse(
    services: Services, identity: Identity, context: CommandContext, wanted: AnyImport
) -> UUID:
    """Refuses what the import would be refused for, and asks a worker for the rest."""
    if isinstance(wanted, UploadImport):
        upload = _own_upload(services, identity, wanted)
        if not upload.complete:
            raise NotAllowed(
                f"Only {upload.offset_bytes} of {upload.size_bytes} bytes have arrived.",
                remedy="Finish the upload, then make the dry run.",
            )
        request = wanted.of(upload)
    else:
        request = request_of(wanted)
    services.models.rehearse(
        context, request, wanted.model_id, complete=request.upload_id is not None
    )
    return services.dry_runs.ask(
        identity.actor,
        {
            "request": msgspec.to_builtins(request),
            "model_id": str(wanted.model_id) if wanted.model_id else None,
            "correlation_id": str(context.correlation_id),
        },
    )


async def _answer_to_dry_run(services: Services, asked: UUID) -> Response[Any]:
    """Waits without a thread, and not for ever: the worker may be busy with large imports."""
    deadline, pause = time.monotonic() + _DRY_RUN_SECONDS, _FIRST_PAUSE
    while True:
        found = await services.query(lambda: services.dry_runs.find(asked))
        if found is None or found.result is not None or time.monotonic() > deadline:
            return _dry_run_answer(found or DryRunState(asked, "", None))
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _dry_run_answer(found: DryRunState) -> Response[Any]:
    if found.result is None:
        return Response(
            DryRunUnderway(found.id),
            status_code=202,
            headers={"Location": f"{DRY_RUNS}/{found.id}", "Retry-After": "1"},
        )
    facts = {**found.result, "id": str(found.id)}
    return Response(msgspec.convert(camel_keys(facts), DryRun), status_code=200)


HANDLERS = [import_model, read_dry_run]
