"""From a request to the person behind it, and the protection of cookies against other sites."""

from __future__ import annotations

import hmac
from http.cookies import SimpleCookie
from typing import Any

from litestar.datastructures import Cookie
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from backend.api.accounts import Session
from backend.api.guards import PUBLIC, operation_of
from backend.api.identity import Identity
from backend.api.problems import ApiError
from backend.api.services import Services, services_of
from backend.application.users import TOKEN_PREFIX
from backend.infra.settings import Settings

SESSION_COOKIE = "loggia_session"
CSRF_COOKIE = "loggia_csrf"
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
# Browsers send these without asking the server first, whatever site they are on.
_BODY_TYPES = ("application/json", "application/offset+octet-stream")


class Authentication(ASGIMiddleware):
    """Finds the identity behind a bearer token or a session cookie; None for strangers.

    Nobody is turned away here except for what is wrong in itself: a request that changes
    something with a cookie but without the CSRF token, and a body that is no JSON.
    """

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Puts the identity where the guards and the handlers look for it."""
        headers = dict(scope["headers"])
        unsafe = scope.get("method") not in _SAFE_METHODS
        if unsafe:
            _check_body_type(headers)
        scope["user"] = None
        if operation_of(scope["route_handler"]) in PUBLIC:
            # Health is known without the database, and signing in replaces whatever was before.
            await next_app(scope, receive, send)
            return
        services = services_of(scope["litestar_app"].state)
        identity, by_cookie = await identify(services, headers)
        if unsafe and by_cookie and identity is not None:
            _check_csrf(identity, headers)
        scope["user"] = identity
        await next_app(scope, receive, send)


async def identify(services: Services, headers: dict[bytes, bytes]) -> tuple[Identity | None, bool]:
    """Who sends these headers, and whether a cookie says so. The database is asked each time."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not token.startswith(TOKEN_PREFIX):
            return None, False
        return await services.people_by_token.get(token), False
    secret = session_secret(headers.get(b"cookie", b"").decode("latin-1"))
    if secret is None:
        return None, False
    return await services.people_by_session.get(secret), True


def session_secret(cookies: str) -> str | None:
    """The session's secret in a Cookie header."""
    if SESSION_COOKIE not in cookies:
        return None
    morsel = SimpleCookie(cookies).get(SESSION_COOKIE)
    return morsel.value if morsel else None


def cookies_of(session: Session, settings: Settings) -> list[Cookie]:
    """The two cookies of a new session."""
    options: dict[str, Any] = {
        "path": "/",
        "samesite": "strict",
        "secure": settings.secure_cookies,
        "max_age": settings.session_hours * 3600,
    }
    return [
        Cookie(SESSION_COOKIE, value=session.secret, httponly=True, **options),
        Cookie(CSRF_COOKIE, value=session.csrf, httponly=False, **options),
    ]


def no_cookies(settings: Settings) -> list[Cookie]:
    """Cookies that remove those of a session."""
    options: dict[str, Any] = {
        "path": "/",
        "samesite": "strict",
        "secure": settings.secure_cookies,
        "max_age": 0,
    }
    return [
        Cookie(SESSION_COOKIE, value="", httponly=True, **options),
        Cookie(CSRF_COOKIE, value="", httponly=False, **options),
    ]


def _check_body_type(headers: dict[bytes, bytes]) -> None:
    has_body = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    media_type = content_type.partition(";")[0].strip().lower()
    if has_body and media_type not in _BODY_TYPES:
        raise ApiError(
            415,
            "unsupported-media-type",
            f"A body of the type '{media_type or 'unknown'}' is not accepted.",
            remedy="Send JSON with 'Content-Type: application/json'.",
        )


def _check_csrf(identity: Identity, headers: dict[bytes, bytes]) -> None:
    given = headers.get(b"x-csrf-token", b"")
    if not hmac.compare_digest(given, (identity.csrf or "").encode()) or not given:
        raise ApiError(
            403,
            "csrf",
            "The header X-CSRF-Token does not belong to this session.",
            remedy="Repeat the value of the cookie loggia_csrf in the header X-CSRF-Token.",
        )
