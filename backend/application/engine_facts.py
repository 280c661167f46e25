"""What installed engines say about themselves: written by deploy workers, read by the API."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass

import msgspec
from psycopg import Connection, Cursor
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from backend.domain.configuration import DeployConfiguration
from backend.domain.engine_options import (
    Option,
    Quantization,
    check_options,
    check_quantization,
)
from backend.domain.servable import CONTAINER, ENGINES, OFFERED
from backend.domain.server import BUILT_IN, LOCAL
from backend.infra.postgres import Pool


@dataclass(frozen=True)
class EngineFacts:
    """An engine as it is installed on a server for an accelerator, cpu or gpu."""

    server: str
    engine: str
    accelerator: str
    version: str
    options: Mapping[str, Option]
    quantizations: Mapping[str, Quantization]


class EngineFactsTable:
    """The table `loggia.engine_facts`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def publish(self, facts: EngineFacts) -> None:
        """Replaces what was known of the engine there."""
        document = {name: asdict(option) for name, option in facts.options.items()}
        methods = {name: asdict(method) for name, method in facts.quantizations.items()}
        with self._pool.connection() as connection:
            connection.execute(
                "INSERT INTO loggia.engine_facts "
                "(server, engine, accelerator, version, options, quantizations) "
                "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (server, engine, accelerator) "
                "DO UPDATE SET version = EXCLUDED.version, options = EXCLUDED.options, "
                "quantizations = EXCLUDED.quantizations, reported_at = now()",
                (
                    facts.server,
                    facts.engine,
                    facts.accelerator,
                    facts.version,
                    Jsonb(document),
                    Jsonb(methods),
                ),
            )

    def find(self, engine: str, accelerator: str, server: str = "local") -> EngineFacts | None:
        """What is known; None before the engine has been installed there."""
        with self._pool.connection() as connection:
            row = connection.execute(
                "SELECT server, engine, accelerator, version, options, quantizations "
                "FROM loggia.engine_facts "
                "WHERE engine = %s AND accelerator = %s AND server = %s",
                (engine, accelerator, server),
            ).fetchone()
        return msgspec.convert(row, EngineFacts) if row else None

    def keep_only(self, server: str, engines: Collection[str]) -> None:
        """Forgets what other engines said on this server."""
        with self._pool.connection() as connection:
            connection.execute(
                "DELETE FROM loggia.engine_facts WHERE server = %s AND engine <> ALL(%s)",
                (server, list(engines)),
            )

    def offered(self) -> frozenset[str]:
        """The engines that this installation has."""
        with self._pool.connection() as connection:
            return offered(connection)

    def built_in(self) -> dict[str, frozenset[str]]:
        """The engines of each place that nobody registers, by its name."""
        with self._pool.connection() as connection:
            return built_in(connection.cursor())

    def check(self, configuration: DeployConfiguration) -> None:
        """Raises `Invalid` for what the configured engine is known not to have.

        Where nothing is known yet the deploy worker finds out, once it has installed the engine.
        """
        hardware = configuration.hardware
        known = self.find(configuration.engine, hardware.accelerator, hardware.server)
        if known is None:
            return
        if known.options:  # what a container image reads, its own configuration says
            check_options(configuration.engine_arguments, known.options)
        optimization = configuration.optimization
        if optimization.quantization:
            check_quantization(optimization.quantization, known.quantizations)


def built_in(cursor: Cursor[DictRow]) -> dict[str, frozenset[str]]:
    """The same, within somebody's transaction."""
    cursor.execute(
        "SELECT server, array_agg(DISTINCT engine) AS engines FROM loggia.engine_facts "
        "WHERE server = ANY(%s) GROUP BY server",
        (sorted(BUILT_IN - {LOCAL}),),
    )
    configured = {row["server"]: frozenset(row["engines"]) for row in cursor.fetchall()}
    return {LOCAL: frozenset(set(ENGINES) - {CONTAINER}), **configured}


def offered(connection: Connection[DictRow]) -> frozenset[str]:
    """The engines that this installation has."""
    rows = connection.execute("SELECT DISTINCT engine FROM loggia.engine_facts").fetchall()
    return OFFERED | {row["engine"] for row in rows}
