"""Credentials for other systems: encrypted at rest, opened only where they are used."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken
from psycopg.rows import DictRow

from backend.infra.postgres import Pool

_SEPARATOR = b"\0"


class SecretUnreadable(Exception):
    """The secret was sealed with another server key; it must be saved again."""


class Seal:
    """Encrypts secrets with a key made from the server's. A sealed one opens for its own
    connection only."""

    def __init__(self, secret_key: bytes) -> None:
        digest = hashlib.sha256(b"connections\0" + secret_key).digest()
        self._fernet = Fernet(urlsafe_b64encode(digest))

    def close(self, connection_id: UUID, secret: str) -> bytes:
        """The secret, encrypted."""
        return self._fernet.encrypt(connection_id.bytes + _SEPARATOR + secret.encode())

    def open(self, connection_id: UUID, sealed: bytes) -> str:
        """The secret. Raises `SecretUnreadable`."""
        try:
            content = self._fernet.decrypt(sealed)
        except InvalidToken:
            raise SecretUnreadable(str(connection_id)) from None
        prefix = connection_id.bytes + _SEPARATOR
        if not content.startswith(prefix):
            raise SecretUnreadable(str(connection_id))
        return content[len(prefix) :].decode()


@dataclass(frozen=True)
class StoredConnection:
    """A connection; `secret` is None where it needs none, and is never shown."""

    id: UUID
    name: str
    kind: str
    endpoint: str
    saved_by: str
    saved_at: datetime
    secret: str | None = field(default=None, repr=False)


class ConnectionStore:
    """The table of connections."""

    def __init__(self, pool: Pool, seal: Seal) -> None:
        self._pool = pool
        self._seal = seal

    def all(self) -> list[StoredConnection]:
        """Every connection by name, without the secrets."""
        with self._pool.connection() as connection:
            rows = connection.execute("SELECT * FROM loggia.connections ORDER BY name").fetchall()
        return [_connection(row) for row in rows]

    def get(self, name: str) -> StoredConnection | None:
        """The connection with its secret, or None. Raises `SecretUnreadable`."""
        with self._pool.connection() as connection:
            row = connection.execute(
                "SELECT * FROM loggia.connections WHERE lower(name) = lower(%s)", (name,)
            ).fetchone()
        if row is None:
            return None
        sealed = row["sealed_secret"]
        return _connection(
            row, self._seal.open(row["connection_id"], bytes(sealed)) if sealed else None
        )


def _connection(row: DictRow, secret: str | None = None) -> StoredConnection:
    return StoredConnection(
        id=row["connection_id"],
        name=row["name"],
        kind=row["kind"],
        endpoint=row["endpoint"],
        saved_by=row["saved_by"],
        saved_at=row["saved_at"],
        secret=secret,
    )
