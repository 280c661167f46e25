"""Every projection running on a real line: store, relay, topic, consumers."""

from __future__ import annotations

import threading

import pytest

from backend.readmodels.freshness import Freshness, reached
from projections.applying import Applier
from projections.registry import PROJECTIONS
from tests.builders.histories import History, write
from tests.projections.contents import all_contents, contents
from tests.relay.conftest import Line
from tests.rig.waiting import eventually


def test_every_projection_follows_the_store(
    line: Line,
    projecting: threading.Event,
) -> None:
    history = History(seed=11)
    last = write(line.store, history.domain(400))
    line.relay()
    eventually(lambda: projecting.is_set(), "every projection reads")
    eventually(
        lambda: all(reached(line.pool, name, last) for name in PROJECTIONS),
        "every projection has everything",
    )
    shown = all_contents(line.pool)
    for name, projection in PROJECTIONS.items():
        applier = Applier(projection, "replayed")
        with line.pool.connection() as connection, connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA IF EXISTS replayed CASCADE")
            applier.create_tables(cursor)
            applier.handle(cursor, line.feed.read(0, 10_000))
        assert shown[name] == contents(line.pool, projection, "replayed")


def test_a_writer_sees_its_own_write(
    line: Line,
    projecting: threading.Event,
) -> None:
    line.relay()
    with Freshness(line.settings.dsn) as freshness:
        for number in range(20):
            model_id = line.importer.import_model(f"own{number}")
            freshness.coming("gallery", line.feed.last_position()).result(timeout=30)
            with line.pool.connection() as connection:
                row = connection.execute(
                    "SELECT name FROM gallery.models WHERE model_id = %s", (model_id,)
                ).fetchone()
            assert row is not None
            assert row["name"] == f"own{number}"


def test_waiting_for_what_never_comes_ends(line: Line) -> None:
    with Freshness(line.settings.dsn) as freshness, pytest.raises(TimeoutError):
        freshness.coming("gallery", 1).result(timeout=0.2)
