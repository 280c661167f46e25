"""The gateway's records reach the topic, whatever happens to the broker and to the process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from backend.gateway.metrics import Metrics, UsageMetrics
from backend.gateway.usage import UsagePublisher
from backend.infra import kafka
from backend.infra.settings import Settings
from tests.rig.servers import BrokerServer
from tests.rig.waiting import eventually
from tests.usage.records import answered, on_topic

Start = Callable[..., UsagePublisher]


@pytest.fixture
def metrics() -> UsageMetrics:
    return Metrics().usage


@pytest.fixture
def start(settings: Settings, metrics: UsageMetrics) -> Iterator[Start]:
    """Starts publishers, all of which are closed with the test."""
    started: list[UsagePublisher] = []

    def make(**options: int) -> UsagePublisher:
        publisher = UsagePublisher(settings, metrics, **options)
        started.append(publisher)
        return publisher

    yield make
    for publisher in started:
        publisher.close()


def numbers(settings: Settings) -> list[int]:
    """Which records are on the topic, each once, in the order of their first coming."""
    return list(dict.fromkeys(each.sequence for each in on_topic(settings)))


@pytest.mark.usefixtures("topic")
def test_records_have_everything_but_what_was_said(settings: Settings, start: Start) -> None:
    start().publish(answered(7))
    (found,) = eventually(lambda: on_topic(settings), "the record arrives")
    assert (found.request_id, found.route, found.status) == ("request-7", "/v1/completions", 200)
    assert (found.input_tokens, found.output_tokens, found.estimated) == (3, 4, False)
    assert (found.milliseconds, found.accelerator_seconds) == (250, 0.5)
    assert (found.sequence, found.lost_before) == (1, 0)
    assert found.source


@pytest.mark.usefixtures("topic")
def test_numbers_are_in_order_without_gaps(settings: Settings, start: Start) -> None:
    publisher = start()
    for number in range(3_000):
        publisher.publish(answered(number))
    eventually(lambda: len(on_topic(settings)) == 3_000, "all records arrive")
    assert [each.sequence for each in on_topic(settings)] == list(range(1, 3_001))


def test_a_broker_that_was_away_from_the_beginning_gets_what_waited(
    settings: Settings, start: Start, broker: BrokerServer
) -> None:
    broker.kill()
    publisher = start()
    for number in range(10):
        publisher.publish(answered(number))
    broker.start()
    kafka.ensure_topics(settings)
    eventually(lambda: numbers(settings) == list(range(1, 11)), "the records arrive", seconds=60)


@pytest.mark.usefixtures("topic")
def test_a_broker_that_lost_its_memory_gets_the_last_records_again(
    settings: Settings, start: Start, broker: BrokerServer
) -> None:
    publisher = start()
    for number in range(20):
        publisher.publish(answered(number))
    eventually(lambda: len(on_topic(settings)) == 20, "the records arrive")
    broker.restart()
    kafka.ensure_topics(settings)
    publisher.publish(answered(20))
    eventually(lambda: numbers(settings) == list(range(1, 22)), "all are there", seconds=60)


@pytest.mark.usefixtures("topic")
def test_a_broker_that_swallows_loses_and_delays_nobody(
    settings: Settings, start: Start, broker: BrokerServer
) -> None:
    publisher = start()
    publisher.publish(answered(0))
    eventually(lambda: on_topic(settings), "the first record arrives")
    broker.pause()
    for number in range(1, 200):
        publisher.publish(answered(number))
    broker.resume()
    eventually(lambda: numbers(settings) == list(range(1, 201)), "all arrive", seconds=60)


def test_what_there_is_no_room_for_is_counted(
    settings: Settings, start: Start, metrics: UsageMetrics, broker: BrokerServer
) -> None:
    broker.kill()
    publisher = start(most_waiting=5)
    # Some are taken from the queue to be sent, and wait there.
    for number in range(2_000):
        publisher.publish(answered(number))
    lost = int(metrics.lost._value.get())
    assert lost > 0
    broker.start()
    kafka.ensure_topics(settings)
    eventually(lambda: len(numbers(settings)) == 2_000 - lost, "what was kept arrives", seconds=60)
    publisher.publish(answered(2_000))
    eventually(
        lambda: sum({e.sequence: e.lost_before for e in on_topic(settings)}.values()) == lost,
        "the loss is told",
    )


def test_what_could_not_be_sent_before_the_end_is_sent_by_the_next(
    settings: Settings, start: Start, broker: BrokerServer
) -> None:
    broker.kill()
    first = start()
    for number in range(700):
        first.publish(answered(number))
    first.close()
    broker.start()
    kafka.ensure_topics(settings)
    second = start()
    second.publish(answered(700))
    eventually(lambda: len(on_topic(settings)) == 701, "all records arrive", seconds=60)
    sources = list(dict.fromkeys(each.source for each in on_topic(settings)))
    assert len(sources) == 2
    second.close()
    start()
    assert len(on_topic(settings, seconds=3)) == 701
    assert list((settings.data / "usage").iterdir()) == []
