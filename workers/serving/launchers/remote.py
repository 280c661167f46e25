"""Servers that run already: a replica there is a name that the server answers to.

Nothing is installed and no process is started. vLLM must serve the model under its name when it is
asked; Triton is told to load it from its repository, and to unload it again. Whether a server
still answers is watched elsewhere (`workers.serving.watching`); here it is only read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from uuid import UUID

import httpx
from psycopg import Cursor
from psycopg.rows import DictRow

from backend.domain.configuration import Scaling
from backend.domain.errors import NotAllowed
from backend.domain.server import normal_address
from backend.infra.postgres import Pool
from backend.infra.servers import ServerStore, StoredServer
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.guarded import GuardedClient
from backend.sources.inference_servers import ask_server
from workers.serving.engine import Diagnosis, Engine
from workers.serving.launchers.launcher import (
    STOP_SECONDS,
    NoPlace,
    Order,
    Place,
    PlaceLost,
    Sighting,
    Wanted,
)
from workers.serving.launchers.plain_triton import PlainTriton
from workers.serving.launchers.remote_models import ServedModels
from workers.serving.launchers.triton_repository import load_model, unload_model
from workers.serving.preparation import Needs

# A server that lacks a model for so long has not only been asked at a bad moment.
_MISSING_SECONDS = 5.0
# How old the list of servers may be; a look happens four times a second for each deployment.
_KNOWN_SECONDS = 0.5


class RemoteServers:
    """Places replicas on registered servers, as a `Launcher`."""

    needs = Needs(environment=False, files=False)
    ends_with_platform = False

    def __init__(self, pool: Pool, store: ServerStore, client: GuardedClient) -> None:
        self._pool = pool
        self._store = store
        self._client = client
        self._models = ServedModels(client)
        self._lock = threading.Lock()
        self._known: dict[str, StoredServer] = {}
        self._read_at = -_KNOWN_SECONDS

    def server(self, name: str) -> StoredServer | None:
        """The registered server that a replica's row names, not older than half a second."""
        with self._lock:
            if time.monotonic() - self._read_at >= _KNOWN_SECONDS:
                self._known = {server.name: server for server in self._store.all()}
                self._read_at = time.monotonic()
            return self._known.get(name)

    def called(self, name: str) -> list[StoredServer]:
        """The server, or the servers of the pool, that a configuration names."""
        self.server(name)
        return [server for server in self._known.values() if name in {server.name, server.pool}]

    def credentials_of(self, url: str) -> str | None:
        """What the server below whose address this is wants to be called with.

        Where one server's address is below another's, it is the longer one's.
        """
        self.server("")
        found = [(normal_address(s.address), s.credentials) for s in self._known.values()]
        found.sort(key=lambda each: (len(each[0]), each[1] is not None), reverse=True)
        asked = f"{normal_address(url)}/"
        return next((secret for address, secret in found if asked.startswith(f"{address}/")), None)

    def bounds(self, scaling: Scaling) -> tuple[int, int]:
        """Those of the configuration: a replica is one server."""
        return scaling.min_replicas, scaling.max_replicas

    def place(self, wanted: Wanted, cursor: Cursor[DictRow]) -> Place:
        """The server with the most room. Raises `NoPlace`.

        A second replica of a revision goes to another server: the first has the engine already.
        """
        name, engine = wanted.configuration.hardware.server, wanted.configuration.engine
        # Whoever removes one of them waits for this transaction.
        cursor.execute(
            "SELECT 1 FROM loggia.servers WHERE name = %s OR pool = %s FOR SHARE", (name, name)
        )
        fitting = [
            server
            for server in self._store.read(cursor)
            if name in {server.name, server.pool} and server.engine == engine
        ]
        cursor.execute(
            "SELECT server, count(DISTINCT deployment_id) FILTER (WHERE deployment_id <> %(own)s) "
            "AS others, count(*) FILTER (WHERE deployment_id = %(own)s "
            "AND revision = %(revision)s) AS same FROM loggia.replicas "
            "WHERE state <> 'ended' AND replica_id <> %(replica)s GROUP BY server",
            {
                "own": wanted.deployment_id,
                "revision": wanted.revision,
                "replica": wanted.replica_id,
            },
        )
        used = {row["server"]: row for row in cursor.fetchall()}

        def others(server: StoredServer) -> int:
            return int(used[server.name]["others"]) if server.name in used else 0

        free = [
            server
            for server in fitting
            if server.usable
            and others(server) < server.capacity["deployments"]
            and not (server.name in used and used[server.name]["same"])
        ]
        if free:
            chosen = min(free, key=lambda server: (others(server), server.name))
            return Place(chosen.name, chosen.address)
        raise _no_place(name, fitting, wanted.slot + 1, others)

    def start(self, order: Order) -> str:
        """Makes sure that the server serves the model. Raises `NotAllowed` and `PlaceLost`."""
        server = self.server(order.place.server)
        if server is None:
            raise NotAllowed(
                f"The server '{order.place.server}' has been removed.",
                remedy="Redeploy on another server.",
            )
        name = order.prepared.subject.name
        # Written first: whoever stops a replica that was not started to the end knows it then.
        with self._pool.connection() as connection:
            connection.execute(
                "UPDATE loggia.replicas SET served_name = %s WHERE replica_id = %s",
                (name, order.wanted.replica_id),
            )
        try:
            if server.engine == "triton":
                load_model(server, name, self._client)
            else:
                self._require_served(server, name)
        except FetchRefused as refused:
            raise NotAllowed(refused.reason, remedy=refused.remedy) from refused
        except FetchFailed as failed:
            raise PlaceLost(failed.reason) from failed
        return server.engine_version

    def devices(self, order: Order) -> list[str]:
        """As many as it wants of those that were registered; which ones nobody here knows."""
        hardware, server = order.wanted.configuration.hardware, self.server(order.place.server)
        if server is None or not server.capacity["gpu_name"]:
            return []
        count = min(hardware.accelerator_count, server.capacity["gpu_count"])
        return [server.capacity["gpu_name"]] * count

    def find(self, replica_id: UUID, *, search: bool = False) -> Sighting:  # noqa: ARG002
        """Whether its server answers, and has the model that it was ready with."""
        row = self._row(replica_id)
        if row is None or not row["served_name"]:
            return Sighting(False, False)
        server = self.server(row["server"])
        if server is None:
            why = Diagnosis(f"The server '{row['server']}' has been removed.", "Redeploy.")
            return Sighting(True, False, why=why, crashed=False)
        if server.lost_seconds is not None:
            why = Diagnosis(
                f"The server '{server.name}' does not answer: {server.problem}",
                "See that the server runs and can be reached; it is used again by itself.",
            )
        elif self._is_without(replica_id, row, server):
            why = Diagnosis(
                f"The server '{server.name}' answers, and has '{row['served_name']}' no longer.",
                "It may have been started anew; the model is loaded again by itself.",
            )
        else:
            return Sighting(True, True)
        return Sighting(True, False, why=why, crashed=False)

    def stop(self, replica_id: UUID, *, seconds: float = STOP_SECONDS) -> None:
        """Has Triton unload the model, unless another replica is the same there."""
        self._models.forget(replica_id)
        row = self._row(replica_id)
        server = self.server(row["server"]) if row is not None else None
        if row is None or server is None or not row["served_name"] or row["shared"]:
            return
        if server.engine == "triton" and server.lost_seconds is None:
            unload_model(server, row["served_name"], self._client, seconds=seconds)

    def log(self, replica_id: UUID) -> NoLog:  # noqa: ARG002
        """Nothing: the server's output is where the server is."""
        return NoLog()

    def speaks(self, engine: Engine) -> Engine:
        """Triton without our front before it; vLLM as it is."""
        return PlainTriton(engine) if engine.name == "triton" else engine

    def leaving(self, server: str) -> str | None:
        """Why its replicas are to move elsewhere, or None."""
        known = self.server(server)
        if known is not None and known.draining:
            return f"The server '{server}' is being drained."
        return None

    def _is_without(self, replica_id: UUID, row: DictRow, server: StoredServer) -> bool:
        if row["state"] != "ready":
            return False
        missing = self._models.missing_seconds(replica_id, server, row["served_name"])
        return missing >= _MISSING_SECONDS

    def _require_served(self, server: StoredServer, name: str) -> None:
        facts = ask_server(server.engine, server.address, server.credentials, self._client)
        if name in facts.models:
            return
        served = ", ".join(f"'{model}'" for model in facts.models[:10]) or "nothing"
        raise NotAllowed(
            f"The server '{server.name}' does not serve '{name}'; it serves {served}.",
            remedy=f"Start it with --served-model-name {name}, or deploy on another server.",
        )

    def _row(self, replica_id: UUID) -> DictRow | None:
        with self._pool.connection() as connection:
            return connection.execute(
                "SELECT r.server, r.served_name, r.state, EXISTS ("
                "SELECT 1 FROM loggia.replicas AS o WHERE o.server = r.server "
                "AND o.served_name = r.served_name AND o.state <> 'ended' "
                "AND o.replica_id <> r.replica_id) AS shared "
                "FROM loggia.replicas AS r WHERE r.replica_id = %s",
                (replica_id,),
            ).fetchone()


class ServerCredentials(httpx.Auth):
    """Sends a registered server's credentials with what it is asked, and with nothing else."""

    def __init__(self, servers: RemoteServers) -> None:
        self._servers = servers

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """See `httpx.Auth`."""
        if (secret := self._servers.credentials_of(str(request.url))) is not None:
            request.headers["Authorization"] = f"Bearer {secret}"
        yield request


class NoLog:
    """The log of what runs elsewhere."""

    def tail(self, lines: int = 0) -> list[str]:  # noqa: ARG002
        """Nothing."""
        return []

    @property
    def offset(self) -> int:
        """Nothing has been read."""
        return 0

    def go_on(self, offset: int) -> None:
        """Nothing is to come."""

    def new_lines(self) -> list[str]:
        """Nothing."""
        return []

    def bound(self) -> None:
        """Nothing to bound."""


def _no_place(
    name: str, fitting: list[StoredServer], wanted: int, others: Callable[[StoredServer], int]
) -> NoPlace:
    if len(fitting) < wanted:
        has = f"{len(fitting)} server" + ("" if len(fitting) == 1 else "s")
        return NoPlace(
            f"{wanted} replicas want a server each, and '{name}' has {has}.",
            remedy="Lower scaling.minReplicas, or register more servers in the pool.",
            forever=True,
        )
    said = []
    for server in fitting:
        if server.lost_seconds is not None:
            said.append(f"'{server.name}' does not answer")
        elif server.draining:
            said.append(f"'{server.name}' is being drained")
        elif others(server) >= server.capacity["deployments"]:
            said.append(f"'{server.name}' serves {others(server)} deployments, its capacity")
        else:
            said.append(f"'{server.name}' has a replica of it already")
    return NoPlace(
        f"No server of '{name}' takes a replica: {'; '.join(said)}.",
        remedy="Stop another deployment there, or register one more server in the pool.",
    )
