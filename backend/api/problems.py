"""Every error as problem+json: what is wrong, with which field, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
import psycopg
from eventsourcing.persistence import PersistenceError
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from psycopg_pool import PoolTimeout

from backend.api.lanes import Overloaded, Unanswered
from backend.application.store import StoreUnavailable
from backend.domain import errors as domain
from backend.infra.logging import get_logger
from backend.sources.errors import FetchFailed, FetchRefused

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
_log = get_logger(__name__)


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field of the request; `field` is its path in the JSON document."""

    field: str
    message: str


class Problem(msgspec.Struct, rename="camel", omit_defaults=True):
    """An answer that says no (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    remedy: str
    errors: list[FieldError] = []
    current: dict[str, Any] | None = None
    correlation_id: str | None = None


class ApiError(Exception):
    """A refusal by the HTTP layer itself."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        remedy: str,
        field: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        """`errors` says more than `field`, which stands for the one error that `detail` is."""
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.remedy = remedy
        self.errors = list(errors) or ([FieldError(field, detail)] if field else [])
        self.headers = headers or {}


# The statuses of the domain's refusals.
STATUSES: dict[type[domain.DomainError], int] = {
    domain.Invalid: 422,
    domain.NotFound: 404,
    domain.NameTaken: 409,
    domain.NotAllowed: 409,
    domain.Conflict: 409,
    domain.IdempotencyKeyReused: 422,
}

# Statuses that the standard library does not know.
_TITLES = {460: "Checksum Mismatch"}

# What to do where the framework refuses a request.
_REMEDIES = {
    400: "Correct the request as its description at /schema/openapi.json says.",
    401: "Sign in, or send an access token as 'Authorization: Bearer lgp_...'.",
    403: "Ask an administrator for a role that may do this.",
    404: "Check the address, or reload the list.",
    405: "Use one of the methods in the Allow header.",
    413: "Send less at once.",
    415: "Send the body as application/json.",
}
_UNAVAILABLE: tuple[type[Exception], ...] = (
    StoreUnavailable,
    Overloaded,
    Unanswered,
    PersistenceError,
    PoolTimeout,
    psycopg.OperationalError,
    # The projections make their tables at their first start.
    psycopg.errors.UndefinedTable,
)
_AT = re.compile(r" - at `\$\.?(.*)`$")
_NAMED_FIELD = re.compile(r"field `([^`]+)`")


def respond(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """The answer to any error that a handler, a guard or a middleware raised."""
    correlation_id = request.scope.get("state", {}).get("correlation_id")
    problem, headers = describe(error)
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        problem.correlation_id = correlation_id
        if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
            _log.warning("unavailable", error=str(error), path=request.url.path)
        else:
            _log.error(
                "unexpected error",
                path=request.url.path,
                correlation_id=correlation_id,
                exc_info=error,
            )
    return Response(problem, status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)


def describe(error: Exception) -> tuple[Problem, dict[str, str]]:
    """The problem document of an error, and the headers that go with it."""
    for kind, describe_kind in _DESCRIPTIONS:
        if isinstance(error, kind):
            return describe_kind(error)
    return (
        _problem(
            500,
            "unexpected",
            "Loggia met an error that nobody foresaw.",
            "Try again. If it happens again, give the administrator the correlation id.",
        ),
        {},
    )


def _problem(
    status: int,
    code: str,
    detail: str,
    remedy: str,
    errors: list[FieldError] | None = None,
    current: dict[str, Any] | None = None,
) -> Problem:
    return Problem(
        type=f"urn:loggia:problem:{code}",
        title=_TITLES.get(status) or HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        remedy=remedy,
        errors=errors or [],
        current=current,
    )


def _of_domain(error: domain.DomainError) -> tuple[Problem, dict[str, str]]:
    errors = [FieldError(error.field, error.detail)] if error.field else []
    current = error.current if isinstance(error, domain.Conflict) else None
    status = STATUSES[type(error)]
    return _problem(status, error.code, error.detail, error.remedy, errors, current), {}


def _of_api(error: ApiError) -> tuple[Problem, dict[str, str]]:
    return (
        _problem(error.status, error.code, error.detail, error.remedy, error.errors),
        error.headers,
    )


def _of_refused_fetch(error: FetchRefused) -> tuple[Problem, dict[str, str]]:
    return _problem(422, error.code, error.reason, error.remedy), {}


def _of_failed_fetch(error: FetchFailed) -> tuple[Problem, dict[str, str]]:
    # 422, not 502: our own service is well, and what was asked for is not to be had.
    return _problem(422, "fetch_failed", error.reason, error.remedy), {}


def _of_unavailable(error: Exception) -> tuple[Problem, dict[str, str]]:
    busy = isinstance(error, Overloaded)
    problem = _problem(
        503,
        "overloaded" if busy else "unavailable",
        "Too many requests wait already." if busy else "The database does not answer.",
        "Try again in a moment. Repeating a command with its Idempotency-Key is safe.",
    )
    return problem, {"Retry-After": str(RETRY_SECONDS)}


def _of_data(error: psycopg.DataError) -> tuple[Problem, dict[str, str]]:
    return (
        _problem(
            422,
            "invalid",
            f"The request has a value that cannot be looked up: {str(error).splitlines()[0]}.",
            "Remove control characters from texts, and use numbers and times of an ordinary size.",
        ),
        {},
    )


def _of_validation(error: ValidationException) -> tuple[Problem, dict[str, str]]:
    errors = [_field_error(each) for each in error.extra or [] if isinstance(each, dict)]
    said = "; ".join(f"{each.field}: {each.message}" for each in errors)
    return (
        _problem(
            422,
            "invalid",
            said or "The request does not have the expected form.",
            "Correct the named fields.",
            errors,
        ),
        {},
    )


def _of_http(error: HTTPException) -> tuple[Problem, dict[str, str]]:
    status = error.status_code
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return describe(RuntimeError(error.detail))
    code = HTTPStatus(status).phrase.lower().replace(" ", "-")
    detail = error.detail
    if status == HTTPStatus.NOT_FOUND:
        detail = "There is nothing at this address."
    headers = dict(error.headers or {})
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return _problem(
        status, code, f"{detail.rstrip('.')}.", _REMEDIES.get(status, ""), None
    ), headers


def _field_error(extra: dict[str, Any]) -> FieldError:
    message = str(extra.get("message", ""))
    # The framework calls the body `data`, and stops at the object around an unknown field.
    at, named = _AT.search(message), _NAMED_FIELD.search(message)
    key = str(extra.get("key", ""))
    parts = [
        "" if key == "data" else _camel(key),
        at.group(1) if at else "",
        named.group(1) if named else "",
    ]
    return FieldError(".".join(part for part in parts if part) or "body", _AT.sub("", message))


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


_DESCRIPTIONS: tuple[
    tuple[
        type[Exception] | tuple[type[Exception], ...],
        Callable[[Any], tuple[Problem, dict[str, str]]],
    ],
    ...,
] = (
    (domain.DomainError, _of_domain),
    (ApiError, _of_api),
    (ValidationException, _of_validation),
    (HTTPException, _of_http),
    (FetchRefused, _of_refused_fetch),
    (FetchFailed, _of_failed_fetch),
    (_UNAVAILABLE, _of_unavailable),
    (psycopg.DataError, _of_data),
)
