"""Adapters beside a running base model: load and unload."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from litestar import Response, delete, put
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from backend.api.commands import CommandAnswer, answer_of
from backend.api.routes.deployments import PATH
from backend.api.services import Services
from backend.application.commands import Accepted, CommandContext

_ADAPTER = PATH + "/adapters/{adapter_id:uuid}"
_MAX_REASON = 500


@put(_ADAPTER, operation_id="loadAdapter", status_code=202)
async def load_adapter(
    model_id: FromPath[UUID],
    adapter_id: FromPath[UUID],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Makes the adapter's current version callable by its name beside the base model.

    Where the engines that run cannot hold it, others take their place first, without a gap.
    """
    return _answer(
        await services.command(lambda: services.adapters.load(context, model_id, adapter_id))
    )


@delete(_ADAPTER, operation_id="unloadAdapter", status_code=202)
async def unload_adapter(
    model_id: FromPath[UUID],
    adapter_id: FromPath[UUID],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
    reason: Annotated[str, QueryParameter(name="reason", max_length=_MAX_REASON)] = "",
) -> Response[CommandAnswer]:
    """Ends calls of the adapter beside the base model; running requests are finished."""
    return _answer(
        await services.command(
            lambda: services.adapters.unload(context, model_id, adapter_id, reason=reason)
        )
    )


def _answer(accepted: Accepted) -> Response[CommandAnswer]:
    answer = answer_of(accepted)
    return Response(answer, status_code=202, headers={"ETag": f'"{answer.version}"'})


HANDLERS = [load_adapter, unload_adapter]
