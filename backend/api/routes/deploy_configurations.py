"""Deploy configurations: their schema, rehearsing one, and keeping one for later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter

from backend.api.commands import CommandAnswer, answer_of, with_version
from backend.api.freshness import fresh
from backend.api.services import Services
from backend.api.wire import AtLeast, Body
from backend.application.commands import Accepted, CommandContext
from backend.domain.configuration import SCHEMA_VERSION
from backend.domain.configuration_document import FILE_NAME, schema, text_of
from backend.domain.errors import Invalid, NotAllowed
from backend.readmodels import deploy_rehearsals, deployment_history, deployments, gallery
from backend.readmodels.configuration import ConfigurationView, to_domain
from backend.readmodels.deploy_rehearsals import Rehearsal
from backend.readmodels.wire_names import camel_path

PATH = "/api/models/{model_id:uuid}/deployment"
SCHEMA_PATH = f"/schema/deployconfig-{SCHEMA_VERSION}.json"
MAX_REASON = 500
_SCHEMA = json.dumps(schema(), indent=2) + "\n"


@contextmanager
def naming_fields() -> Iterator[None]:
    """Refusals of a configuration name its fields as they are on the wire."""
    try:
        yield
    except Invalid as error:
        if error.field and error.field != "terms":
            error.field = f"configuration.{camel_path(error.field)}"
        raise


class SaveRequest(Body):
    """A complete configuration that is kept and not deployed."""

    configuration: ConfigurationView
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] = ""


class RehearsalRequest(Body):
    """The configuration to rehearse, and whether the terms in force have been accepted."""

    configuration: ConfigurationView
    terms_accepted: bool = False


@get(
    SCHEMA_PATH,
    operation_id="readDeployConfigurationSchema",
    media_type="application/schema+json",
    include_in_schema=False,
)
async def read_schema() -> Response[str]:
    """The JSON Schema of `deployconfig.json`, for editors and for people."""
    return Response(_SCHEMA, media_type="application/schema+json")


@get(
    PATH + "/configuration",
    operation_id="readDeployConfiguration",
    media_type="application/json",
    responses={
        200: ResponseSpec(
            ConfigurationView, generate_examples=False, description="The document itself."
        )
    },
)
async def read_configuration(
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    revision: Annotated[int | None, QueryParameter(name="revision", ge=1)] = None,
    at_least: AtLeast = None,
) -> Response[bytes]:
    """The `deployconfig.json` of a revision; of the one that is wanted now where none is named."""
    await fresh(services, deployments.CONSUMER, at_least)
    document = await services.query(
        lambda: deployment_history.configuration_of(services.pool, model_id, revision)
    )
    return Response(
        text_of(document).encode(),
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{FILE_NAME}"'},
    )


@put(PATH + "/configuration", operation_id="saveDeployConfiguration", status_code=200)
async def save_configuration(
    model_id: FromPath[UUID],
    data: JSONBody[SaveRequest],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Keeps a configuration for a later redeployment. What is deployed stays as it is.

    Keeping what is deployed already discards what was kept.
    """

    def save() -> Accepted:
        with naming_fields():
            return services.deployments.save_configuration(
                context,
                model_id,
                configuration=to_domain(data.configuration),
                reason=data.reason,
            )

    return with_version(answer_of(await services.command(save)))


@delete(PATH + "/configuration", operation_id="discardDeployConfiguration", status_code=200)
async def discard_configuration(
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Forgets the configuration that was kept."""
    accepted = await services.command(
        lambda: services.deployments.discard_configuration(context, model_id)
    )
    return with_version(answer_of(accepted))


@post(PATH + "/dry-run", operation_id="rehearseDeployment", status_code=200)
async def rehearse_deployment(
    model_id: FromPath[UUID],
    data: JSONBody[RehearsalRequest],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
    at_least: AtLeast = None,
) -> Rehearsal:
    """What a deployment or redeployment would come to: checks, the memory it needs, what it
    changes, and the events that would follow. Nothing is written."""
    await fresh(services, deployments.CONSUMER, at_least)
    await fresh(services, gallery.CONSUMER, at_least)
    document = to_domain(data.configuration)

    def rehearse() -> Rehearsal:
        refusal: Invalid | NotAllowed | None = None
        events: list[dict[str, Any]] = []
        try:
            events = services.deployments.rehearse(context, model_id, configuration=document)
        except (Invalid, NotAllowed) as error:
            refusal = error
        return deploy_rehearsals.of(
            services.pool,
            model_id,
            document,
            events,
            refusal=refusal,
            terms_accepted=data.terms_accepted,
        )

    return await services.files.run(rehearse)


HANDLERS = [
    read_schema,
    read_configuration,
    save_configuration,
    discard_configuration,
    rehearse_deployment,
]
