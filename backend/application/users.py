"""Commands about people: accounts, passwords, access tokens."""

from __future__ import annotations

import hashlib
import secrets
from functools import cache
from uuid import UUID, uuid4

from psycopg import Cursor
from psycopg.rows import DictRow
from pwdlib import PasswordHash

from backend.application.commands import Accepted, CommandContext, CommandRunner, Decision
from backend.application.store import EventStore, InTransaction
from backend.domain.errors import Invalid, NameTaken, NotAllowed
from backend.domain.user import Role, User, role
from backend.infra.settings import Settings

TOKEN_PREFIX = "lgp_"  # noqa: S105 (how tokens begin, not a token)
FIRST_ADMINISTRATOR = "admin"
MIN_PASSWORD_LENGTH = 12


@cache
def password_hash() -> PasswordHash:
    """The hash for passwords: Argon2id with the library's recommended cost."""
    return PasswordHash.recommended()


class Users:
    """Accounts with roles. Secrets go to ordinary tables, facts to events."""

    def __init__(self, runner: CommandRunner) -> None:
        self._runner = runner
        self._store = runner.store

    def register(
        self, context: CommandContext, *, username: str, password: str, role_name: str
    ) -> Accepted:
        """A new account. Raises `Invalid` and `NameTaken`."""
        hashed = _hash(password)

        def decide() -> Decision:
            user = User.register(username=username, role=role(role_name))
            return Decision([user], [_insert_credentials(user, hashed)], {"username": username})

        return self._runner.run(context, decide)

    def change_role(self, context: CommandContext, user_id: UUID, role_name: str) -> Accepted:
        """Gives a person another role; the last administrator keeps theirs."""
        wanted = role(role_name)

        def update(cursor: Cursor[DictRow]) -> None:
            if wanted is not Role.ADMIN:
                # The rows are locked, so that two administrators cannot demote each other.
                cursor.execute(
                    "SELECT user_id FROM loggia.credentials WHERE role = 'admin' FOR UPDATE"
                )
                if [row["user_id"] for row in cursor.fetchall()] == [user_id]:
                    raise NotAllowed(
                        "This is the last administrator.",
                        remedy="Make somebody else an administrator first.",
                    )
            cursor.execute(
                "UPDATE loggia.credentials SET role = %s WHERE user_id = %s",
                (wanted.value, user_id),
            )

        def decide() -> Decision:
            user = self._store.load(User, user_id)
            user.change_role(wanted)
            return Decision([user], [update])

        return self._runner.run(context, decide)

    def change_password(
        self, context: CommandContext, user_id: UUID, *, new_password: str
    ) -> Accepted:
        """Sets a new password and ends every session of the person."""
        hashed = _hash(new_password)

        def update(cursor: Cursor[DictRow]) -> None:
            cursor.execute(
                "UPDATE loggia.credentials SET password_hash = %s WHERE user_id = %s",
                (hashed, user_id),
            )
            cursor.execute("DELETE FROM loggia.sessions WHERE user_id = %s", (user_id,))

        def decide() -> Decision:
            user = self._store.load(User, user_id)
            user.change_password()
            return Decision([user], [update])

        return self._runner.run(context, decide)

    def create_access_token(self, context: CommandContext, user_id: UUID, *, name: str) -> Accepted:
        """A token for the API and the CLI; the answer's `secret` is shown once."""

        def decide() -> Decision:
            user = self._store.load(User, user_id)
            token_id = uuid4()
            user.create_access_token(token_id=token_id, name=name)
            secret = TOKEN_PREFIX + secrets.token_urlsafe(32)

            def insert(cursor: Cursor[DictRow]) -> None:
                cursor.execute(
                    "INSERT INTO loggia.access_tokens (token_id, user_id, name, sha256, prefix) "
                    "VALUES (%s, %s, %s, %s, %s)",
                    (
                        token_id,
                        user_id,
                        name.strip(),
                        hashlib.sha256(secret.encode()).hexdigest(),
                        secret[: len(TOKEN_PREFIX) + 6],
                    ),
                )

            return Decision([user], [insert], {"tokenId": str(token_id)}, secret)

        return self._runner.run(context, decide)

    def revoke_access_token(
        self, context: CommandContext, user_id: UUID, token_id: UUID
    ) -> Accepted:
        """Ends a token at once."""

        def delete(cursor: Cursor[DictRow]) -> None:
            cursor.execute("DELETE FROM loggia.access_tokens WHERE token_id = %s", (token_id,))

        def decide() -> Decision:
            user = self._store.load(User, user_id)
            user.revoke_access_token(token_id)
            return Decision([user], [delete])

        return self._runner.run(context, decide)


def ensure_first_administrator(settings: Settings) -> str | None:
    """Makes the account `admin` where no account exists; returns its password, else None."""
    store = EventStore(settings, pool_size=1)
    try:
        with store.recorder.datastore.get_connection() as connection:
            if connection.execute("SELECT 1 FROM loggia.credentials LIMIT 1").fetchone():
                return None
        password = secrets.token_urlsafe(12)
        Users(CommandRunner(store, settings.secret_key)).register(
            CommandContext(actor="system"),
            username=FIRST_ADMINISTRATOR,
            password=password,
            role_name=Role.ADMIN.value,
        )
    except NameTaken:
        return None  # another process made it in the meantime
    else:
        return password
    finally:
        store.close()


def _hash(password: str) -> str:
    if not MIN_PASSWORD_LENGTH <= len(password) <= 1024:
        raise Invalid(
            f"The password has {len(password)} characters; "
            f"allowed are {MIN_PASSWORD_LENGTH} to 1024.",
            remedy="Choose a longer one; a few words in a row are easy to remember.",
            field="password",
        )
    return password_hash().hash(password)


def _insert_credentials(user: User, hashed: str) -> InTransaction:
    def insert(cursor: Cursor[DictRow]) -> None:
        cursor.execute(
            "INSERT INTO loggia.credentials (user_id, username, role, password_hash) "
            "VALUES (%s, %s, %s, %s) ON CONFLICT (username) DO NOTHING RETURNING user_id",
            (user.id, user.username, user.role.value, hashed),
        )
        if cursor.fetchone() is None:
            raise NameTaken(
                f"There is an account named '{user.username}' already.",
                remedy="Choose another user name.",
                field="username",
            )

    return insert
