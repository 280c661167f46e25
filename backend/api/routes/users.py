"""Accounts and access tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from backend.api.commands import CommandAnswer, answer_of, with_version
from backend.api.identity import Identity
from backend.api.services import Services
from backend.api.wire import Body, Cursor, Limit
from backend.application.commands import CommandContext
from backend.readmodels import people
from backend.readmodels.people import People


class NewUser(Body):
    """An account to be made; the person changes the password after signing in."""

    username: str
    password: str
    role: str


class RoleChange(Body):
    """Another role."""

    role: str


class NewToken(Body):
    """An access token to be made; the name says where it will be used."""

    name: str


class TokenView(msgspec.Struct, rename="camel", frozen=True):
    """An access token without its secret."""

    id: UUID
    name: str
    prefix: str
    created_at: datetime
    last_used_at: datetime | None


class Tokens(msgspec.Struct, rename="camel", frozen=True):
    """One's own access tokens; there are 100 at most."""

    items: list[TokenView]


class CreatedToken(msgspec.Struct, rename="camel", frozen=True):
    """A new access token. `token` is shown once; `id` is the token's, `position` to wait for."""

    id: UUID
    token: str
    version: int
    position: int


@get("/api/users", operation_id="listUsers")
async def list_users(
    services: NamedDependency[Services], cursor: Cursor = None, limit: Limit = 50
) -> People:
    """Accounts, by name."""
    return await services.query(lambda: people.page(services.pool, cursor, limit, services.cursors))


@post("/api/users", operation_id="registerUser", status_code=201)
async def register_user(
    data: JSONBody[NewUser],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Makes an account."""
    accepted = await services.passwords.run(
        lambda: services.users.register(
            context, username=data.username, password=data.password, role_name=data.role
        )
    )
    return with_version(answer_of(accepted), 201)


@patch("/api/users/{user_id:uuid}", operation_id="changeUserRole")
async def change_user_role(
    user_id: FromPath[UUID],
    data: JSONBody[RoleChange],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Gives a person another role, at once."""
    accepted = await services.command(
        lambda: services.users.change_role(context, user_id, data.role)
    )
    return with_version(answer_of(accepted))


@get("/api/tokens", operation_id="listTokens")
async def list_tokens(
    request: Request[Identity, Any, Any], services: NamedDependency[Services]
) -> Tokens:
    """One's own access tokens, newest first."""
    rows = await services.query(lambda: services.accounts.tokens(request.user.user_id))
    return Tokens([TokenView(r.id, r.name, r.prefix, r.created_at, r.last_used_at) for r in rows])


@post("/api/tokens", operation_id="createToken", status_code=201)
async def create_token(
    request: Request[Identity, Any, Any],
    data: JSONBody[NewToken],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> CreatedToken:
    """Makes an access token for the API and the CLI. Its text is in this answer only."""
    accepted = await services.command(
        lambda: services.users.create_access_token(context, request.user.user_id, name=data.name)
    )
    return CreatedToken(
        id=UUID(accepted.result["tokenId"]),
        token=accepted.secret or "",
        version=accepted.version,
        position=accepted.position,
    )


@delete("/api/tokens/{token_id:uuid}", operation_id="revokeToken", status_code=200)
async def revoke_token(
    request: Request[Identity, Any, Any],
    token_id: FromPath[UUID],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Ends one of one's own access tokens, at once."""
    accepted = await services.command(
        lambda: services.users.revoke_access_token(context, request.user.user_id, token_id)
    )
    return with_version(answer_of(accepted))


HANDLERS = [list_users, register_user, change_user_role, list_tokens, create_token, revoke_token]
