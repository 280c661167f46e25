"""Refusals: what went wrong, in words for a person, and what to do about it."""

from __future__ import annotations

from typing import Any


class DomainError(Exception):
    """A command was refused. `code` is stable; `remedy` says what the caller can do."""

    code = "refused"

    def __init__(self, detail: str, *, remedy: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy
        self.field = field


class Invalid(DomainError):
    """A value breaks a rule; `field` names it."""

    code = "invalid"


class NotFound(DomainError):
    """Nothing has this id."""

    code = "not-found"


class NameTaken(DomainError):
    """Another model has this name already."""

    code = "name-taken"


class NotAllowed(DomainError):
    """The state of the aggregate does not allow the command now."""

    code = "not-allowed"


class Conflict(DomainError):
    """The aggregate has changed since the caller saw it; `current` is its state now."""

    code = "conflict"

    def __init__(self, detail: str, *, remedy: str, current: dict[str, Any]) -> None:
        super().__init__(detail, remedy=remedy)
        self.current = current


class IdempotencyKeyReused(DomainError):
    """The key came back with another request than the first time."""

    code = "idempotency-key-reused"
