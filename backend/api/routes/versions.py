"""A model's versions and its deployment template."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from litestar import Response, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from backend.api.commands import CommandAnswer, answer_of, with_version
from backend.api.freshness import fresh
from backend.api.services import Services
from backend.api.wire import AtLeast, Body, Cursor, Limit
from backend.application.commands import CommandContext
from backend.readmodels import gallery, versions
from backend.readmodels.versions import Comparison, VersionPage

ONE = "/api/models/{model_id:uuid}"


class CurrentVersion(Body):
    """The version that is deployed from now on."""

    version: str


class Template(Body):
    """A deployment template for Ollama, written as a Modelfile."""

    template: str


@get(ONE + "/versions", operation_id="listVersions")
async def list_versions(
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    cursor: Cursor = None,
    limit: Limit = 50,
    at_least: AtLeast = None,
) -> VersionPage:
    """The versions of a model, newest first, each with its card and its report."""
    await fresh(services, gallery.CONSUMER, at_least)
    return await services.query(
        lambda: versions.of_model(services.pool, model_id, cursor, limit, services.cursors)
    )


@put(ONE + "/versions/current", operation_id="selectVersion")
async def select_version(
    model_id: FromPath[UUID],
    data: JSONBody[CurrentVersion],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Chooses the version that is deployed from now on. A running deployment keeps its own."""
    accepted = await services.command(
        lambda: services.models.select_current_version(context, model_id, version=data.version)
    )
    return with_version(answer_of(accepted))


@get(ONE + "/versions/compare", operation_id="compareVersions")
async def compare_versions(
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    before: Annotated[str, QueryParameter(name="from", max_length=64)],
    after: Annotated[str, QueryParameter(name="to", max_length=64)],
    at_least: AtLeast = None,
) -> Comparison:
    """What differs between two versions: fields of the card, and files."""
    await fresh(services, gallery.CONSUMER, at_least)
    return await services.files.run(
        lambda: versions.compare(
            services.pool, services.object_store, model_id, before=before, after=after
        )
    )


@put(ONE + "/template", operation_id="updateTemplate")
async def update_template(
    model_id: FromPath[UUID],
    data: JSONBody[Template],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Replaces the deployment template. A running deployment is not disturbed."""
    accepted = await services.command(
        lambda: services.models.update_template(context, model_id, template=data.template)
    )
    return with_version(answer_of(accepted))


HANDLERS = [list_versions, select_version, compare_versions, update_template]
