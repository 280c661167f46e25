"""What was used: by day, model and key, with what it costs; as JSON and as CSV."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from backend.api.services import Services
from backend.readmodels import usage
from backend.readmodels.usage import UsageReport, Wanted

PATH = "/api/usage"

FirstDay = Annotated[date, QueryParameter(name="from", description="The first day, in UTC.")]
LastDay = Annotated[date, QueryParameter(name="to", description="The last day, which is included.")]
Model = Annotated[UUID | None, QueryParameter(name="modelId")]
Key = Annotated[
    UUID | None,
    QueryParameter(name="keyId", description="Of this API key only; without running replicas."),
]
By = Annotated[
    list[Literal["day", "model", "key"]] | None,
    QueryParameter(name="by", description="What is told apart, repeated; everything if left out."),
]


@get(PATH, operation_id="readUsage")
async def read_usage(
    services: NamedDependency[Services],
    first_day: FirstDay,
    last_day: LastDay,
    model_id: Model = None,
    key_id: Key = None,
    by: By = None,
) -> UsageReport:
    """Requests, tokens, GPU seconds and hours of replicas, with what they cost."""
    wanted = Wanted(first_day, last_day, model_id, key_id, by or usage.BY)
    return await services.query(lambda: usage.report(services.pool, wanted))


@get(PATH + "/export", operation_id="exportUsage", media_type="text/csv")
async def export_usage(
    services: NamedDependency[Services],
    first_day: FirstDay,
    last_day: LastDay,
    model_id: Model = None,
    key_id: Key = None,
    by: By = None,
) -> Response[str]:
    """The same as CSV (RFC 4180), a line for each item."""
    wanted = Wanted(first_day, last_day, model_id, key_id, by or usage.BY)
    text = await services.query(lambda: usage.as_csv(usage.report(services.pool, wanted)))
    return Response(
        text,
        media_type=MediaType.TEXT,
        headers={
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": f'attachment; filename="usage-{first_day}-{last_day}.csv"',
            "X-Content-Type-Options": "nosniff",
        },
    )


HANDLERS = [read_usage, export_usage]
