"""Connections to other systems, whose secrets are never shown again."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from backend.api.commands import CommandAnswer, answer_of, with_version
from backend.api.services import Services
from backend.api.wire import Body
from backend.application.commands import CommandContext
from backend.sources.guarded import GuardedClient
from backend.sources.trying import try_connection

PATH = "/api/connections"


class NewConnection(Body):
    """A connection. `secret` is a token (huggingface, http), user:password (registry) or
    key:secret (s3), and null where none is needed."""

    name: str
    kind: Literal["huggingface", "registry", "s3", "http"]
    endpoint: str
    secret: str | None = None


class ConnectionView(msgspec.Struct, rename="camel", frozen=True):
    """A saved connection, without its secret."""

    id: UUID
    name: str
    kind: str
    endpoint: str
    saved_by: str
    saved_at: datetime


class Connections(msgspec.Struct, rename="camel", frozen=True):
    """Every connection, by name; there are 200 at most."""

    items: list[ConnectionView]


class Trial(msgspec.Struct, rename="camel", frozen=True):
    """What the other side said."""

    message: str


@get(PATH, operation_id="listConnections")
async def list_connections(services: NamedDependency[Services]) -> Connections:
    """Every connection by name."""
    rows = await services.query(services.connection_store.all)
    return Connections(
        [
            ConnectionView(row.id, row.name, row.kind, row.endpoint, row.saved_by, row.saved_at)
            for row in rows
        ]
    )


@post(PATH, operation_id="saveConnection", status_code=201)
async def save_connection(
    data: JSONBody[NewConnection],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Tries the connection for real and saves it, or all of an existing one of this name anew."""
    await services.fetches.run(lambda: _try(services, data))
    accepted = await services.command(
        lambda: services.connections.save(
            context,
            name=data.name,
            kind=data.kind,
            endpoint=data.endpoint,
            secret=data.secret or None,
        )
    )
    return with_version(answer_of(accepted), 201)


@post(PATH + "/test", operation_id="testConnection", status_code=200)
async def test_connection(
    data: JSONBody[NewConnection], services: NamedDependency[Services]
) -> Trial:
    """Tries a connection without saving it."""
    return await services.fetches.run(lambda: _try(services, data))


@delete(PATH + "/{name:str}", operation_id="removeConnection", status_code=200)
async def remove_connection(
    name: FromPath[str],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Forgets a connection and its secret. Imports that name it fail from now on."""
    accepted = await services.command(lambda: services.connections.remove(context, name))
    return with_version(answer_of(accepted))


def _try(services: Services, wanted: NewConnection) -> Trial:
    with GuardedClient.from_settings(services.settings) as client:
        return Trial(
            try_connection(
                wanted.kind, wanted.endpoint, wanted.secret or None, client, name=wanted.name
            )
        )


HANDLERS = [list_connections, save_connection, test_connection, remove_connection]
