"""The kinds of GPU that a replica would get, were all of them free."""

from __future__ import annotations

from psycopg import Connection
from psycopg.rows import DictRow

from backend.domain.configuration import DeployConfiguration, Hardware
from backend.domain.server import ON_MACHINE, Capacity
from backend.infra.postgres import Pool
from backend.readmodels.servers import SILENT_SECONDS


def of(pool: Pool, configuration: DeployConfiguration) -> tuple[str, ...]:
    """Their names, as far as known."""
    hardware = configuration.hardware
    if hardware.accelerator != "gpu":
        return ()
    with pool.connection() as connection:
        if hardware.server in ON_MACHINE:
            return _of_machine(connection, hardware)
        return _of_server(connection, hardware, configuration.engine)


def _of_machine(connection: Connection[DictRow], hardware: Hardware) -> tuple[str, ...]:
    """Of the machine that the wizard offers: the smallest that fit, as they are given away."""
    row = connection.execute(
        "SELECT gpus FROM loggia.machines ORDER BY seen_at < now() - make_interval(secs => %s), "
        "memory_gib DESC, host, server LIMIT 1",
        (SILENT_SECONDS,),
    ).fetchone()
    wanted = round(hardware.memory_gib / hardware.accelerator_count, 2)
    fitting = [gpu for gpu in (row["gpus"] if row else []) if gpu["memory_gib"] >= wanted]
    fitting.sort(key=lambda gpu: (gpu["memory_gib"], gpu["index"]))
    return tuple(gpu["name"] for gpu in fitting[: hardware.accelerator_count])


def _of_server(connection: Connection[DictRow], hardware: Hardware, engine: str) -> tuple[str, ...]:
    """Of the registered server; in a pool of the one that is chosen first."""
    row = connection.execute(
        "SELECT capacity FROM loggia.servers WHERE (name = %(server)s OR pool = %(server)s) "
        "AND engine = %(engine)s ORDER BY name LIMIT 1",
        {"server": hardware.server, "engine": engine},
    ).fetchone()
    capacity = Capacity(**row["capacity"]) if row else Capacity()
    if not capacity.gpu_name:
        return ()
    return (capacity.gpu_name,) * min(hardware.accelerator_count, capacity.gpu_count)
