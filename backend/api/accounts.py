"""Sessions, access tokens, and the slowing down of people who guess passwords."""

from __future__ import annotations

import hashlib
import math
import secrets
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from uuid import UUID

from backend.api.identity import Identity
from backend.api.problems import ApiError
from backend.application.users import password_hash
from backend.domain.user import Role
from backend.infra.postgres import Pool, lock_number

# Failures within the window after which further attempts are refused.
WINDOW_MINUTES = 15
FAILURES_PER_USERNAME = 10
FAILURES_PER_ADDRESS = 50
_MAX_PASSWORD_LENGTH = 1024


@dataclass(frozen=True)
class Session:
    """A new session; both values go to the browser, and only the digest of `secret` is kept."""

    identity: Identity
    secret: str
    csrf: str


@dataclass(frozen=True)
class AccessTokenRow:
    """What is known of an access token."""

    id: UUID
    name: str
    prefix: str
    created_at: datetime
    last_used_at: datetime | None


def digest(secret: str) -> str:
    """What is stored in place of a secret. They are random, so that a plain hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


@cache
def _hash_of_nobody() -> str:
    return password_hash().hash(secrets.token_urlsafe())


class Accounts:
    """Who may come in. All calls block."""

    def __init__(self, pool: Pool, *, session_hours: int) -> None:
        self._pool = pool
        self._session_hours = session_hours

    def sign_in(self, username: str, password: str, address: str) -> Session:
        """A new session. Raises `ApiError`: 401 for a wrong pair, 429 after too many of them.

        An unknown user name takes as long as a wrong password.
        """
        attempt = self._begin_attempt(username, address)
        row = None
        with self._pool.connection() as connection:
            row = connection.execute(
                "SELECT user_id, username, role, password_hash FROM loggia.credentials "
                "WHERE username = %s",
                (username,),
            ).fetchone()
        expected = row["password_hash"] if row else _hash_of_nobody()
        right = password_hash().verify(password[:_MAX_PASSWORD_LENGTH], expected)
        if row is None or not right:
            raise ApiError(
                401,
                "wrong-credentials",
                "The user name or the password is wrong.",
                remedy="Check both and try again; an administrator can tell your user name.",
            )
        with self._pool.connection() as connection:
            # What counts against the address stays, except for this attempt itself.
            connection.execute(
                "DELETE FROM loggia.sign_in_failures WHERE subject = %s OR "
                "(subject = %s AND at = %s)",
                (_username_subject(username), _address_subject(address), attempt),
            )
        return self.open_session(Identity(row["user_id"], row["username"], Role(row["role"])))

    def open_session(self, identity: Identity) -> Session:
        """A session for somebody whose password has been checked."""
        secret, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        with self._pool.connection() as connection:
            connection.execute("DELETE FROM loggia.sessions WHERE expires_at < now()")
            connection.execute(
                "INSERT INTO loggia.sessions (sha256, user_id, csrf, expires_at) "
                "VALUES (%s, %s, %s, now() + make_interval(hours => %s))",
                (digest(secret), identity.user_id, csrf, self._session_hours),
            )
        return Session(identity, secret, csrf)

    def close_session(self, secret: str) -> None:
        """Ends a session."""
        with self._pool.connection() as connection:
            connection.execute("DELETE FROM loggia.sessions WHERE sha256 = %s", (digest(secret),))

    def check_password(self, user_id: UUID, password: str) -> bool:
        """Whether this is the person's password."""
        with self._pool.connection() as connection:
            row = connection.execute(
                "SELECT password_hash FROM loggia.credentials WHERE user_id = %s", (user_id,)
            ).fetchone()
        expected = row["password_hash"] if row else _hash_of_nobody()
        return password_hash().verify(password[:_MAX_PASSWORD_LENGTH], expected)

    def tokens(self, user_id: UUID) -> list[AccessTokenRow]:
        """The person's access tokens, newest first."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                "SELECT token_id, name, prefix, created_at, last_used_at "
                "FROM loggia.access_tokens WHERE user_id = %s ORDER BY created_at DESC",
                (user_id,),
            ).fetchall()
        return [
            AccessTokenRow(
                r["token_id"], r["name"], r["prefix"], r["created_at"], r["last_used_at"]
            )
            for r in rows
        ]

    def _begin_attempt(self, username: str, address: str) -> datetime:
        """Counts the attempt as a failure before it is made, so that parallel guesses count too."""
        subjects = [
            (_username_subject(username), FAILURES_PER_USERNAME),
            (_address_subject(address), FAILURES_PER_ADDRESS),
        ]
        with self._pool.connection() as connection, connection.transaction():
            for subject, _ in sorted(subjects):
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_number(subject),))
            connection.execute(
                "DELETE FROM loggia.sign_in_failures WHERE at < now() - make_interval(mins => %s)",
                (WINDOW_MINUTES,),
            )
            for subject, limit in subjects:
                row = connection.execute(
                    "SELECT count(*) AS failures, extract(epoch FROM min(at) "
                    "+ make_interval(mins => %s) - now())::float AS wait "
                    "FROM (SELECT at FROM loggia.sign_in_failures WHERE subject = %s "
                    "ORDER BY at DESC LIMIT %s) AS latest",
                    (WINDOW_MINUTES, subject, limit),
                ).fetchone()
                if row and row["failures"] >= limit:
                    raise _throttled(math.ceil(row["wait"]))
            row = connection.execute("SELECT clock_timestamp() AS at").fetchone()
            attempt: datetime = row["at"] if row else datetime.now().astimezone()
            for subject, _ in subjects:
                connection.execute(
                    "INSERT INTO loggia.sign_in_failures (subject, at) VALUES (%s, %s)",
                    (subject, attempt),
                )
        return attempt


def _username_subject(username: str) -> str:
    return f"user:{username[:64].lower()}"


def _address_subject(address: str) -> str:
    return f"address:{address}"


def _throttled(seconds: int) -> ApiError:
    wait = max(1, seconds)
    return ApiError(
        429,
        "too-many-attempts",
        "Signing in failed too often.",
        remedy=f"Wait {math.ceil(wait / 60)} minute(s), then try again.",
        headers={"Retry-After": str(wait)},
    )
