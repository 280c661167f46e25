"""The application: handlers, guards, errors, and what they share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp

from backend.api.authentication import SESSION_COOKIE, Authentication
from backend.api.commands import command_context
from backend.api.description import describe
from backend.api.edge import Edge
from backend.api.guards import OPERATION, authorise
from backend.api.problems import respond
from backend.api.routes import (
    adapters,
    api_keys,
    batches,
    connections,
    deploy_configurations,
    deployment_history,
    deployment_logs,
    deployments,
    events,
    exports,
    imports,
    models,
    operations,
    previews,
    prices,
    servers,
    session,
    uploads,
    usage,
    users,
    versions,
)
from backend.api.services import Services, services_of
from backend.api.web_interface import WebInterface

MAX_JSON_BYTES = 1024 * 1024
WEB_FOLDER = Path(__file__).resolve().parents[2] / "frontend" / "dist"
_MODULES = (
    session, users, uploads, imports, previews, batches, models, versions, exports,
    connections, servers, deployments, deploy_configurations, deployment_history, deployment_logs,
    adapters, api_keys, events, operations, prices, usage,
)  # fmt: skip


def provide_services(state: State) -> Services:
    """The services that handlers name as a dependency."""
    return services_of(state)


def create_api(services: Services | None = None) -> Litestar:
    """The API alone. Without services it can describe itself and nothing else."""

    @asynccontextmanager
    async def running(_: Litestar) -> AsyncIterator[None]:
        if services is None:
            yield
            return
        services.live.start()
        services.upload_end.start()
        try:
            with services.freshness:
                yield
        finally:
            services.live.stop()
            services.upload_end.stop()
            services.close()

    return Litestar(
        route_handlers=[handler for module in _MODULES for handler in module.HANDLERS],
        dependencies={
            "services": Provide(provide_services, sync_to_thread=False),
            "context": Provide(command_context),
        },
        guards=[authorise],
        middleware=[Authentication()],
        exception_handlers={Exception: respond},
        lifespan=[running],
        state=State({"services": services}),
        request_max_body_size=MAX_JSON_BYTES,
        openapi_config=OpenAPIConfig(
            title="Loggia",
            version="1",
            description="Event-sourced gallery for AI models. Commands take an Idempotency-Key; "
            "their answers carry a position, and queries given it as `atLeast` include it.",
            use_handler_docstrings=True,
            openapi_router=Router(
                "/schema",
                route_handlers=[],
                include_in_schema=False,
                opt={OPERATION: "readSchema"},
                before_request=describe,
            ),
            render_plugins=[JsonRenderPlugin()],
            components=Components(
                security_schemes={
                    "session": SecurityScheme(
                        type="apiKey", security_scheme_in="cookie", name=SESSION_COOKIE
                    ),
                    "token": SecurityScheme(type="http", scheme="bearer"),
                }
            ),
            security=[{"session": []}, {"token": []}],
        ),
        logging_config=None,
    )


def create_app(services: Services, web_folder: Path = WEB_FOLDER) -> ASGIApp:
    """The API with the web interface, as it is served."""
    return Edge(
        create_api(services),
        WebInterface(web_folder),
        services.metrics,
        gateway_url=services.settings.public_gateway_url,
    )
