"""Commands about servers that run engines already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from backend.application.commands import Accepted, CommandContext, CommandRunner, Decision
from backend.application.store import InTransaction
from backend.domain.errors import Invalid
from backend.domain.server import Description, Server, missing, still_used
from backend.infra.connections import Seal


@dataclass(frozen=True)
class Credentials:
    """What a server is to be called with from now on; `kept` leaves what is there as it is."""

    secret: str | None = None
    kept: bool = False


class Servers:
    """Register, describe anew, drain and remove servers, and record whether they answer.

    Each command writes the server's row in the transaction of its event.
    """

    def __init__(self, runner: CommandRunner, seal: Seal) -> None:
        self._runner = runner
        self._store = runner.store
        self._seal = seal

    def register(
        self, context: CommandContext, description: Description, secret: str | None
    ) -> Accepted:
        """A new server that takes deployments. Raises `Invalid`, `NotAllowed`."""
        described = replace(description, has_credentials=bool(secret))

        def decide() -> Decision:
            server = self._store.find(Server, Server.create_id(description.name))
            if server is None:
                server = Server.register(described)
            else:
                server.register_again(described)
            return self._written(server, Credentials(secret))

        return self._runner.run(context, decide)

    def change(
        self, context: CommandContext, description: Description, credentials: Credentials
    ) -> Accepted:
        """All of a server anew, but for its name. Raises `Invalid`, `NotFound`, `NotAllowed`.

        It leaves its pool, and its address, only when no replica is on it: one may be there for
        the pool, and is called at the address where it was placed.
        """

        def decide() -> Decision:
            server = self._existing(description.name)
            pool, before = server.pool, (server.address, server.grpc_address)
            has = server.has_credentials if credentials.kept else bool(credentials.secret)
            server.change(replace(description, name=server.name, has_credentials=has))
            if credentials.kept and has and (server.address, server.grpc_address) != before:
                raise Invalid(
                    f"The credentials were given for {' and '.join(filter(None, before))}.",
                    remedy="Give them again for the new address, or say that it needs none.",
                    field="credentials",
                )
            decision = self._written(server, credentials)
            if server.pool != pool:
                decision.within.append(_unused(server.name, "leave its pool"))
            if server.address != before[0]:
                decision.within.append(_unused(server.name, "get another address"))
            return decision

        return self._runner.run(context, decide)

    def drain(self, context: CommandContext, name: str, *, reason: str) -> Accepted:
        """Sends its replicas elsewhere. Raises `NotFound`, `Invalid`."""
        return self._change(context, name, lambda server: server.drain(reason=reason))

    def end_drain(self, context: CommandContext, name: str) -> Accepted:
        """Lets it take replicas again. Raises `NotFound`."""
        return self._change(context, name, Server.end_drain)

    def remove(self, context: CommandContext, name: str) -> Accepted:
        """Forgets it and its credentials. Raises `NotFound`, and `NotAllowed` while it is used."""

        def decide() -> Decision:
            server = self._existing(name)
            server.remove()

            def forget(cursor: Cursor[DictRow]) -> None:
                # Waits for a placement on it that is under way, and is seen by later ones.
                cursor.execute("DELETE FROM loggia.servers WHERE server_id = %s", (server.id,))

            unused = _unused(server.name, "be removed")
            return Decision([server], [forget, unused], {"name": server.name})

        return self._runner.run(context, decide)

    def record_lost(
        self, context: CommandContext, server_id: UUID, *, reason: str, silent_seconds: float
    ) -> Accepted:
        """It does not answer any more. Raises `NotFound`."""

        def decide() -> Decision:
            server = self._store.load(Server, server_id)
            server.record_lost(reason=reason, silent_seconds=silent_seconds)
            return Decision([server], [_marked(server.id, lost=True)])

        return self._runner.run(context, decide)

    def record_recovered(
        self, context: CommandContext, server_id: UUID, *, lost_seconds: float, engine_version: str
    ) -> Accepted:
        """It answers again. Raises `NotFound`."""

        def decide() -> Decision:
            server = self._store.load(Server, server_id)
            server.record_recovered(lost_seconds=lost_seconds, engine_version=engine_version)
            return Decision([server], [_marked(server.id, lost=False)])

        return self._runner.run(context, decide)

    def _change(
        self, context: CommandContext, name: str, change: Callable[[Server], None]
    ) -> Accepted:
        def decide() -> Decision:
            server = self._existing(name)
            change(server)
            return self._written(server, Credentials(kept=True))

        return self._runner.run(context, decide)

    def _existing(self, name: str) -> Server:
        server = self._store.find(Server, Server.create_id(name))
        if server is None:
            raise missing(name)
        return server

    def _written(self, server: Server, credentials: Credentials) -> Decision:
        secret = None if credentials.kept else credentials.secret
        values = (
            server.id, server.name, server.pool, server.address, server.grpc_address,
            server.engine, server.engine_version, Jsonb(server.capacity), server.draining,
            self._seal.close(server.id, secret) if secret else None, credentials.kept,
        )  # fmt: skip

        def write(cursor: Cursor[DictRow]) -> None:
            cursor.execute(_WRITE, values)

        return Decision([server], [write], {"name": server.name})


_WRITE = (
    "INSERT INTO loggia.servers AS known (server_id, name, pool, address, grpc_address, engine, "
    "engine_version, capacity, draining, sealed_credentials) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (server_id) DO UPDATE SET name = EXCLUDED.name, pool = EXCLUDED.pool, "
    "address = EXCLUDED.address, grpc_address = EXCLUDED.grpc_address, "
    "engine = EXCLUDED.engine, engine_version = EXCLUDED.engine_version, "
    "capacity = EXCLUDED.capacity, draining = EXCLUDED.draining, sealed_credentials = "
    "CASE WHEN %s THEN known.sealed_credentials ELSE EXCLUDED.sealed_credentials END"
)


def _unused(name: str, wanted: str) -> InTransaction:
    """A statement that refuses while replicas are on it, after one that locks the server's row."""

    def check(cursor: Cursor[DictRow]) -> None:
        cursor.execute(
            "SELECT count(*) AS replicas FROM loggia.replicas "
            "WHERE server = %s AND state <> 'ended'",
            (name,),
        )
        row = cursor.fetchone()
        if row is not None and row["replicas"]:
            raise still_used(name, row["replicas"], wanted=wanted)

    return check


def _marked(server_id: UUID, *, lost: bool) -> InTransaction:
    def write(cursor: Cursor[DictRow]) -> None:
        cursor.execute(
            "UPDATE loggia.servers SET lost_at = CASE WHEN %s THEN now() END WHERE server_id = %s",
            (lost, server_id),
        )

    return write
