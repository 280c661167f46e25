"""The sums: each record once, whatever is repeated, killed, swallowed or forgotten."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from backend.infra import kafka
from backend.infra.postgres import Pool
from backend.infra.settings import Settings
from projections import operations
from projections.usage import Usage, take_in
from tests.rig.roles import RoleProcess
from tests.rig.servers import BrokerServer
from tests.rig.waiting import eventually
from tests.usage.records import KEY, MODEL, expected, put, record, sums

pytestmark = pytest.mark.usefixtures("topic")


@pytest.fixture
def summing(settings: Settings, pool: Pool) -> Iterator[None]:
    """The reader, in a thread."""
    stop = threading.Event()
    thread = threading.Thread(target=Usage(settings, pool).run, args=(stop,), daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(timeout=20)


def arrives(pool: Pool, requests: int) -> None:
    eventually(lambda: sums(pool) == expected(requests), f"{requests} are summed", seconds=60)


def missing(pool: Pool) -> list[list[int]]:
    with pool.connection() as connection:
        rows = connection.execute("SELECT missing FROM loggia.usage_sources").fetchall()
    return [part for row in rows for part in row["missing"]]


@pytest.mark.usefixtures("summing")
def test_records_are_summed_by_day_model_and_key(settings: Settings, pool: Pool) -> None:
    late = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)
    put(
        settings,
        [
            record("a", 1),
            record("a", 2, status=502, estimated=True),
            record("a", 3, at=late),
            record("a", 4, at=late + timedelta(seconds=1)),
            record("b", 1, key_id=None),
        ],
    )
    arrives(pool, 5)
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT day::text, model_id::text, key_id, requests, failed, estimated, milliseconds, "
            "engine_microseconds FROM loggia.usage_days ORDER BY day, key_id"
        ).fetchall()
    assert [tuple(row.values()) for row in rows] == [
        ("2026-03-01", MODEL, "", 1, 0, 0, 250, 250_000),
        ("2026-03-01", MODEL, KEY, 3, 1, 1, 750, 750_000),
        ("2026-03-02", MODEL, KEY, 1, 0, 0, 250, 250_000),
    ]


@pytest.mark.usefixtures("summing")
def test_records_that_come_again_in_any_order_change_nothing(
    settings: Settings, pool: Pool, seed: int
) -> None:
    dice = random.Random(seed)
    records = [record(source, number) for source in "abc" for number in range(1, 101)]
    copies = records * 3
    dice.shuffle(copies)
    put(settings, copies)
    arrives(pool, 300)
    assert missing(pool) == []
    put(settings, [*copies, record("d", 1)])
    arrives(pool, 301)


@pytest.mark.usefixtures("summing")
def test_a_broker_that_lost_the_topic_takes_nothing_from_the_sums(
    settings: Settings, pool: Pool, broker: BrokerServer
) -> None:
    put(settings, [record("a", number) for number in range(1, 11)])
    arrives(pool, 10)
    broker.restart()
    kafka.ensure_topics(settings)
    # As a gateway does: its last records once more, then the new ones.
    put(settings, [record("a", number) for number in range(6, 14)])
    arrives(pool, 13)
    assert missing(pool) == []


def test_a_longer_topic_in_place_of_the_one_before_is_read_from_its_beginning(
    settings: Settings, pool: Pool, broker: BrokerServer
) -> None:
    stop = threading.Event()
    first = threading.Thread(target=Usage(settings, pool).run, args=(stop,), daemon=True)
    first.start()
    put(settings, [record("a", number) for number in range(1, 4)])
    arrives(pool, 3)
    stop.set()
    first.join(timeout=20)
    broker.restart()
    kafka.ensure_topics(settings)
    # Behind the offset at which reading would go on there are some, and before it are others.
    put(settings, [record("b", number) for number in range(1, 11)])
    stop.clear()
    second = threading.Thread(target=Usage(settings, pool).run, args=(stop,), daemon=True)
    second.start()
    arrives(pool, 13)
    stop.set()
    second.join(timeout=20)


@pytest.mark.usefixtures("summing")
def test_what_never_came_is_known_and_is_taken_in_when_it_comes(
    settings: Settings, pool: Pool
) -> None:
    put(settings, [record("a", 1), record("a", 5), record("a", 9, lost_before=2)])
    arrives(pool, 3)
    assert missing(pool) == [[2, 4], [6, 8]]
    put(settings, [record("a", 3), record("a", 6)])
    arrives(pool, 5)
    assert missing(pool) == [[2, 2], [4, 4], [7, 8]]


@pytest.mark.parametrize("failpoints", ["usage.applied=2", "usage.committed=2"])
def test_killed_between_sum_and_commit_or_after_nothing_is_summed_twice(
    settings: Settings, pool: Pool, failpoints: str
) -> None:
    with ExitStack() as roles:
        dying = RoleProcess(settings, "project", failpoints=failpoints).start()
        roles.callback(dying.kill)
        put(settings, [record("a", number) for number in range(1, 51)])
        eventually(lambda: sums(pool)["requests"] > 0, "the first ones are summed", seconds=60)
        put(settings, [record("a", number) for number in range(51, 101)])
        assert dying.wait_until_dead() == -signal.SIGKILL
        roles.callback(RoleProcess(settings, "project").start().kill)
        arrives(pool, 100)


@pytest.mark.usefixtures("summing")
def test_a_swallowed_broker_is_read_on_when_it_answers_again(
    settings: Settings, pool: Pool, broker: BrokerServer
) -> None:
    put(settings, [record("a", 1)])
    arrives(pool, 1)
    broker.pause()
    threading.Event().wait(3)
    broker.resume()
    put(settings, [record("a", 2)])
    arrives(pool, 2)


@pytest.mark.usefixtures("summing")
def test_what_is_no_record_is_parked_and_stops_nobody(settings: Settings, pool: Pool) -> None:
    bad = [
        record("a", 1, model_id="no uuid"),
        record("a", 2, input_tokens=-1),
        record("a", 3, engine_seconds=float("nan")),
        record("", 4),
    ]
    put(settings, [*bad, record("b", 1)])
    arrives(pool, 1)
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT error FROM loggia.dead_letters WHERE consumer = 'usage' ORDER BY id"
        ).fetchall()
    assert len(rows) == len(bad)
    assert operations.redrive(settings, "usage") == len(bad)
    with pytest.raises(ValueError, match="cannot be rebuilt"):
        operations.rebuild(settings, "usage", lambda _, __: None)


def test_two_readers_at_once_sum_each_record_once(settings: Settings, pool: Pool) -> None:
    records = [record("a", number) for number in range(1, 201)]

    def read(part: list[int]) -> None:
        with pool.connection() as connection:
            for first in part:
                with connection.transaction(), connection.cursor() as cursor:
                    take_in(cursor, records[first : first + 20])

    threads = [
        threading.Thread(target=read, args=(list(range(0, 200, step)),)) for step in (10, 20, 20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sums(pool) == expected(200)


@pytest.mark.usefixtures("summing")
def test_records_that_were_passed_over_are_looked_for(
    settings: Settings, pool: Pool, broker: BrokerServer
) -> None:
    put(settings, [record("a", number) for number in range(1, 51)])
    arrives(pool, 50)
    broker.restart()
    kafka.ensure_topics(settings)
    # Faster than the reader looks again: more than before, of which it sees the end first.
    put(settings, [record("a", number) for number in range(41, 201)])
    arrives(pool, 200)
    assert missing(pool) == []
