"""Progress reaches those who listen, also after the broker has been away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from itertools import chain
from uuid import UUID, uuid4

import msgspec
import pytest
from kafka import TopicPartition

from backend.infra import kafka
from backend.infra.settings import Settings
from backend.infra.telemetry import Telemetry, TelemetryPublisher
from tests.rig.servers import BrokerServer
from tests.rig.waiting import eventually


@pytest.fixture
def publisher(settings: Settings) -> Iterator[TelemetryPublisher]:
    kafka.ensure_topics(settings)
    publisher = TelemetryPublisher(settings, client_id="test-telemetry")
    yield publisher
    publisher.close()


def readings(settings: Settings) -> list[Telemetry]:
    """Everything on the topic."""
    with contextlib.closing(kafka.consumer(settings, client_id="test-readings")) as reader:
        numbers = reader.partitions_for_topic(kafka.TELEMETRY) or ()
        partitions = [TopicPartition(kafka.TELEMETRY, number) for number in numbers]
        reader.assign(partitions)
        reader.seek_to_beginning(*partitions)
        found = []
        until = time.monotonic() + 1
        while time.monotonic() < until:
            for record in chain(*reader.poll(timeout_ms=200).values()):
                found.append(msgspec.json.decode(record.value, type=Telemetry))
        return found


def said(settings: Settings, publisher: TelemetryPublisher, model_id: UUID, message: str) -> bool:
    publisher.publish(Telemetry(model_id, kind="log", step="engine", message=message))
    return any(reading.message == message for reading in readings(settings))


def test_readings_flow_again_after_the_broker_came_back_empty(
    settings: Settings, publisher: TelemetryPublisher, broker: BrokerServer
) -> None:
    model_id = uuid4()
    eventually(lambda: said(settings, publisher, model_id, "before"), "readings arrive")
    broker.restart()
    kafka.ensure_topics(settings)
    eventually(
        lambda: said(settings, publisher, model_id, "after"), "readings arrive again", seconds=60
    )


def test_progress_is_thinned_and_its_end_is_not(
    settings: Settings, publisher: TelemetryPublisher
) -> None:
    model_id = uuid4()
    for done in range(1001):
        publisher.publish(Telemetry(model_id, kind="import", step="store", done=done, total=1000))
    eventually(lambda: len(readings(settings)) >= 2, "readings arrive")
    found = readings(settings)
    assert found[0].done == 0
    assert found[-1].done == 1000
    assert len(found) < 100
