"""The relay as a process: killed at every step, frozen and woken, unheard, its broker emptied."""

from __future__ import annotations

import functools
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from backend.infra import kafka
from backend.infra.settings import Settings
from tests.builders.histories import History, write
from tests.relay.conftest import Ledger, Line
from tests.relay.topic import assert_whole, put
from tests.rig.proxy import LossyBroker
from tests.rig.roles import RoleProcess
from tests.rig.servers import BrokerServer
from tests.rig.waiting import eventually


@pytest.fixture
def history(seed: int) -> History:
    return History(seed)


@pytest.fixture
def roles() -> Iterator[ExitStack]:
    """Kills every process that a test has put on it."""
    with ExitStack() as stack:
        yield stack


def relay(line: Line, roles: ExitStack, failpoints: str = "") -> RoleProcess:
    process = RoleProcess(line.settings, "relay", failpoints=failpoints).start()
    roles.callback(process.kill)
    return process


def has_sent(line: Line, position: int) -> bool:
    """Whether the relay has recorded the position."""
    with line.pool.connection() as connection:
        row = connection.execute(
            "SELECT max(position) = %s AS sent FROM loggia.relay_progress", (position,)
        ).fetchone()
    return bool(row and row["sent"])


@pytest.mark.parametrize(
    ("failpoint", "most"),
    [("relay.before_send", 2500), ("relay.sent", 2), ("relay.before_position", 2)],
)
def test_killed_at_any_step_the_relay_leaves_no_hole(
    line: Line,
    ledger: Ledger,
    history: History,
    roles: ExitStack,
    seed: int,
    failpoint: str,
    most: int,
) -> None:
    failpoints = f"{failpoint}={random.Random(seed).randint(1, most)}"
    print(failpoints)
    line.consume("ledger", ledger.handle)
    write(line.store, history.domain(2500))
    assert relay(line, roles, failpoints).wait_until_dead() == -signal.SIGKILL
    relay(line, roles)
    eventually(line.caught_up, "the consumer has everything", seconds=60)
    ledger.assert_complete()
    assert_whole(line.settings, line.feed.last_position())


def test_a_frozen_relay_is_replaced_and_does_no_harm_when_it_wakes(
    line: Line, ledger: Ledger, history: History, roles: ExitStack
) -> None:
    line.consume("ledger", ledger.handle)
    first = relay(line, roles).wait_until_ready()
    second = relay(line, roles)
    last = write(line.store, history.domain(200))
    eventually(line.caught_up, "the first relays")

    first.send(signal.SIGSTOP)
    last = write(line.store, history.domain(200), after=last)
    eventually(line.caught_up, "the second takes over", seconds=60)
    first.send(signal.SIGCONT)
    last = write(line.store, history.domain(200), after=last)
    eventually(line.caught_up, "the second goes on", seconds=60)

    second.kill()
    last = write(line.store, history.domain(200), after=last)
    eventually(line.caught_up, "the first is of use again", seconds=60)
    ledger.assert_complete()
    assert_whole(line.settings, last)


def test_lost_answers_of_the_broker_leave_neither_hole_nor_disorder(
    tmp_path: Path, postgres: str, history: History
) -> None:
    broker = LossyBroker(tmp_path / "lossy.log", every=4, cuts=5)
    with ExitStack() as stack:
        stack.callback(broker.kill)
        broker.start()
        settings = Settings(
            _env_file=None,
            data_dir=tmp_path / "data",
            postgres_dsn=postgres,
            kafka_bootstrap_servers=broker.bootstrap_servers,
        )
        line = Line(settings, stack)
        ledger = Ledger(line)
        line.relay()
        line.consume("ledger", ledger.handle)
        last = 0
        for _ in range(30):
            last = write(line.store, history.domain(20), after=last)
            eventually(line.caught_up, "the consumer has everything", seconds=60)
        ledger.assert_complete()
        assert broker.proxy.done == 5
        assert_whole(settings, last)


def test_a_broker_that_was_emptied_while_nobody_looked_is_filled_again(
    line: Line, ledger: Ledger, history: History, broker: BrokerServer
) -> None:
    stop_relay = line.relay()
    stop_consumer = line.consume("ledger", ledger.handle)
    last = write(line.store, history.domain(300))
    eventually(line.caught_up, "the consumer has everything")
    stop_relay.set()
    stop_consumer.set()
    broker.restart()
    last = write(line.store, history.domain(100), after=last)
    line.relay()
    line.consume("ledger", ledger.handle)
    eventually(line.caught_up, "the topic is filled again", seconds=60)
    ledger.assert_complete()
    assert assert_whole(line.settings, last) == 0


def test_a_relay_that_is_started_again_repeats_nothing(line: Line, history: History) -> None:
    last = 0
    for events in (3000, 1, 700):
        last = write(line.store, history.domain(events), after=last)
        stop_relay = line.relay()
        eventually(partial(has_sent, line, last), "everything is sent")
        stop_relay.set()
    assert assert_whole(line.settings, last) == 0


def test_a_consumer_waits_at_a_hole_until_it_is_mended(
    line: Line, ledger: Ledger, history: History
) -> None:
    write(line.store, history.domain(6))
    events = line.feed.read(0, 6)
    kafka.ensure_topics(line.settings)
    line.consume("ledger", ledger.handle)
    put(line.settings, [events[number - 1] for number in (1, 2, 4, 5, 3, 4, 5, 6)])
    eventually(lambda: line.watermark("ledger") == 6, "the hole is mended")
    assert [position for position, _ in ledger.rows()] == [1, 2, 3, 4, 5, 6]


def test_what_another_consumer_commits_late_stays_in_the_watermark(
    line: Line, ledger: Ledger
) -> None:
    """The holder before, frozen in a commit: it lands after its successor has begun."""
    line.write(models=1, edits=3)
    line.relay()
    last = line.feed.last_position()
    eventually(partial(has_sent, line, last), "all is in the topic")

    @functools.cache
    def commit_of_another_partition() -> None:
        with line.pool.connection() as connection:
            connection.execute(
                "INSERT INTO loggia.consumer_progress (consumer, partition, next_offset, position) "
                "SELECT 'ledger', number, 1, %s FROM generate_series(0, 3) AS number WHERE number "
                "NOT IN (SELECT partition FROM loggia.relay_progress) LIMIT 1",
                (last + 1,),
            )
            connection.execute(
                "INSERT INTO loggia.consumer_watermark (consumer, position, ahead) "
                "VALUES ('ledger', 0, %s)",
                ([last + 1],),
            )

    line.consume("ledger", ledger.handle, on_ready=commit_of_another_partition)
    eventually(lambda: line.watermark("ledger") == last + 1, "both commits are counted")
    ledger.assert_complete()
