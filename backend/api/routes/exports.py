"""Exports: a model version as a file that any Loggia can import again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated
from uuid import UUID

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from backend.api.exporting import archive, content_disposition
from backend.api.freshness import fresh
from backend.api.services import Services
from backend.api.wire import AtLeast
from backend.readmodels import exports, gallery


@get("/api/models/{model_id:uuid}/export", operation_id="exportModel", media_type="application/zip")
async def export_model(
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    version: Annotated[str | None, QueryParameter(name="version", max_length=64)] = None,
    at_least: AtLeast = None,
) -> Stream:
    """A zip file of the version's files and its `deployconfig.json`; the current version's where
    none is named. An answer that breaks off is no export: a file had changed meanwhile."""
    await fresh(services, gallery.CONSUMER, at_least)
    export = await services.files.run(
        lambda: exports.of(services.pool, services.object_store, model_id, version)
    )
    chunks = archive(export, services.object_store, services.settings.roots)
    return Stream(
        _off_the_loop(services, chunks),
        media_type="application/zip",
        headers={
            "Content-Disposition": content_disposition(export.name),
            "X-Content-Type-Options": "nosniff",
        },
    )


async def _off_the_loop(services: Services, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (chunk := await services.files.run(lambda: next(chunks, None))) is not None:
        if chunk:
            yield chunk


HANDLERS = [export_model]
