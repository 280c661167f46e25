"""Batches: many models from one list, with one command."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from backend.api.commands import CommandAnswer, answer_of, with_version
from backend.api.freshness import fresh
from backend.api.guards import check_consent
from backend.api.identity import Identity
from backend.api.import_bodies import Consent
from backend.api.problems import ApiError
from backend.api.services import Services
from backend.api.wire import AtLeast, Body
from backend.application.commands import Accepted, CommandContext
from backend.domain.errors import Invalid, NotFound
from backend.domain.import_batch import MAX_MODELS
from backend.domain.model import ImportRequest
from backend.infra.removals import nothing_removed
from backend.readmodels import batches, gallery
from backend.readmodels.batches import Batch
from backend.sources.preview import Preview

ONE = "/api/imports/batches/{batch_id:uuid}"


class NewBatch(Body):
    """Some models of a list that was previewed; `names` are the rows' names."""

    address: str
    manifest_sha256: str
    names: list[str]
    connection: str | None = None
    accepted_risks: Consent | None = None


class BatchModel(msgspec.Struct, rename="camel", frozen=True):
    """A model that the batch imports."""

    id: UUID
    name: str


class BatchAnswer(msgspec.Struct, rename="camel", frozen=True):
    """The batch, and its models in the order in which they were chosen."""

    id: UUID
    version: int
    position: int
    models: list[BatchModel]


@post("/api/imports/batch", operation_id="importBatch", status_code=202)
async def import_batch(
    request: Request[Identity, Any, Any],
    data: JSONBody[NewBatch],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[BatchAnswer]:
    """Begins an import for each chosen row. All are asked for, or none."""
    check_consent(request.user.role, data.accepted_risks)
    address = data.address.strip()
    seen = await services.fetches.run(
        lambda: services.looking.seen(address, data.connection, data.manifest_sha256)
    )
    if seen is None:
        raise ApiError(
            409,
            "list_changed",
            "The list at this address is no longer the one that you chose from.",
            remedy="Look at the address again, and choose anew.",
            field="manifestSha256",
        )
    requests = await services.query(lambda: _requests(services, data, seen))
    path = f"batches/{seen.manifest_sha256}"

    def begin() -> Accepted:
        # Nothing refers to the list yet: nobody shall remove it before the batch does.
        with nothing_removed(services.pool):
            services.object_store.put(path, [seen.manifest])
            return services.batches.request(
                context,
                address=address,
                format=seen.format,
                manifest_uri=services.object_store.uri(path),
                manifest_sha256=seen.manifest_sha256,
                requests=requests,
            )

    return with_version(_answer(await services.command(begin)), 202)


@get(ONE, operation_id="readBatch")
async def read_batch(
    batch_id: FromPath[UUID], services: NamedDependency[Services], at_least: AtLeast = None
) -> Batch:
    """The batch with the state of each of its models."""
    await fresh(services, gallery.CONSUMER, at_least)
    return await services.query(lambda: batches.batch(services.pool, batch_id))


@post(ONE + "/retry", operation_id="retryBatch", status_code=202)
async def retry_batch(
    batch_id: FromPath[UUID],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Starts again those imports of the batch that failed, and no other."""
    accepted = await services.command(lambda: services.batches.retry_failed(context, batch_id))
    return with_version(answer_of(accepted), 202)


def _requests(services: Services, wanted: NewBatch, seen: Preview) -> list[ImportRequest]:
    if not 1 <= len(wanted.names) <= MAX_MODELS:
        raise Invalid(
            f"{len(wanted.names)} models were chosen.",
            remedy=f"Choose 1 to {MAX_MODELS} of them.",
            field="names",
        )
    rows = {row.name: row for row in seen.rows if row.problem is None}
    bases = batches.existing(
        services.pool,
        [row.base_model for name in wanted.names if (row := rows.get(name)) and row.base_model],
    )
    requests = []
    for name in dict.fromkeys(wanted.names):
        row = rows.get(name)
        if row is None:
            raise NotFound(
                f"The list has no model '{name[:80]}' that can be imported.",
                remedy="Choose from the rows without a problem.",
                field="names",
            )
        if row.base_model is not None and row.base_model not in bases:
            raise Invalid(
                f"The adapter '{name}' needs the base model '{row.base_model[:80]}', which is "
                "not here.",
                remedy="Import the base model first, or leave the adapter out.",
                field="names",
            )
        requests.append(
            ImportRequest(
                source=row.source,
                origin=row.origin(wanted.connection),
                kind=row.kind,
                base_model_id=bases[row.base_model] if row.base_model else None,
                name=row.name,
                description=row.description,
                size_bytes=row.size_bytes or 0,
                accepted_risks=wanted.accepted_risks.accepted() if wanted.accepted_risks else None,
            )
        )
    return requests


def _answer(accepted: Accepted) -> BatchAnswer:
    models = [BatchModel(UUID(row["id"]), row["name"]) for row in accepted.result["models"]]
    return BatchAnswer(accepted.id, accepted.version, accepted.position, models)


HANDLERS = [import_batch, read_batch, retry_batch]
