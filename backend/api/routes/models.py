"""The gallery: models, their files, and what may be done with them."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from litestar import Request, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from backend.api.commands import CommandAnswer, answer_of, with_version
from backend.api.freshness import fresh
from backend.api.guards import check_consent, may_act
from backend.api.identity import Identity
from backend.api.import_bodies import Consent
from backend.api.services import Services
from backend.api.wire import AtLeast, Body, Cursor, DeploymentStates, Limit, ModelStates, Search
from backend.application.commands import CommandContext
from backend.readmodels import gallery, manifests
from backend.readmodels.gallery import ModelDetail, ModelPage
from backend.readmodels.gallery_filters import Filters
from backend.readmodels.gallery_rows import Sort
from backend.readmodels.manifests import ModelFile

PATH = "/api/models"
ONE = PATH + "/{model_id:uuid}"


class ModelEdit(Body):
    """What people read about the model. A field that is left out stays as it is."""

    description: str | None = None
    labels: list[str] | None = None
    documentation_links: list[str] | None = None


class RetryOptions(Body):
    """With consent, what policy blocked the first time is allowed."""

    accepted_risks: Consent | None = None


class PublicationChange(Body):
    """On the marketplace, or off it."""

    state: Literal["published", "withdrawn"]


@get(PATH, operation_id="listModels")
async def list_models(
    request: Request[Identity, Any, Any],
    services: NamedDependency[Services],
    search: Search = "",
    model_state: ModelStates = None,
    kind: FromQuery[list[str] | None] = None,
    publication: FromQuery[list[str] | None] = None,
    deployment_state: DeploymentStates = None,
    label: FromQuery[list[str] | None] = None,
    sort: FromQuery[Sort] = "newest",
    cursor: Cursor = None,
    limit: Limit = 50,
    at_least: AtLeast = None,
) -> ModelPage:
    """Models, newest first unless sorted otherwise. A filter may be repeated: either value fits.

    The counts of a facet disregard its own filter, so that they say what choosing another
    value would give. Pages after the first carry no facets.
    """
    await fresh(services, gallery.CONSUMER, at_least)
    filters = Filters(
        search=search.strip(),
        state=tuple(sorted(model_state or ())),
        kind=tuple(sorted(kind or ())),
        publication=tuple(sorted(publication or ())),
        deployment_state=tuple(sorted(deployment_state or ())),
        label=tuple(sorted(label or ())),
    )
    role = request.user.role
    return await services.query(
        lambda: services.gallery.page(
            filters,
            sort=sort,
            cursor=cursor,
            limit=limit,
            cursors=services.cursors,
            may=lambda action: may_act(role, action),
        )
    )


@get(ONE, operation_id="readModel")
async def read_model(
    request: Request[Identity, Any, Any],
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    at_least: AtLeast = None,
) -> Response[ModelDetail]:
    """Everything about one model. The ETag is what If-Match wants."""
    await fresh(services, gallery.CONSUMER, at_least)
    role = request.user.role
    detail = await services.query(
        lambda: services.gallery.detail(model_id, lambda action: may_act(role, action))
    )
    return Response(detail, headers={"ETag": f'"{detail.version}"'})


@get(ONE + "/files", operation_id="listModelFiles")
async def list_model_files(
    model_id: FromPath[UUID], services: NamedDependency[Services], at_least: AtLeast = None
) -> list[ModelFile]:
    """The stored files, by path. Empty until the import has stored them."""
    await fresh(services, gallery.CONSUMER, at_least)
    digest = await services.query(lambda: services.gallery.manifest_of(model_id))
    if digest is None:
        return []
    return await services.files.run(lambda: manifests.files(services.object_store, digest))


@patch(ONE, operation_id="editModel")
async def edit_model(
    model_id: FromPath[UUID],
    data: JSONBody[ModelEdit],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Changes the description, the labels or the links. A running deployment is not disturbed."""
    accepted = await services.command(
        lambda: services.models.edit_configuration(
            context,
            model_id,
            description=data.description,
            labels=data.labels,
            documentation_links=data.documentation_links,
        )
    )
    return with_version(answer_of(accepted))


@delete(ONE, operation_id="deleteModel", status_code=200)
async def delete_model(
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Removes a model that was never deployed, and frees its name. Its history stays."""
    accepted = await services.command(lambda: services.models.delete(context, model_id))
    return with_version(answer_of(accepted))


@put(ONE + "/publication", operation_id="setPublication")
async def set_publication(
    model_id: FromPath[UUID],
    data: JSONBody[PublicationChange],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Shows the model on the marketplace, or hides it there. Nothing else changes."""
    act = services.models.publish if data.state == "published" else services.models.withdraw
    accepted = await services.command(lambda: act(context, model_id))
    return with_version(answer_of(accepted))


@post(ONE + "/import/retry", operation_id="retryImport", status_code=202)
async def retry_import(
    request: Request[Identity, Any, Any],
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
    data: JSONBody[RetryOptions | None] = None,
) -> Response[CommandAnswer]:
    """Imports again, an upload from the archive that arrived. The body may be left out."""
    check_consent(request.user.role, data.accepted_risks if data else None)
    risks = data.accepted_risks.accepted() if data and data.accepted_risks else None
    accepted = await services.command(
        lambda: services.models.retry_import(context, model_id, risks)
    )
    return with_version(answer_of(accepted), 202)


@post(ONE + "/import/cancel", operation_id="cancelImport", status_code=202)
async def cancel_import(
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Stops an import that is under way."""
    accepted = await services.command(lambda: services.models.cancel_import(context, model_id))
    return with_version(answer_of(accepted), 202)


HANDLERS = [
    list_models,
    read_model,
    list_model_files,
    edit_model,
    delete_model,
    set_publication,
    retry_import,
    cancel_import,
]
