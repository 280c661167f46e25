"""Where replicas run: machines of deploy workers and registered servers, and what they carry."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import Connection
from psycopg.rows import DictRow

from backend.domain.server import DOCKER, LOCAL, missing
from backend.infra.postgres import Pool

CONSUMER = "servers"
# A machine of which nothing is heard for so long is not there any more.
SILENT_SECONDS = 8
# More points than a chart has pixels for are thinned for the answer.
_MOST_POINTS = 360


class CapacityView(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """What people say that a registered server takes and has; memory in GiB."""

    deployments: int = 1
    memory_gib: float | None = None
    gpu_count: int = 0
    gpu_name: str = ""
    gpu_memory_gib: float | None = None


class GpuState(msgspec.Struct, rename="camel", frozen=True):
    """A GPU of a machine: what it has, what replicas were promised of it, and how busy it is."""

    index: int
    name: str
    memory_gib: float
    promised_gib: float
    memory_used_gib: float | None
    utilization_percent: float | None
    temperature_celsius: float | None


class InstalledEngine(msgspec.Struct, rename="camel", frozen=True):
    """An engine that is there, with its version."""

    name: str
    version: str


class GpuPart(msgspec.Struct, rename="camel", frozen=True):
    """A part of a GPU that a replica was promised; `exclusive` where nobody else gets any."""

    index: int
    memory_gib: float
    exclusive: bool


class PlacedReplica(msgspec.Struct, rename="camel", frozen=True):
    """A replica on a server; requests are null where they have not been read yet."""

    id: UUID
    model_id: UUID
    model_name: str | None
    revision: int
    state: str
    engine: str
    memory_gib: float
    gpus: list[GpuPart]
    running: int | None
    waiting: int | None


class RegistrationView(msgspec.Struct, rename="camel", frozen=True):
    """What was registered of a server that runs already; its credentials are never shown."""

    id: UUID
    version: int
    pool: str
    address: str
    grpc_address: str
    engine: str
    capacity: CapacityView
    has_credentials: bool
    registered_at: datetime
    registered_by: str


class ServerState(msgspec.Struct, rename="camel", frozen=True):
    """A server: `ready`, `draining` or `lost`, since when and why.

    `hardware` is the name that a deploy configuration uses. Of a machine, processors, memory and
    GPUs are read; of a registered server, `registration` says what people know. `checkedAt` is
    the last sign of life or the last look.
    """

    name: str
    hardware: str
    state: str
    since: datetime | None
    reason: str | None
    checked_at: datetime | None
    cpu_count: int | None
    cpu_percent: float | None
    memory_gib: float | None
    memory_promised_gib: float | None
    memory_used_gib: float | None
    gpus: list[GpuState]
    driver: str | None
    bounds: str | None
    engines: list[InstalledEngine]
    replicas: list[PlacedReplica]
    registration: RegistrationView | None
    removable: bool


class ServerList(msgspec.Struct, rename="camel", frozen=True):
    """Machines first, then registered servers by name."""

    items: list[ServerState]


class LoadPoint(msgspec.Struct, rename="camel", frozen=True):
    """The load at a moment; null where it was not read. GPUs by index, requests of all replicas."""

    at: datetime
    cpu_percent: float | None
    memory_used_gib: float | None
    gpu_utilization_percent: list[float | None]
    gpu_memory_used_gib: list[float | None]
    gpu_temperature_celsius: list[float | None]
    running: int
    waiting: int


class LoadSeries(msgspec.Struct, rename="camel", frozen=True):
    """The load over time, oldest first."""

    items: list[LoadPoint]


def everything(pool: Pool) -> ServerList:
    """Every machine and every registered server."""
    with pool.connection() as connection:
        readings = _latest_readings(connection)
        replicas = _replicas(connection, readings)
        machines = connection.execute(
            "SELECT *, seen_at < now() - make_interval(secs => %s) AS silent "
            "FROM loggia.machines ORDER BY host, server",
            (SILENT_SECONDS,),
        ).fetchall()
        registered = connection.execute(
            "SELECT s.*, h.checked_at, h.lost_at, h.problem FROM servers.servers AS s "
            "LEFT JOIN loggia.servers AS h USING (server_id) ORDER BY s.name"
        ).fetchall()
    return ServerList(
        [
            _machine(row, readings.get(row["server"], {}), _here(row, replicas), len(machines))
            for row in machines
        ]
        + [_registered(row, replicas[row["name"]]) for row in registered]
    )


def load_of(pool: Pool, name: str, *, hours: float) -> LoadSeries:
    """A server's load over the last hours. Raises `NotFound`."""
    with pool.connection() as connection:
        key = _key_of(connection, name)
        rows = connection.execute(
            "SELECT at, load FROM loggia.readings WHERE server = %s "
            "AND at > now() - make_interval(secs => %s) ORDER BY at",
            (key, hours * 3600),
        ).fetchall()
    step = max(1, -(-len(rows) // _MOST_POINTS))
    # The newest is always there.
    return LoadSeries([_point(row) for row in rows[(len(rows) - 1) % step :: step]])


def _key_of(connection: Connection[DictRow], name: str) -> str:
    """How readings call the server of this name."""
    rows = connection.execute("SELECT server, host FROM loggia.machines ORDER BY server").fetchall()
    for row in rows:
        if name == _machine_name(row, len(rows)):
            return str(row["server"])
    found = connection.execute(
        "SELECT name FROM loggia.servers WHERE lower(name) = lower(%s)", (name,)
    ).fetchone()
    if found is None:
        raise missing(name)
    return str(found["name"])


def _machine_name(row: DictRow, machines: int) -> str:
    """The only one is called as configurations call it; several are told apart by their hosts."""
    return LOCAL if machines == 1 else f"{LOCAL}@{row['server']}".replace("/", "-")


def _latest_readings(connection: Connection[DictRow]) -> dict[str, dict[str, Any]]:
    rows = connection.execute(
        "SELECT DISTINCT ON (server) server, load FROM loggia.readings "
        "WHERE at > now() - interval '1 minute' ORDER BY server, at DESC"
    ).fetchall()
    return {row["server"]: row["load"] for row in rows}


def _replicas(
    connection: Connection[DictRow], readings: dict[str, dict[str, Any]]
) -> dict[str, list[PlacedReplica]]:
    busy = {
        UUID(load["replica_id"]): load
        for reading in readings.values()
        for load in reading.get("replicas", ())
    }
    rows = connection.execute(
        "SELECT r.*, m.name AS model_name FROM loggia.replicas AS r "
        "LEFT JOIN gallery.models AS m USING (model_id) WHERE r.state <> 'ended' "
        "ORDER BY m.name, r.revision, r.slot"
    )
    placed: dict[str, list[PlacedReplica]] = defaultdict(list)
    for row in rows:
        load = busy.get(row["replica_id"], {})
        placed[row["server"]].append(
            PlacedReplica(
                id=row["replica_id"],
                model_id=row["model_id"],
                model_name=row["model_name"],
                revision=row["revision"],
                state=row["state"],
                engine=row["engine"],
                memory_gib=row["memory_gib"],
                gpus=[
                    GpuPart(share["index"], share["memory_gib"], share["exclusive"])
                    for share in row["devices"]
                ],
                running=load.get("running"),
                waiting=load.get("waiting"),
            )
        )
    return placed


def _here(row: DictRow, placed: dict[str, list[PlacedReplica]]) -> list[PlacedReplica]:
    """What shares the machine: its processes, and the containers of its Docker engine."""
    return [*placed[row["server"]], *placed[f"{DOCKER}:{row['server']}"]]


def _machine(
    row: DictRow, reading: dict[str, Any], replicas: list[PlacedReplica], machines: int
) -> ServerState:
    return ServerState(
        name=_machine_name(row, machines),
        hardware=LOCAL,
        state="lost" if row["silent"] else "ready",
        since=row["seen_at"] if row["silent"] else None,
        reason=f"The deploy worker on {row['host']} gives no sign of life."
        if row["silent"]
        else None,
        checked_at=row["seen_at"],
        cpu_count=row["cpu_count"],
        cpu_percent=reading.get("cpu_percent"),
        memory_gib=row["memory_gib"],
        memory_promised_gib=round(sum(replica.memory_gib for replica in replicas), 1),
        memory_used_gib=reading.get("memory_used_gib"),
        gpus=_gpus(row["gpus"], reading, replicas),
        driver=row["driver"] or None,
        bounds=row["bounds"],
        engines=[InstalledEngine(**engine) for engine in row["engines"]],
        replicas=replicas,
        registration=None,
        removable=False,
    )


def _registered(row: DictRow, replicas: list[PlacedReplica]) -> ServerState:
    lost, draining = row["lost_since"], row["draining_since"]
    state = "lost" if lost else "draining" if draining else "ready"
    return ServerState(
        name=row["name"],
        hardware=row["name"],
        state=state,
        since=lost or draining,
        reason=(row["lost_reason"] if lost else row["drain_reason"]) or None,
        checked_at=row["checked_at"],
        cpu_count=None,
        cpu_percent=None,
        memory_gib=row["capacity"]["memory_gib"],
        memory_promised_gib=None,
        memory_used_gib=None,
        gpus=[],
        driver=None,
        bounds=None,
        engines=[InstalledEngine(row["engine"], row["engine_version"])],
        replicas=replicas,
        registration=RegistrationView(
            id=row["server_id"],
            version=row["version"],
            pool=row["pool"],
            address=row["address"],
            grpc_address=row["grpc_address"],
            engine=row["engine"],
            capacity=CapacityView(**row["capacity"]),
            has_credentials=row["has_credentials"],
            registered_at=row["registered_at"],
            registered_by=row["registered_by"],
        ),
        removable=not replicas,
    )


def _gpus(
    gpus: list[dict[str, Any]], reading: dict[str, Any], replicas: list[PlacedReplica]
) -> list[GpuState]:
    promised: dict[int, float] = defaultdict(float)
    for part in (part for replica in replicas for part in replica.gpus):
        promised[part.index] += part.memory_gib
    loads = {load["index"]: load for load in reading.get("gpus", ())}
    return [
        GpuState(
            index=gpu["index"],
            name=gpu["name"],
            memory_gib=gpu["memory_gib"],
            promised_gib=promised[gpu["index"]],
            memory_used_gib=loads.get(gpu["index"], {}).get("memory_used_gib"),
            utilization_percent=loads.get(gpu["index"], {}).get("utilization_percent"),
            temperature_celsius=loads.get(gpu["index"], {}).get("temperature_celsius"),
        )
        for gpu in gpus
    ]


def _point(row: DictRow) -> LoadPoint:
    load = row["load"]
    gpus = load.get("gpus", [])
    replicas = load.get("replicas", [])
    return LoadPoint(
        at=row["at"],
        cpu_percent=load.get("cpu_percent"),
        memory_used_gib=load.get("memory_used_gib"),
        gpu_utilization_percent=[gpu["utilization_percent"] for gpu in gpus],
        gpu_memory_used_gib=[gpu["memory_used_gib"] for gpu in gpus],
        gpu_temperature_celsius=[gpu["temperature_celsius"] for gpu in gpus],
        running=sum(replica["running"] for replica in replicas),
        waiting=sum(replica["waiting"] for replica in replicas),
    )
