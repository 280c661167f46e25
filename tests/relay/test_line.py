"""Store, relay, topic, consumer: nothing lost, nothing doubled, nothing reordered."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import Cursor
from psycopg.rows import DictRow

from backend.contracts import codec
from backend.contracts.codec import PublicEvent
from backend.infra import dead_letters
from tests.relay.conftest import Ledger, Line
from tests.rig.servers import BrokerServer
from tests.rig.waiting import eventually


def test_every_event_arrives_once_and_in_order(line: Line, ledger: Ledger) -> None:
    line.write(models=3, edits=4)
    line.relay()
    line.consume("ledger", ledger.handle)
    line.write(models=3, edits=4, prefix="later")
    eventually(line.caught_up, "the consumer has everything")
    ledger.assert_complete()


def test_a_broker_that_comes_back_empty_is_filled_again(
    line: Line, ledger: Ledger, broker: BrokerServer
) -> None:
    line.relay()
    line.consume("ledger", ledger.handle)
    line.write(models=4, edits=3)
    eventually(line.caught_up, "the consumer has everything")
    broker.restart()
    line.write(models=2, edits=2, prefix="after")
    late = Ledger(line, "late")
    line.consume("late", late.handle)
    eventually(line.caught_up, "the consumer goes on")
    eventually(lambda: line.caught_up("late"), "a new consumer gets the whole history")
    ledger.assert_complete()
    late.assert_complete()


def test_commands_succeed_while_the_broker_is_down(
    line: Line, ledger: Ledger, broker: BrokerServer
) -> None:
    line.relay()
    line.consume("ledger", ledger.handle)
    line.write(models=1)
    eventually(line.caught_up, "the consumer has everything")
    broker.kill()
    line.write(models=2, edits=2, prefix="meanwhile")
    broker.start()
    eventually(line.caught_up, "the consumer catches up", seconds=40)
    ledger.assert_complete()


def test_two_relays_and_two_consumers_are_as_good_as_one(line: Line, ledger: Ledger) -> None:
    line.relay()
    first = line.relay()
    line.consume("ledger", ledger.handle)
    second = line.consume("ledger", ledger.handle)
    line.write(models=2, edits=3)
    first.set()
    second.set()
    line.write(models=2, edits=3, prefix="more")
    eventually(line.caught_up, "the consumer has everything")
    ledger.assert_complete()


class Picky:
    """Refuses one position until it is told to be generous."""

    def __init__(self, ledger: Ledger, position: int) -> None:
        self.ledger, self.position, self.generous = ledger, position, False

    def handle(self, cursor: Cursor[DictRow], events: Sequence[PublicEvent]) -> None:
        if not self.generous and any(event.position == self.position for event in events):
            raise ValueError("cannot digest this")
        self.ledger.handle(cursor, list(events))


def test_a_poison_event_waits_with_its_model_and_blocks_no_other(
    line: Line, ledger: Ledger
) -> None:
    line.write(models=3, edits=2)
    picky = Picky(ledger, position=2)
    line.relay()
    line.consume("ledger", picky.handle)
    eventually(line.caught_up, "the consumer went on")
    # Positions 1 to 4 are the first model's; 1 is before the poison.
    assert sorted(position for position, _ in ledger.rows()) == [1, *range(5, 13)]

    picky.generous = True
    assert dead_letters.redrive(line.pool, "ledger", picky.handle, codec.decode) == 0
    ledger.assert_complete()
    line.write(models=1, prefix="after")
    eventually(line.caught_up, "the consumer goes on")
    ledger.assert_complete()
