"""Projections killed in the middle, fed everything again, and given what they cannot digest."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import UUID, uuid4

import pytest
from psycopg.sql import SQL, Identifier

from backend.application.commands import CommandContext
from backend.contracts import codec
from backend.contracts.codec import TYPE_PREFIX, encode
from backend.infra import dead_letters, kafka
from backend.readmodels import backlog, parked
from backend.readmodels.freshness import position_of
from projections import operations
from projections.registry import PROJECTIONS
from tests.builders.histories import History, write
from tests.projections.contents import Contents, all_contents, contents
from tests.projections.replaying import has_everything, replayed
from tests.relay.conftest import Line
from tests.relay.topic import read_topic
from tests.rig.roles import RoleProcess
from tests.rig.waiting import eventually

V2_EDITED = b"loggia.events.v2.ModelConfigurationEdited"
# Field 1999, the number 7.
UNKNOWN_FIELD = b"\xf8\x7c\x07"


@pytest.fixture
def history(seed: int) -> History:
    return History(seed)


@pytest.fixture
def roles() -> Iterator[ExitStack]:
    """Kills every process that a test has put on it."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("failpoints", ["consumer.applied=2", "consumer.committed=2"])
def test_killed_between_apply_and_commit_or_after_nothing_is_applied_twice(
    line: Line, history: History, roles: ExitStack, failpoints: str
) -> None:
    line.relay()
    dying = RoleProcess(line.settings, "project", failpoints=failpoints).start()
    roles.callback(dying.kill)
    last = write(line.store, history.domain(150))
    last = write(line.store, history.domain(150), after=last)
    assert dying.wait_until_dead() == -signal.SIGKILL
    # Never ahead of what is applied.
    for name, applied in all_contents(line.pool).items():
        if name == "audit":
            assert len(applied["events"]) >= position_of(line.pool, name)
    roles.callback(RoleProcess(line.settings, "project").start().kill)
    eventually(lambda: has_everything(line), "the projections have everything", seconds=60)
    assert all_contents(line.pool) == replayed(line)


def test_everything_delivered_again_changes_nothing(
    line: Line, history: History, projecting: threading.Event, seed: int
) -> None:
    last = write(line.store, history.domain(300))
    stop_relay = line.relay()
    eventually(lambda: has_everything(line), "the projections have everything")
    stop_relay.set()
    before = all_contents(line.pool)

    dice = random.Random(seed)
    copies = [
        (partition, event)
        for partition, events in read_topic(line.settings).items()
        for event in events
        for _ in range(3)
    ]
    dice.shuffle(copies)
    producer = kafka.producer(line.settings, client_id="test-redelivery")
    for partition, event in copies:
        value, headers = encode(event)
        producer.send(
            kafka.EVENTS,
            key=event.partition_key.encode(),
            value=value,
            headers=headers,
            partition=partition,
        )
    producer.flush(timeout=30)
    producer.close()
    # What comes after the repeats is applied only once they have been passed.
    write(line.store, history.domain(50), after=last)
    line.relay()
    eventually(lambda: has_everything(line), "the projections go on", seconds=60)
    assert all_contents(line.pool) == replayed(line)
    for name, projection in PROJECTIONS.items():
        operations.rebuild(line.settings, name, lambda _, __: None)
        assert contents(line.pool, projection) == replayed(line)[name]
    assert len(before["audit"]["events"]) == last


def test_an_event_that_cannot_be_applied_waits_for_a_redrive(
    line: Line, projecting: threading.Event
) -> None:
    line.relay()
    broken, whole = line.importer.import_model("broken"), line.importer.import_model("whole")
    eventually(lambda: has_everything(line), "the projections have everything")
    with line.pool.connection() as connection:
        kept = connection.execute(
            "DELETE FROM gallery.models WHERE model_id = %s RETURNING to_json(models)::text AS row",
            (broken,),
        ).fetchone()
    assert kept is not None

    context = CommandContext(actor="user:ada")
    for model_id in (broken, whole, broken):
        line.models.edit_configuration(context, model_id, description=f"edit {uuid4()}")
    eventually(lambda: has_everything(line), "the projections go on")
    status = {row["name"]: row for row in operations.status(line.settings)}
    assert status["gallery"]["parked"] == 2
    assert status["gallery"]["state"] == "parked"
    assert status["audit"]["parked"] == 0

    # Not mended yet: they stay where they are.
    assert operations.redrive(line.settings, "gallery") == 2
    with line.pool.connection() as connection:
        connection.execute(
            SQL("INSERT INTO {0} SELECT * FROM json_populate_record(NULL::{0}, %s::json)").format(
                Identifier("gallery", "models")
            ),
            (kept["row"],),
        )
    assert operations.redrive(line.settings, "gallery") == 0
    line.models.edit_configuration(context, broken, description="after the redrive")
    eventually(lambda: has_everything(line), "the projections go on")
    assert all_contents(line.pool) == replayed(line)


def test_a_record_of_an_unknown_type_is_parked_and_blocks_nobody(
    line: Line, history: History, projecting: threading.Event
) -> None:
    last = write(line.store, history.domain(50))
    stop_relay = line.relay()
    eventually(lambda: has_everything(line), "the projections have everything")
    stop_relay.set()
    producer = kafka.producer(line.settings, client_id="test-poison")
    for partition in range(line.settings.kafka_partitions):
        headers = [("ce_type", f"{TYPE_PREFIX}ModelTeleported".encode())]
        producer.send(
            kafka.EVENTS, key=b"nobody", value=b"\xff", headers=headers, partition=partition
        )
    producer.flush(timeout=30)
    producer.close()
    write(line.store, history.domain(50), after=last)
    line.relay()
    eventually(lambda: has_everything(line), "the projections go on")
    assert all_contents(line.pool) == replayed(line)
    with line.pool.connection() as connection:
        letters = connection.execute(
            "SELECT consumer, count(*) AS letters, min(error) AS error FROM loggia.dead_letters "
            "GROUP BY consumer ORDER BY consumer"
        ).fetchall()
    assert {row["consumer"]: row["letters"] for row in letters} == dict.fromkeys(
        sorted(PROJECTIONS), line.settings.kafka_partitions
    )
    assert all("ModelTeleported" in row["error"] for row in letters)


def test_an_event_of_another_version_waits_for_the_release_that_knows_it(
    line: Line, projecting: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a newer release has written meets an older one, which is brought up to date later."""
    newer, other = line.importer.import_model("newer"), line.importer.import_model("other")
    context = CommandContext(actor="user:ada")
    for number in range(3):
        for model_id in (newer, other):
            line.models.edit_configuration(context, model_id, description=f"edit {number}")
    events = line.feed.read(0, 100)
    of_version_2 = next(e for e in events if e.type == "ModelConfigurationEdited")
    assert of_version_2.model_id == str(newer)

    kafka.ensure_topics(line.settings)
    producer = kafka.producer(line.settings, client_id="test-versions")
    for event in events:
        value, headers = encode(event, event.position - 1)
        if event is of_version_2:
            headers = [(name, V2_EDITED if name == "ce_type" else text) for name, text in headers]
        producer.send(
            kafka.EVENTS,
            key=event.partition_key.encode(),
            # A field that this release does not know yet: it is passed over.
            value=value + UNKNOWN_FIELD,
            headers=headers,
            partition=0,
        )
    producer.flush(timeout=30)
    producer.close()
    eventually(lambda: has_everything(line), "the projections go on")

    found = parked.read(line.pool)
    waiting = [e for e in found.events if e.consumer == "gallery"]
    assert [e.position for e in waiting] == [
        e.position for e in events if e.model_id == str(newer) and e.position > 2
    ]
    assert waiting[0].type == V2_EDITED.decode()
    assert "version of the contract that is unknown" in waiting[0].error
    assert {e.model_id for e in waiting} == {newer}
    assert {e.error for e in waiting[1:]} == {dead_letters.FOLLOWS}
    state = backlog.read(line.pool).consumers["gallery"]
    assert (state.parked, state.waiting) == (1, len(waiting) - 1)
    fresh = replayed(line)
    assert rows_of(other, all_contents(line.pool)["gallery"]) == rows_of(other, fresh["gallery"])

    assert operations.redrive(line.settings, "gallery") == len(waiting)
    monkeypatch.setitem(codec._SHORT_NAMES, V2_EDITED, "ModelConfigurationEdited")
    for name in PROJECTIONS:
        assert operations.redrive(line.settings, name) == 0
    assert all_contents(line.pool) == fresh
    consumers = backlog.read(line.pool).consumers.values()
    assert {(c.parked, c.waiting) for c in consumers} == {(0, 0)}
    assert parked.read(line.pool).event_count == 0


def rows_of(model_id: UUID, found: Contents) -> list[str]:
    return [row for rows in found.values() for row in rows if str(model_id) in row]
