"""How far relay, consumers and workers are behind, in numbers that cost one short query each."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from backend.infra.dead_letters import FOLLOWS
from backend.infra.kafka import EVENTS
from backend.infra.postgres import Pool
from backend.readmodels.parked import PARKED_JOBS


class ConsumerState(msgspec.Struct, frozen=True):
    """Every event up to `position` has been applied or parked.

    `parked` could not be applied; `waiting` are of the same keys and were parked behind them.
    """

    position: int
    parked: int
    waiting: int


class Backlog(msgspec.Struct, frozen=True):
    """Positions of the event store, of the relay and of each consumer, and jobs that are open.

    `jobs` counts by kind and state: queued, running and parked.
    """

    stored: int
    relayed: int
    consumers: Mapping[str, ConsumerState]
    jobs: Mapping[tuple[str, str], int]


def read(pool: Pool) -> Backlog:
    """The state now. What consumers have done is read first, so that nobody seems ahead."""
    with pool.connection() as connection:
        consumers = connection.execute(
            "SELECT mark.consumer, mark.position, "
            "count(letter.id) FILTER (WHERE letter.error <> %(follows)s) AS parked, "
            "count(letter.id) FILTER (WHERE letter.error = %(follows)s) AS waiting "
            "FROM loggia.consumer_watermark AS mark LEFT JOIN loggia.dead_letters AS letter "
            "ON letter.consumer = mark.consumer AND letter.resolved_at IS NULL "
            "GROUP BY mark.consumer",
            {"follows": FOLLOWS},
        ).fetchall()
        relayed = connection.execute(
            "SELECT COALESCE(max(position), 0) AS position FROM loggia.relay_progress "
            "WHERE topic = %s",
            (EVENTS,),
        ).fetchone()
        stored = connection.execute(
            "SELECT COALESCE(max(notification_id), 0) AS position FROM loggia.loggia_events"
        ).fetchone()
        jobs = connection.execute(
            "SELECT kind, state, count(*) FROM loggia.jobs "  # noqa: S608
            "WHERE state IN ('queued', 'running') GROUP BY kind, state "
            f"UNION ALL SELECT kind, state, count(*) FROM {PARKED_JOBS} GROUP BY kind, state"
        ).fetchall()
    return Backlog(
        stored=stored["position"] if stored else 0,
        relayed=relayed["position"] if relayed else 0,
        consumers={
            row["consumer"]: ConsumerState(row["position"], row["parked"], row["waiting"])
            for row in consumers
        },
        jobs={(row["kind"], row["state"]): row["count"] for row in jobs},
    )
