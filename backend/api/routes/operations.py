"""For those who run Loggia: health, readiness, metrics, and what is parked."""

from __future__ import annotations

import msgspec
from litestar import MediaType, Response, get
from litestar.di import NamedDependency

from backend.api.services import Services
from backend.infra.postgres import pending_migrations
from backend.readmodels import parked
from backend.readmodels.parked import Parked


class Health(msgspec.Struct, rename="camel", frozen=True):
    """`ok`, or what is missing."""

    status: str
    missing: list[str] = []


@get("/healthz", operation_id="readHealth")
async def read_health() -> Health:
    """Whether the process answers."""
    return Health("ok")


@get("/readyz", operation_id="readReadiness")
async def read_readiness(services: NamedDependency[Services]) -> Response[Health]:
    """Whether the database answers and has the schema."""
    try:
        pending = await services.query(lambda: pending_migrations(services.settings))
    except Exception:
        return Response(Health("unavailable", ["database"]), status_code=503)
    if pending:
        return Response(Health("unavailable", [f"migration {p}" for p in pending]), status_code=503)
    return Response(Health("ok"), status_code=200)


@get("/metrics", operation_id="readMetrics", media_type=MediaType.TEXT, include_in_schema=False)
async def read_metrics(services: NamedDependency[Services]) -> Response[bytes]:
    """Figures for Prometheus; it signs in with an access token."""
    await services.backlog.refresh()
    return Response(services.metrics.text(), media_type="text/plain; version=0.0.4")


@get("/api/operations/parked", operation_id="listParked")
async def list_parked(services: NamedDependency[Services]) -> Parked:
    """Events that consumers could not apply, and jobs that workers have given up."""
    return await services.query(lambda: parked.read(services.pool))


HANDLERS = [read_health, read_readiness, read_metrics, list_parked]
