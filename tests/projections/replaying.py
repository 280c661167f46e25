"""Whether the read models have everything, and what they should hold then."""

from __future__ import annotations

from backend.readmodels.freshness import reached
from projections.registry import PROJECTIONS
from tests.projections.contents import Contents
from tests.projections.contents import replayed as contents_of_replay
from tests.relay.conftest import Line


def has_everything(line: Line) -> bool:
    last = line.feed.last_position()
    return all(reached(line.pool, name, last) for name in PROJECTIONS)


def replayed(line: Line) -> dict[str, Contents]:
    """What a fresh replay of the store gives."""
    events = line.feed.read(0, 100_000)
    with line.pool.connection() as connection, connection.transaction(force_rollback=True):
        return {
            name: contents_of_replay(connection, projection, events)
            for name, projection in PROJECTIONS.items()
        }
