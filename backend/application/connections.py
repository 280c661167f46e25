"""Commands about connections to other systems."""

from __future__ import annotations

from psycopg import Cursor
from psycopg.rows import DictRow

from backend.application.commands import Accepted, CommandContext, CommandRunner, Decision
from backend.domain.connection import Connection
from backend.domain.errors import NotAllowed, NotFound
from backend.infra.connections import Seal

# A person chooses from all of them.
MAX_CONNECTIONS = 200


class Connections:
    """Save and remove connections; their secrets are sealed beside the events, never in them."""

    def __init__(self, runner: CommandRunner, seal: Seal) -> None:
        self._runner = runner
        self._store = runner.store
        self._seal = seal

    def save(
        self,
        context: CommandContext,
        *,
        name: str,
        kind: str,
        endpoint: str,
        secret: str | None,
    ) -> Accepted:
        """A connection, or all of an existing one anew; `secret` None where none is needed.

        Raises `Invalid` and `NotAllowed`.
        """

        def decide() -> Decision:
            connection = self._store.find(Connection, Connection.create_id(name))
            if connection is None:
                connection = Connection.begin(name=name, kind=kind, endpoint=endpoint)
            else:
                connection.save(name=name, kind=kind, endpoint=endpoint)
            saved = connection
            sealed = self._seal.close(saved.id, secret) if secret else None

            def write(cursor: Cursor[DictRow]) -> None:
                cursor.execute(
                    "INSERT INTO loggia.connections "
                    "(connection_id, name, kind, endpoint, sealed_secret, saved_by) "
                    "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (connection_id) DO UPDATE SET "
                    "name = EXCLUDED.name, kind = EXCLUDED.kind, endpoint = EXCLUDED.endpoint, "
                    "sealed_secret = EXCLUDED.sealed_secret, saved_by = EXCLUDED.saved_by, "
                    "saved_at = now()",
                    (saved.id, saved.name, saved.kind, saved.endpoint, sealed, context.actor),
                )
                cursor.execute("SELECT count(*) AS many FROM loggia.connections")
                counted = cursor.fetchone()
                if counted is not None and counted["many"] > MAX_CONNECTIONS:
                    raise NotAllowed(
                        f"There are {MAX_CONNECTIONS} connections; there cannot be more.",
                        remedy="Remove one that is not used any more.",
                    )

            return Decision([saved], [write], {"name": saved.name})

        return self._runner.run(context, decide)

    def remove(self, context: CommandContext, name: str) -> Accepted:
        """Forgets the connection and its secret. Raises `NotFound`."""

        def decide() -> Decision:
            connection = self._store.find(Connection, Connection.create_id(name))
            if connection is None:
                raise NotFound(
                    f"There is no connection '{name[:80]}'.",
                    remedy="Reload the list of connections.",
                )
            connection.remove()
            connection_id = connection.id

            def forget(cursor: Cursor[DictRow]) -> None:
                cursor.execute(
                    "DELETE FROM loggia.connections WHERE connection_id = %s", (connection_id,)
                )

            return Decision([connection], [forget])

        return self._runner.run(context, decide)
