"""A deployment's history: pages, comparisons of two revisions, and the whole as a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Literal
from uuid import UUID

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from backend.api.freshness import fresh
from backend.api.history_files import as_csv, as_json
from backend.api.routes.deploy_configurations import PATH
from backend.api.services import Services
from backend.api.wire import AtLeast, Cursor, Limit
from backend.readmodels import deployment_history, deployments
from backend.readmodels.deployment_history import History, RevisionComparison

_FORMATS = {"json": (as_json, "application/json"), "csv": (as_csv, "text/csv; charset=utf-8")}
Format = Annotated[Literal["json", "csv"], QueryParameter(name="format")]


@get(PATH + "/history", operation_id="readDeploymentHistory")
async def read_deployment_history(
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    cursor: Cursor = None,
    limit: Limit = 50,
    at_least: AtLeast = None,
) -> History:
    """Revisions, newest first: who, when and why, how long each phase took, and what changed."""
    await fresh(services, deployments.CONSUMER, at_least)
    return await services.query(
        lambda: deployment_history.page(services.pool, model_id, cursor, limit, services.cursors)
    )


@get(PATH + "/comparison", operation_id="compareRevisions")
async def compare_revisions(
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    before: Annotated[int, QueryParameter(name="before", ge=1, le=2**31 - 1)],
    after: Annotated[int, QueryParameter(name="after", ge=1, le=2**31 - 1)],
    at_least: AtLeast = None,
) -> RevisionComparison:
    """Any two revisions, and what the second has otherwise than the first."""
    await fresh(services, deployments.CONSUMER, at_least)
    return await services.query(
        lambda: deployment_history.compare(services.pool, model_id, before, after)
    )


@get(
    PATH + "/history/export",
    operation_id="exportDeploymentHistory",
    # As the format says.
    media_type="*/*",
)
async def export_deployment_history(
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    format: Format = "json",
    at_least: AtLeast = None,
) -> Stream:
    """The whole history as a file: a JSON list, or CSV with a row for each revision."""
    await fresh(services, deployments.CONSUMER, at_least)
    write, media_type = _FORMATS[format]
    chunks = write(deployment_history.every(services.pool, model_id))
    # Refusals come before the first byte.
    first = await services.files.run(lambda: next(chunks))
    return Stream(
        _off_the_loop(services, first, chunks),
        headers={
            # The framework prefers the handler's media type to the answer's.
            "Content-Type": media_type,
            "Content-Disposition": f'attachment; filename="history.{format}"',
        },
    )


async def _off_the_loop(
    services: Services, first: bytes, chunks: Iterator[bytes]
) -> AsyncIterator[bytes]:
    chunk: bytes | None = first
    while chunk is not None:
        yield chunk
        chunk = await services.files.run(lambda: next(chunks, None))


HANDLERS = [read_deployment_history, compare_revisions, export_deployment_history]
