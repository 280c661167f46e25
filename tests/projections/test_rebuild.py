"""A projection rebuilt from the store or from the topic is, byte for byte, the live one."""

from __future__ import annotations

import threading

import pytest

from backend.readmodels.freshness import reached
from projections import operations
from projections.registry import PROJECTIONS
from tests.builders.histories import History, write
from tests.conftest import SEED
from tests.projections.contents import all_contents
from tests.relay.conftest import Line
from tests.rig.waiting import eventually


def current(line: Line) -> bool:
    last = line.feed.last_position()
    return all(reached(line.pool, name, last) for name in PROJECTIONS)


def ignore(_: int, __: int) -> None:
    """Nobody watches the progress."""


def test_rebuilt_from_store_and_from_topic_it_is_the_same(
    line: Line,
    projecting: threading.Event,
) -> None:
    history = History(SEED)
    print(f"seed {SEED}")
    write(line.store, history.domain(600))
    line.relay()
    eventually(lambda: current(line), "the projections have everything")
    live = all_contents(line.pool)
    for name in PROJECTIONS:
        assert operations.rebuild(line.settings, name, ignore)["source"] == "topic"
    assert all_contents(line.pool) == live
    for name in PROJECTIONS:
        result = operations.rebuild(line.settings, name, ignore, line.feed.read)
        assert result["source"] == "store"
    assert all_contents(line.pool) == live

    # The live projections take over where the rebuilt ones stopped.
    write(line.store, history.domain(200), after=line.feed.last_position())
    eventually(lambda: current(line), "the projections go on")
    shown = all_contents(line.pool)
    for name in PROJECTIONS:
        operations.rebuild(line.settings, name, ignore, line.feed.read)
    assert all_contents(line.pool) == shown
    assert {row["state"] for row in operations.status(line.settings)} == {"current"}


def test_rebuilding_while_events_arrive_loses_none(
    line: Line,
    projecting: threading.Event,
) -> None:
    line.relay()
    eventually(projecting.is_set, "every projection reads")
    stop = threading.Event()

    def go_on_writing() -> None:
        number = 0
        while not stop.is_set():
            line.importer.import_model(f"during{number}")
            number += 1

    writer = threading.Thread(target=go_on_writing, daemon=True)
    writer.start()
    try:
        for _ in range(2):
            operations.rebuild(line.settings, "gallery", ignore)
            operations.rebuild(line.settings, "gallery", ignore, line.feed.read)
    finally:
        stop.set()
        writer.join()
    eventually(lambda: current(line), "the projections have everything")
    shown = all_contents(line.pool)
    assert len(shown["gallery"]["models"]) * 2 == line.feed.last_position()
    operations.rebuild(line.settings, "gallery", ignore, line.feed.read)
    assert all_contents(line.pool) == shown


def test_an_unknown_projection_is_refused(line: Line) -> None:
    with pytest.raises(KeyError):
        operations.rebuild(line.settings, "nothing", ignore)
    with pytest.raises(KeyError):
        operations.redrive(line.settings, "nothing")
