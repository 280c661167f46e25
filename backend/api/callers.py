"""Who calls: identities by the secrets that requests carry, for many requests at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg.rows import DictRow

from backend.api.accounts import digest
from backend.api.identity import Identity
from backend.domain.user import Role
from backend.infra.postgres import TIME_OUTS, KeptConnection


class Callers:
    """Looks identities up on a connection of its own. All calls block."""

    def __init__(self, dsn: str) -> None:
        self._lock = threading.Lock()
        self._connection = KeptConnection(dsn, options=TIME_OUTS)

    def close(self) -> None:
        """Lets go of the connection."""
        self._connection.close()

    def by_sessions(self, secrets: Sequence[str]) -> dict[str, Identity]:
        """The people of those sessions that have not ended."""
        by_digest = {digest(secret): secret for secret in secrets}
        rows = self._rows(
            "SELECT sha256, user_id, username, role, csrf FROM loggia.sessions JOIN "
            "loggia.credentials USING (user_id) WHERE sha256 = ANY(%s) AND expires_at > now()",
            list(by_digest),
        )
        return {
            by_digest[row["sha256"]]: Identity(
                row["user_id"], row["username"], Role(row["role"]), row["csrf"]
            )
            for row in rows
        }

    def by_tokens(self, secrets: Sequence[str]) -> dict[str, Identity]:
        """The people of these access tokens. When one was used is noted once a minute."""
        by_digest = {digest(secret): secret for secret in secrets}
        rows = self._rows(
            "SELECT sha256, token_id, user_id, username, role, last_used_at IS NULL "
            "OR last_used_at < now() - interval '1 minute' AS stale FROM loggia.access_tokens "
            "JOIN loggia.credentials USING (user_id) WHERE sha256 = ANY(%s)",
            list(by_digest),
        )
        stale = [row["token_id"] for row in rows if row["stale"]]
        if stale:
            self._rows(
                "UPDATE loggia.access_tokens SET last_used_at = now() "
                "WHERE token_id = ANY(%s) RETURNING token_id",
                stale,
            )
        return {
            by_digest[row["sha256"]]: Identity(row["user_id"], row["username"], Role(row["role"]))
            for row in rows
        }

    def _rows(self, statement: LiteralString, values: list[Any]) -> list[DictRow]:
        with self._lock:
            return self._connection.get().execute(statement, (values,)).fetchall()
