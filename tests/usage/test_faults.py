"""Accounting goes on whatever goes wrong in it, and what could not be told is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from kafka.errors import KafkaError

from backend.contracts.generated.loggia.usage.v1.usage_pb2 import RequestAnswered
from backend.gateway import usage
from backend.gateway.metrics import Metrics
from backend.gateway.usage import UsagePublisher
from backend.gateway.usage_spool import Spool
from backend.infra.settings import Settings
from tests.rig.waiting import eventually
from tests.usage.records import answered, record


class Broker:
    """The double of the topic; it meets the senders with these errors first."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.taken: list[bytes] = []
        self.abandoned = 0

    def __call__(self, *_: Any, **__: Any) -> Broker:
        if self._errors:
            raise self._errors.pop(0)
        return self

    def add(self, partition: int, key: bytes, value: bytes, headers: Any) -> None:
        self.taken.append(value)

    def confirm(self, seconds: float) -> None:
        if self._errors:
            raise self._errors.pop(0)

    def abandon(self) -> None:
        self.abandoned += 1
        raise KafkaError("it has gone already")

    @property
    def sequences(self) -> set[int]:
        return {RequestAnswered.FromString(value).sequence for value in self.taken}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, data_dir=tmp_path)


Start = Callable[[Broker], UsagePublisher]


@pytest.fixture
def start(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Start:
    def start(broker: Broker) -> UsagePublisher:
        monkeypatch.setattr(usage, "RoundSender", broker)
        monkeypatch.setattr(usage, "has_topic", lambda *_: True)
        monkeypatch.setattr(usage, "_RECONNECT_SECONDS", 0.05)
        return UsagePublisher(settings, Metrics().usage)

    return start


@pytest.mark.parametrize("error", [KafkaException("no threads"), RuntimeError("no memory")])
def test_accounting_goes_on_after_any_fault(start: Start, error: Exception) -> None:
    broker = Broker(error, error)
    publisher = start(broker)
    publisher.publish(answered(0))
    eventually(lambda: broker.sequences == {1}, "the record arrives")
    broker._errors += [error]
    publisher.publish(answered(1))
    eventually(lambda: broker.sequences == {1, 2} and not broker._errors, "so does the next")
    publisher.close()


def test_what_cannot_be_told_at_all_is_missed_by_its_number(start: Start) -> None:
    broker = Broker()
    publisher = start(broker)
    publisher.publish(replace(answered(0), seconds=float("nan")))
    publisher.publish(answered(1))
    eventually(lambda: broker.sequences == {2}, "the next record arrives")
    publisher.close()


def test_what_an_unexpected_fault_kept_back_is_left_for_the_next_process(
    settings: Settings, start: Start
) -> None:
    publisher = start(Broker(*[RuntimeError("no memory")] * 1000))
    for number in range(3):
        publisher.publish(answered(number))
    publisher.close()
    left = Spool(settings.data / "usage", "next").claim()
    assert [each.request_id for each in left] == [f"request-{number}" for number in range(3)]


def test_a_file_that_cannot_be_read_or_removed_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.records").mkdir()
    Spool(tmp_path, "b").leave([record("b", 1)])
    spool = Spool(tmp_path, "c")
    assert [each.source for each in spool.claim()] == ["b"]
    (tmp_path / "b.records").unlink()
    (tmp_path / "b.records").mkdir()
    spool.forget_claimed()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.records", "b.records"]
