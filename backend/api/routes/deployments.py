"""Deployments: what is wanted, what runs, and how it came to be."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from backend.api.commands import CommandAnswer, answer_of
from backend.api.freshness import fresh
from backend.api.guards import may_act
from backend.api.identity import Identity
from backend.api.problems import ApiError
from backend.api.services import Services
from backend.api.wire import AtLeast, Body
from backend.application.commands import Accepted, CommandContext
from backend.domain.errors import Invalid
from backend.readmodels import deploy_options, deployments, engine_logs, engine_options, gallery
from backend.readmodels.configuration import ConfigurationView, to_domain
from backend.readmodels.deploy_options import DeployOptions
from backend.readmodels.deployments import DeploymentView, History
from backend.readmodels.engine_options import EngineOptionList
from backend.readmodels.wire_names import camel_path

PATH = "/api/models/{model_id:uuid}/deployment"
_MAX_REASON = 500


class AcceptedTerms(Body):
    """Which version of the terms was read, and that it was accepted."""

    version: str
    accepted: bool


class DeployRequest(Body):
    """A complete configuration: it becomes the next revision."""

    configuration: ConfigurationView
    terms: AcceptedTerms
    reason: str = ""


class RollbackRequest(Body):
    """The revision whose configuration is restored, and why."""

    revision: int
    reason: str


class RevisionAnswer(msgspec.Struct, rename="camel", frozen=True):
    """An accepted deployment command; `revision` is the new one."""

    id: UUID
    version: int
    position: int
    revision: int


class LogLines(msgspec.Struct, rename="camel", frozen=True):
    """The end of an engine's log, oldest line first."""

    lines: list[str]


@get(PATH, operation_id="readDeployment")
async def read_deployment(
    request: Request[Identity, Any, Any],
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    at_least: AtLeast = None,
) -> Response[DeploymentView]:
    """The model's deployment; 404 where it has never been deployed."""
    await fresh(services, deployments.CONSUMER, at_least)
    await fresh(services, gallery.CONSUMER, at_least)
    role = request.user.role
    view = await services.query(
        lambda: deployments.current(
            services.pool,
            model_id,
            gateway_url=services.settings.public_gateway_url,
            may=lambda action: may_act(role, action),
        )
    )
    return Response(view, headers={"ETag": f'"{view.version}"'})


@put(PATH, operation_id="deployModel", status_code=202)
async def deploy_model(
    model_id: FromPath[UUID],
    data: JSONBody[DeployRequest],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[RevisionAnswer]:
    """Deploys or redeploys. The revision that serves now goes on until the new one answers."""
    _check_reason(data.reason)

    def request() -> Accepted:
        try:
            return services.deployments.request(
                context,
                model_id,
                configuration=to_domain(data.configuration),
                terms_version=data.terms.version,
                terms_accepted=data.terms.accepted,
                reason=data.reason,
            )
        except Invalid as error:
            if error.field and error.field != "terms":
                error.field = f"configuration.{camel_path(error.field)}"
            raise

    return _answer(await services.command(request))


@delete(PATH, operation_id="stopDeployment", status_code=202)
async def stop_deployment(
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
    reason: Annotated[str, QueryParameter(name="reason", max_length=_MAX_REASON)] = "",
) -> Response[CommandAnswer]:
    """Stops serving, once the requests that are being answered are done."""
    accepted = await services.command(
        lambda: services.deployments.stop(context, model_id, reason=reason)
    )
    answer = answer_of(accepted)
    return Response(answer, status_code=202, headers={"ETag": f'"{answer.version}"'})


@post(PATH + "/start", operation_id="startDeployment", status_code=202)
async def start_deployment(
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[RevisionAnswer]:
    """Serves again with the configuration that was wanted last."""
    accepted = await services.command(lambda: services.deployments.start(context, model_id))
    return _answer(accepted)


@post(PATH + "/rollback", operation_id="rollBackDeployment", status_code=202)
async def roll_back_deployment(
    model_id: FromPath[UUID],
    data: JSONBody[RollbackRequest],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[RevisionAnswer]:
    """Restores an earlier revision's configuration, as a new revision."""
    _check_reason(data.reason)
    accepted = await services.command(
        lambda: services.deployments.roll_back(
            context, model_id, revision=data.revision, reason=data.reason
        )
    )
    return _answer(accepted)


@get(PATH + "/history", operation_id="readDeploymentHistory")
async def read_deployment_history(
    model_id: FromPath[UUID], services: NamedDependency[Services], at_least: AtLeast = None
) -> History:
    """Every revision, newest first, with what changed from the one before."""
    await fresh(services, deployments.CONSUMER, at_least)
    return await services.query(lambda: deployments.history(services.pool, model_id))


@get(PATH + "/logs", operation_id="readDeploymentLogs")
async def read_deployment_logs(
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    replica: Annotated[UUID | None, QueryParameter(name="replica")] = None,
) -> LogLines:
    """The last lines of a replica's log; without a replica, of the newest one."""
    replica_id = await services.query(lambda: deployments.replica(services.pool, model_id, replica))
    lines = await services.files.run(
        lambda: engine_logs.tail(services.settings.data / "engines", replica_id)
    )
    return LogLines(lines)


@get("/api/deploy/options", operation_id="readDeployOptions")
async def read_deploy_options(
    services: NamedDependency[Services],
    model_id: Annotated[UUID | None, QueryParameter(name="modelId")] = None,
    at_least: AtLeast = None,
) -> DeployOptions:
    """Terms, servers with their capacity, and sensible values for this model."""
    await fresh(services, gallery.CONSUMER, at_least)
    return await services.files.run(lambda: deploy_options.of(services.pool, model_id))


@get("/api/engines/{engine:str}/options", operation_id="readEngineOptions")
async def read_engine_options(
    engine: FromPath[str],
    services: NamedDependency[Services],
    accelerator: Annotated[str, QueryParameter(name="accelerator")] = "cpu",
    server: Annotated[str, QueryParameter(name="server")] = "local",
) -> EngineOptionList:
    """What the engine that is installed on a server can be told beyond the form.

    `known` is false before it has been installed there.
    """
    return await services.query(
        lambda: engine_options.of(services.engine_facts, engine, accelerator, server)
    )


def _check_reason(reason: str) -> None:
    if len(reason) > _MAX_REASON:
        raise ApiError(
            422,
            "invalid",
            f"The reason has {len(reason)} characters; allowed are {_MAX_REASON}.",
            remedy="Say it shorter.",
            field="reason",
        )


def _answer(accepted: Accepted) -> Response[RevisionAnswer]:
    answer = RevisionAnswer(
        accepted.id, accepted.version, accepted.position, accepted.result["revision"]
    )
    return Response(answer, status_code=202, headers={"ETag": f'"{answer.version}"'})


HANDLERS = [
    read_deployment,
    deploy_model,
    stop_deployment,
    start_deployment,
    roll_back_deployment,
    read_deployment_history,
    read_deployment_logs,
    read_deploy_options,
    read_engine_options,
]
