"""Signing in and out, and the password."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from backend.api.authentication import cookies_of, no_cookies, session_secret
from backend.api.commands import CommandAnswer, answer_of
from backend.api.identity import Identity
from backend.api.problems import ApiError
from backend.api.services import Services
from backend.api.wire import Body
from backend.application.commands import CommandContext
from backend.domain.user import Role

PATH = "/api/session"


class UserView(msgspec.Struct, rename="camel", frozen=True):
    """A person."""

    id: UUID
    username: str
    role: Role


class SessionView(msgspec.Struct, rename="camel", frozen=True):
    """Who is signed in."""

    user: UserView


class Credentials(Body):
    """What a person types to sign in."""

    username: str
    password: str


class PasswordChange(Body):
    """The password in force, and the one to come."""

    current: str
    new: str


def _view(identity: Identity) -> SessionView:
    return SessionView(UserView(identity.user_id, identity.username, identity.role))


@post(PATH, operation_id="signIn", status_code=200)
async def sign_in(
    request: Request[Any, Any, Any],
    data: JSONBody[Credentials],
    services: NamedDependency[Services],
) -> Response[SessionView]:
    """Begins a session: sets its cookie, and the cookie with the CSRF token."""
    address = request.client.host if request.client else "unknown"
    session = await services.passwords.run(
        lambda: services.accounts.sign_in(data.username, data.password, address)
    )
    return Response(
        _view(session.identity), cookies=cookies_of(session, services.settings), status_code=200
    )


@get(PATH, operation_id="readSession")
async def read_session(request: Request[Identity, Any, Any]) -> SessionView:
    """Who is signed in."""
    return _view(request.user)


@delete(PATH, operation_id="signOut", status_code=204)
async def sign_out(
    request: Request[Identity, Any, Any], services: NamedDependency[Services]
) -> Response[None]:
    """Ends the session."""
    secret = session_secret(request.headers.get("cookie", ""))
    if secret is not None:
        await services.query(lambda: services.accounts.close_session(secret))
    return Response(None, status_code=204, cookies=no_cookies(services.settings))


@post(PATH + "/password", operation_id="changePassword", status_code=200)
async def change_password(
    request: Request[Identity, Any, Any],
    data: JSONBody[PasswordChange],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Sets a new password. Every other session of the person ends; this one goes on."""
    identity = request.user
    right = await services.passwords.run(
        lambda: services.accounts.check_password(identity.user_id, data.current)
    )
    if not right:
        raise ApiError(
            422,
            "wrong-password",
            "This is not the password in force.",
            remedy="Type the password with which you signed in.",
            field="current",
        )
    accepted = await services.passwords.run(
        lambda: services.users.change_password(context, identity.user_id, new_password=data.new)
    )
    cookies = []
    if identity.csrf is not None:
        session = await services.query(lambda: services.accounts.open_session(identity))
        cookies = cookies_of(session, services.settings)
    return Response(answer_of(accepted), cookies=cookies, status_code=200)


HANDLERS = [sign_in, read_session, sign_out, change_password]
