"""From a request to a command's context, and from its outcome to the answer."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Protocol
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency

from backend.api.identity import Identity
from backend.api.problems import ApiError
from backend.api.services import Services
from backend.application.commands import Accepted, CommandContext

MAX_KEY_LENGTH = 200
_ETAG = re.compile(r'(?:W/)?"(\d{1,18})"')


class CommandAnswer(msgspec.Struct, rename="camel", frozen=True):
    """The aggregate that was changed, its version now, and the position to wait for."""

    id: UUID
    version: int
    position: int


class Versioned(Protocol):
    """An answer that tells the version of what was changed."""

    @property
    def version(self) -> int:
        """The aggregate's version now."""


def answer_of(accepted: Accepted) -> CommandAnswer:
    """The plain answer to an accepted command."""
    return CommandAnswer(accepted.id, accepted.version, accepted.position)


def with_version(answer: Versioned, status: int = 200) -> Response[Any]:
    """The answer, with the new version as its ETag."""
    return Response(answer, status_code=status, headers={"ETag": f'"{answer.version}"'})


async def command_context(
    request: Request[Any, Any, Any],
    services: NamedDependency[Services],  # noqa: ARG001
) -> CommandContext:
    """Who asks, under which key and on which version. A dependency of every command's handler.

    It depends on the services only so that the framework gets one after the other: for two at
    once it would start a task for each, which takes longer than both.
    """
    identity: Identity = request.user
    key = request.headers.get("idempotency-key")
    if key is not None and not (1 <= len(key) <= MAX_KEY_LENGTH and key.isprintable()):
        raise ApiError(
            422,
            "invalid",
            f"The header Idempotency-Key must have 1 to {MAX_KEY_LENGTH} printable characters.",
            remedy="Send a new UUID with each command.",
            field="Idempotency-Key",
        )
    fingerprint = ""
    if key is not None:
        body = await request.body()
        text = f"{request.method} {request.url.path}\0".encode()
        fingerprint = hashlib.sha256(text + body).hexdigest()
    return CommandContext(
        actor=identity.actor,
        correlation_id=UUID(request.scope["state"]["correlation_id"]),
        idempotency_key=key,
        fingerprint=fingerprint,
        expected_version=_expected_version(request.headers.get("if-match")),
    )


def _expected_version(header: str | None) -> int | None:
    if header is None or header.strip() == "*":
        return None
    match = _ETAG.fullmatch(header.strip())
    if match is None:
        raise ApiError(
            422,
            "invalid",
            f"The header If-Match is '{header[:80]}'; it must be a version in quotes.",
            remedy='Send the version that you saw, such as If-Match: "3", or leave it out.',
            field="If-Match",
        )
    return int(match.group(1))
