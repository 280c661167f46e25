"""Keys with which consumers call a model, and the playground's own short-lived tokens."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from backend.api.commands import CommandAnswer, answer_of, with_version
from backend.api.freshness import fresh
from backend.api.services import Services
from backend.api.wire import AtLeast, Body, Cursor, Limit
from backend.application.commands import CommandContext
from backend.readmodels import api_keys
from backend.readmodels.api_keys import ApiKeyPage

PATH = "/api/models/{model_id:uuid}/api-keys"
_PLAYGROUND_SECONDS = 3600


class NewApiKey(Body):
    """A key to be made; `requestsPerMinute` null means no limit."""

    name: str
    expires_at: datetime | None = None
    requests_per_minute: int | None = None


class CreatedApiKey(msgspec.Struct, rename="camel", frozen=True):
    """A new key. `secret` is shown once."""

    id: UUID
    version: int
    position: int
    name: str
    prefix: str
    secret: str


class PlaygroundToken(msgspec.Struct, rename="camel", frozen=True):
    """A bearer token for the gateway, good for one model and one hour."""

    token: str
    gateway_url: str
    model: str
    expires_at: datetime


@get(PATH, operation_id="listApiKeys")
async def list_api_keys(
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    cursor: Cursor = None,
    limit: Limit = 50,
    at_least: AtLeast = None,
) -> ApiKeyPage:
    """The model's keys, newest first, revoked ones too; never their secrets."""
    await fresh(services, api_keys.CONSUMER, at_least)
    return await services.query(
        lambda: api_keys.of_model(services.pool, model_id, cursor, limit, services.cursors)
    )


@post(PATH, operation_id="createApiKey", status_code=201)
async def create_api_key(
    model_id: FromPath[UUID],
    data: JSONBody[NewApiKey],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> CreatedApiKey:
    """Makes a key. Its secret is in this answer only."""
    expires_at = data.expires_at
    if expires_at is not None and expires_at.tzinfo is None:
        expires_at = expires_at.replace(tzinfo=UTC)
    accepted = await services.command(
        lambda: services.api_keys.create(
            context,
            model_id,
            name=data.name,
            expires_at=expires_at,
            requests_per_minute=data.requests_per_minute,
        )
    )
    return CreatedApiKey(
        id=accepted.id,
        version=accepted.version,
        position=accepted.position,
        name=accepted.result["name"],
        prefix=accepted.result["prefix"],
        secret=accepted.secret or "",
    )


@delete(PATH + "/{key_id:uuid}", operation_id="revokeApiKey", status_code=200)
async def revoke_api_key(
    model_id: FromPath[UUID],
    key_id: FromPath[UUID],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Ends a key; the gateway refuses it within two seconds."""
    accepted = await services.command(lambda: services.api_keys.revoke(context, model_id, key_id))
    return with_version(answer_of(accepted))


@post(
    "/api/models/{model_id:uuid}/playground-token",
    operation_id="createPlaygroundToken",
    status_code=201,
)
async def create_playground_token(
    model_id: FromPath[UUID], services: NamedDependency[Services]
) -> PlaygroundToken:
    """A token with which the playground calls the model through the gateway."""
    name = await services.query(lambda: services.gallery.name_of(model_id))
    expires_at = int(time.time()) + _PLAYGROUND_SECONDS
    return PlaygroundToken(
        token=services.playground_tokens.sign(model_id, expires_at),
        gateway_url=services.settings.public_gateway_url,
        model=name,
        expires_at=datetime.fromtimestamp(expires_at, UTC),
    )


HANDLERS = [list_api_keys, create_api_key, revoke_api_key, create_playground_token]
