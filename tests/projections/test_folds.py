"""The folds are pure: how events are cut into batches changes nothing in the rows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from psycopg.sql import SQL, Identifier

from backend.contracts.codec import PublicEvent
from backend.infra.postgres import Pool
from projections.applying import Applier
from projections.registry import PROJECTIONS
from tests.builders.histories import History
from tests.projections.contents import Contents, contents_seen


def project(pool: Pool, name: str, schema: str, batches: Sequence[list[PublicEvent]]) -> Contents:
    """The rows that these batches give, in a schema of their own."""
    applier = Applier(PROJECTIONS[name], schema)
    with pool.connection() as connection, connection.cursor() as cursor:
        cursor.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema)))
        applier.create_tables(cursor)
        applier.create_indexes(cursor)
        for batch in batches:
            with connection.transaction():
                applier.handle(cursor, batch)
        return contents_seen(connection, PROJECTIONS[name], schema)


@pytest.mark.parametrize("name", PROJECTIONS)
@settings(
    max_examples=6,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(0, 150), max_size=12),
    interleaving=st.integers(0, 2**32),
)
def test_batches_and_interleaving_do_not_matter(
    pool: Pool, name: str, seed: int, cuts: list[int], interleaving: int
) -> None:
    note(f"history of seed {seed}")
    events = History(seed, models=6).public(150)
    whole = project(pool, name, "whole", [events])
    one_by_one = project(pool, name, "singles", [[event] for event in events])
    # Order holds within a model only: partitions may come at different speeds.
    shuffled = _interleaved(events, random.Random(interleaving))
    bounds = [0, *sorted(cuts), len(shuffled)]
    pieces = [shuffled[a:b] for a, b in pairwise(bounds)]
    assert whole == one_by_one
    assert whole == project(pool, name, "pieces", [piece for piece in pieces if piece])


def _interleaved(events: list[PublicEvent], dice: random.Random) -> list[PublicEvent]:
    """Another order, in which each key's events keep theirs."""
    queues: dict[str, list[PublicEvent]] = {}
    for event in events:
        queues.setdefault(event.partition_key, []).append(event)
    result = []
    while queues:
        key = dice.choice(sorted(queues))
        result.append(queues[key].pop(0))
        if not queues[key]:
            del queues[key]
    return result


def test_a_model_is_listed_until_it_is_deleted(pool: Pool) -> None:
    histories = (History(seed, models=3).public(60) for seed in range(1000))
    events = next(h for h in histories if any(e.type == "ModelDeleted" for e in h))
    deleted = next(event for event in events if event.type == "ModelDeleted")
    before = [event for event in events if event.position < deleted.position]
    listed = project(pool, "gallery", "listed", [before])["models"]
    assert any(deleted.partition_key in row for row in listed)
    unlisted = project(pool, "gallery", "listed", [[*before, deleted]])["models"]
    assert not any(deleted.partition_key in row for row in unlisted)


def test_edits_do_not_move_a_row(pool: Pool) -> None:
    events = History(5, models=5).public(200)
    applier = Applier(PROJECTIONS["gallery"], "order_of_rows")
    order = SQL("SELECT model_id FROM order_of_rows.models ORDER BY created_position DESC")
    with pool.connection() as connection, connection.cursor() as cursor:
        applier.create_tables(cursor)
        applier.handle(cursor, events)
        before = cursor.execute(order).fetchall()
        edits = [event for event in events if event.type == "ModelConfigurationEdited"]
        alive = {str(row["model_id"]) for row in before}
        again = [replace(edit, position=edit.position + 10_000) for edit in edits]
        applier.handle(cursor, [edit for edit in again if edit.partition_key in alive])
        assert cursor.execute(order).fetchall() == before
