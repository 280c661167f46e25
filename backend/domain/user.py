"""The User aggregate: who may do what. Passwords and tokens are kept outside the events."""

from __future__ import annotations

import re
from enum import StrEnum
from uuid import UUID, uuid4

from backend.domain.errors import Invalid, NotAllowed, NotFound
from backend.domain.events import Aggregate, event_header

MAX_TOKENS = 100
_USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Role(StrEnum):
    """What a person may do; see `backend.api.guards` for each route's rule."""

    ADMIN = "admin"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    INTEGRATOR = "integrator"
    VIEWER = "viewer"


def role(text: str) -> Role:
    """The role of that name. Raises `Invalid`."""
    try:
        return Role(text)
    except ValueError:
        raise Invalid(
            f"'{text}' is not a role.",
            remedy=f"Choose one of {', '.join(r.value for r in Role)}.",
            field="role",
        ) from None


class User(Aggregate):
    """A person's account, its role and its access tokens."""

    TOPIC = "User"

    class Created(Aggregate.Created):
        TOPIC = "UserRegistered"
        user_id: UUID
        username: str
        role: str

    class RoleChanged(Aggregate.Event):
        TOPIC = "UserRoleChanged"
        user_id: UUID
        role: str

        def apply(self, aggregate: User) -> None:
            aggregate.role = Role(self.role)

    class PasswordChanged(Aggregate.Event):
        TOPIC = "UserPasswordChanged"
        user_id: UUID

        def apply(self, aggregate: User) -> None: ...

    class AccessTokenCreated(Aggregate.Event):
        TOPIC = "AccessTokenCreated"
        user_id: UUID
        token_id: UUID
        name: str

        def apply(self, aggregate: User) -> None:
            aggregate.tokens[str(self.token_id)] = self.name

    class AccessTokenRevoked(Aggregate.Event):
        TOPIC = "AccessTokenRevoked"
        user_id: UUID
        token_id: UUID

        def apply(self, aggregate: User) -> None:
            aggregate.tokens.pop(str(self.token_id), None)

    def __init__(self, *, username: str, role: str) -> None:
        self.username = username
        self.role = Role(role)
        self.tokens: dict[str, str] = {}

    @classmethod
    def register(cls, *, username: str, role: Role) -> User:
        """A new account. Raises `Invalid` where the name is not acceptable."""
        if not _USERNAME.fullmatch(username):
            raise Invalid(
                f"'{username[:80]}' cannot be a user name.",
                remedy="Use 1 to 64 lower-case letters, digits, dots, hyphens and underscores.",
                field="username",
            )
        user_id = uuid4()
        return cls._create(
            cls.Created,
            id=user_id,
            user_id=user_id,
            username=username,
            role=role.value,
            **event_header(),
        )

    def change_role(self, role: Role) -> None:
        """Gives the person another role."""
        if role is not self.role:
            self.record(self.RoleChanged, user_id=self.id, role=role.value)

    def change_password(self) -> None:
        """Records that the password changed, never what it is."""
        self.record(self.PasswordChanged, user_id=self.id)

    def create_access_token(self, *, token_id: UUID, name: str) -> None:
        """A new token for the API and the CLI. Raises `Invalid` and `NotAllowed`."""
        if not 1 <= len(name.strip()) <= 64:
            raise Invalid(
                "A token needs a name of 1 to 64 characters.",
                remedy="Say where the token is used, so that you can revoke the right one later.",
                field="name",
            )
        if len(self.tokens) >= MAX_TOKENS:
            raise NotAllowed(
                f"You have {MAX_TOKENS} access tokens; nobody may have more.",
                remedy="Revoke one that is not used any more.",
            )
        self.record(self.AccessTokenCreated, user_id=self.id, token_id=token_id, name=name.strip())

    def revoke_access_token(self, token_id: UUID) -> None:
        """Ends a token. Raises `NotFound`."""
        if str(token_id) not in self.tokens:
            raise NotFound("There is no such access token.", remedy="Reload the list of tokens.")
        self.record(self.AccessTokenRevoked, user_id=self.id, token_id=token_id)
