"""A projection rebuilt from the store or from the topic is, byte for byte, the live one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence

import pytest

from backend.contracts.codec import PublicEvent
from backend.infra.postgres import SILENCE_SECONDS
from backend.readmodels.freshness import reached
from projections import operations
from projections.registry import PROJECTIONS
from projections.service import prepare
from tests.builders.histories import History, write
from tests.conftest import SEED
from tests.projections.contents import all_contents
from tests.relay.conftest import Line
from tests.rig.command_line import loggia
from tests.rig.servers import BrokerServer
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


def test_the_command_rebuilds_from_the_store_while_the_broker_is_down(
    line: Line, projecting: threading.Event, broker: BrokerServer
) -> None:
    write(line.store, History(SEED).domain(300))
    line.relay()
    eventually(lambda: current(line), "the projections have everything")
    live = all_contents(line.pool)
    with line.pool.connection() as connection:
        connection.execute("UPDATE gallery.models SET name = 'not what it was'")
    broker.kill()
    ended = loggia(
        *("projections", "rebuild", "gallery", "--source", "store", "--json"),
        environment={
            "LOGGIA_DATA_DIR": str(line.settings.data),
            "LOGGIA_POSTGRES_DSN": line.settings.dsn,
            "LOGGIA_KAFKA_BOOTSTRAP_SERVERS": ",".join(line.settings.bootstrap_servers),
        },
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "name": "gallery",
        "position": line.feed.last_position(),
        "source": "store",
    }
    assert all_contents(line.pool) == live


def test_a_source_that_is_slow_to_answer_does_not_end_the_rebuild(line: Line) -> None:
    write(line.store, History(SEED).domain(100))
    prepare(line.settings, threading.Event())
    asked: list[int] = []

    def slow(after: int, limit: int, types: Sequence[str]) -> list[PublicEvent]:
        if not asked:
            time.sleep(SILENCE_SECONDS + 1)
        asked.append(after)
        return line.feed.read(after, limit, types)

    result = operations.rebuild(line.settings, "gallery", ignore, slow)
    assert result["position"] == line.feed.last_position()


def test_an_unknown_projection_is_refused(line: Line) -> None:
    with pytest.raises(KeyError):
        operations.rebuild(line.settings, "nothing", ignore)
    with pytest.raises(KeyError):
        operations.redrive(line.settings, "nothing")
