"""Adapters beside a running base model: load and unload."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from backend.api.commands import CommandAnswer, answer_of
from backend.api.freshness import fresh
from backend.api.guards import may
from backend.api.identity import Identity
from backend.api.routes.deployments import PATH
from backend.api.services import Services
from backend.api.wire import AtLeast
from backend.application.commands import Accepted, CommandContext
from backend.readmodels import deployments, gallery, held_adapters
from backend.readmodels.held_adapters import AdapterList

_ADAPTER = PATH + "/adapters/{adapter_id:uuid}"
_MAX_REASON = 500


@get(PATH + "/adapters", operation_id="listAdapters")
async def list_adapters(
    request: Request[Identity, Any, Any],
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    at_least: AtLeast = None,
) -> AdapterList:
    """The adapters that were imported for this model, and which of them are loaded beside it."""
    await fresh(services, deployments.CONSUMER, at_least)
    await fresh(services, gallery.CONSUMER, at_least)
    may_load = may(request.user.role, "loadAdapter")
    return await services.query(
        lambda: held_adapters.adapters(services.pool, model_id, may_load=may_load)
    )


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


HANDLERS = [list_adapters, load_adapter, unload_adapter]
