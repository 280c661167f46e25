"""Engines' logs as they are kept: of each replica the last lines, also when it has gone."""

from __future__ import annotations

from uuid import UUID

import msgspec

from backend.domain.errors import NotFound
from backend.infra import engine_logs
from backend.infra.engine_logs import LoggedReplica, LogPart
from backend.infra.postgres import Pool

MAX_LINES = 1000


class EngineLog(msgspec.Struct, rename="camel", frozen=True):
    """Lines of one replica's log, oldest first; `next_line` is where the stream goes on.

    `replicas` are all whose logs are kept, the newest first; `replica` is null where none is.
    """

    replica: UUID | None
    lines: list[str]
    next_line: int
    replicas: list[LoggedReplica]


def end_of(pool: Pool, model_id: UUID, wanted: UUID | None) -> EngineLog:
    """The last lines of a replica's log, of the newest replica where none is named.

    Raises `NotFound` for a replica that is not this model's.
    """
    with pool.connection() as connection:
        replicas = engine_logs.replicas(connection, model_id)
        chosen = next((r for r in replicas if wanted in (None, r.id)), None)
        if chosen is None:
            known = connection.execute(
                "SELECT 1 FROM deployments.replicas WHERE model_id = %s AND replica_id = %s",
                (model_id, wanted),
            ).fetchone()
            if wanted is not None and known is None:
                raise NotFound(
                    f"No log of a replica {wanted} of this model is kept.",
                    remedy="Choose one of the replicas whose logs are kept.",
                    field="replica",
                )
            return EngineLog(wanted, [], 0, replicas)
        part = engine_logs.part(connection, chosen.id, -MAX_LINES, MAX_LINES)
    return EngineLog(chosen.id, part.lines, part.next_line, replicas)


def part(pool: Pool, replica_id: UUID, after: int) -> LogPart:
    """The lines from the number `after` on, at most `MAX_LINES`."""
    with pool.connection() as connection:
        return engine_logs.part(connection, replica_id, after, MAX_LINES)
