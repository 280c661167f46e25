"""What an administrator does with projections: look, rebuild, apply parked events again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backend.contracts import codec
from backend.infra import dead_letters
from backend.infra.postgres import connect, lock_number, open_pool
from backend.infra.settings import Settings
from projections import usage
from projections.applying import Applier
from projections.rebuild import Source
from projections.rebuild import rebuild as rebuild_projection
from projections.registry import PROJECTIONS


def status(settings: Settings) -> list[dict[str, Any]]:
    """A row for each projection: name, description, position, lag, parked, and its state.

    The state is `current`, `behind`, `parked` (events wait for a redrive) or `not running`.
    """
    with connect(settings.dsn) as connection:
        found = {
            row["name"]: row
            for row in connection.execute(
                "SELECT p.name, COALESCE(w.position, 0) AS position, "
                "(SELECT COALESCE(max(notification_id), 0) FROM loggia.loggia_events) AS last, "
                "(SELECT count(*) FROM loggia.dead_letters AS d "
                "WHERE d.consumer = p.name AND d.resolved_at IS NULL) AS parked, "
                "EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted "
                "AND ((classid::bigint << 32) | objid::bigint) = p.lock) AS running "
                "FROM unnest(%s::text[], %s::bigint[]) AS p (name, lock) "
                "LEFT JOIN loggia.consumer_watermark AS w ON w.consumer = p.name",
                (list(PROJECTIONS), [lock_number(f"consumer {name}") for name in PROJECTIONS]),
            )
        }
    return [
        {
            "name": name,
            "description": projection.description,
            "position": found[name]["position"],
            "lag": max(0, found[name]["last"] - found[name]["position"]),
            "parked": found[name]["parked"],
            "state": _state(found[name]),
        }
        for name, projection in PROJECTIONS.items()
    ]


def _state(row: dict[str, Any]) -> str:
    if not row["running"]:
        return "not running"
    if row["parked"]:
        return "parked"
    return "behind" if row["position"] < row["last"] else "current"


def rebuild(
    settings: Settings,
    name: str,
    progress: Callable[[int, int], None],
    source: Source | None = None,
) -> dict[str, Any]:
    """Builds a projection anew, from the topic or from a source of the event store's events.

    Raises `KeyError` for an unknown name, `ValueError` for what is not made of events, and
    `RebuildRunning`.
    """
    if name == usage.NAME:
        raise ValueError("the sums of usage are not made of events and cannot be rebuilt")
    position = rebuild_projection(settings, PROJECTIONS[name], source=source, tell=progress)
    return {"name": name, "position": position, "source": "store" if source else "topic"}


def redrive(settings: Settings, name: str) -> int:
    """Applies parked events again; how many are left. Raises `KeyError` for an unknown name."""
    with open_pool(settings, size=1) as pool:
        if name == usage.NAME:
            return dead_letters.redrive(pool, name, usage.take_in, usage.read)
        return dead_letters.redrive(pool, name, Applier(PROJECTIONS[name]).handle, codec.decode)
