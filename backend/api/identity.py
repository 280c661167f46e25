"""Who sends a request."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from backend.domain.user import Role


@dataclass(frozen=True)
class Identity:
    """A person, known by session cookie or by access token.

    `csrf` is what a request with the cookie must repeat in a header; None for tokens.
    """

    user_id: UUID
    username: str
    role: Role
    csrf: str | None = None

    @property
    def actor(self) -> str:
        """The person's name in events."""
        return f"user:{self.username}"

    @property
    def sees_people(self) -> bool:
        """Whether events about accounts are for this person's eyes."""
        return self.role in {Role.ADMIN, Role.AUDITOR, Role.INTEGRATOR}
