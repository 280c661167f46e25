"""Records in quantity: reading partitions and sending rounds, by librdkafka.

What is not hot (topics, telemetry, dead letters) uses kafka-python, in `backend.infra.kafka`; the
reasons and figures stand in `docs/decisions/008-librdkafka-on-the-hot-path.md`. Whatever goes wrong
here is told as `kafka.errors.KafkaError`, so that there is one family of errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, cast

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from kafka.errors import KafkaError

from backend.contracts.codec import Headers
from backend.infra.settings import Settings

_REQUEST_SECONDS = 10.0
# Few enough that their many headers are gone again before anybody looks for garbage.
_AT_ONCE = 100
_READ_AHEAD_KIB = 16 * 1024
# Above what a round takes to be put together: only `confirm` sends.
_LINGER_MS = 3_000
_DELIVERY_MS = 4_000
_BATCH_BYTES = 1_000_000


class Record(Protocol):
    """A record as it was read."""

    def partition(self) -> int: ...

    def offset(self) -> int: ...

    def key(self) -> bytes | None: ...

    def value(self) -> bytes | None: ...

    def headers(self) -> Headers | None: ...

    def __len__(self) -> int:
        """The value's size in bytes."""
        ...


@contextmanager
def _told_as_kafka_errors() -> Iterator[None]:
    try:
        yield
    except (KafkaException, BufferError) as error:
        raise KafkaError(str(error)) from error


def _client(settings: Settings, client_id: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": ",".join(settings.bootstrap_servers),
        "client.id": client_id,
        "socket.timeout.ms": int(_REQUEST_SECONDS * 1000),
        "reconnect.backoff.max.ms": 1_000,
        # It reports every attempt to connect; the callers say what matters.
        "log_level": 0,
    }


def has_topic(settings: Settings, topic: str, *, seconds: float = 3.0) -> bool:
    """Whether the broker has the topic; asking does not make it. Raises `KafkaError`."""
    with _told_as_kafka_errors():
        client = AdminClient(_client(settings, "loggia-look"))
        return topic in client.list_topics(timeout=seconds).topics


class RecordReader:
    """Reads a topic's partitions from given offsets, without a group. For one thread."""

    def __init__(self, settings: Settings, topic: str, *, client_id: str) -> None:
        self._topic = topic
        self._consumer = Consumer(
            {
                **_client(settings, client_id),
                # Demanded by the library; nobody joins it.
                "group.id": client_id,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_uncommitted",
                # The embedded broker answers only at the end of this wait.
                "fetch.wait.max.ms": 10,
                "queued.max.messages.kbytes": _READ_AHEAD_KIB,
            }
        )

    def partitions(self) -> list[int]:
        """The topic's partitions. Raises `KafkaError`, also where there is no such topic."""
        with _told_as_kafka_errors():
            found = self._consumer.list_topics(self._topic, timeout=_REQUEST_SECONDS)
        partitions = found.topics[self._topic].partitions
        if not partitions:
            raise KafkaError(f"the topic {self._topic} does not exist yet")
        return sorted(partitions)

    def bounds(self, partition: int, *, seconds: float) -> tuple[int, int]:
        """The offset of a partition's first record, and one at most behind its last.

        Of the batch that was written last, the embedded broker counts only the first record.
        Raises `KafkaError`.
        """
        with _told_as_kafka_errors():
            found = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=seconds, cached=False
            )
        if found is None:
            raise KafkaError(f"the ends of partition {partition} could not be read")
        return found

    def start(self, offsets: Mapping[int, int]) -> None:
        """Reads these partitions from these offsets on, or from the first where there is none."""
        with _told_as_kafka_errors():
            self._consumer.assign(
                [TopicPartition(self._topic, number, at) for number, at in offsets.items()]
            )

    def rest(self) -> None:
        """Asks the broker for nothing until `start` is called again."""
        with _told_as_kafka_errors():
            self._consumer.unassign()

    def read(self, seconds: float) -> list[Record]:
        """What has come, or comes in this time; each partition's records are in order.

        Raises `KafkaError`.
        """
        with _told_as_kafka_errors():
            first = self._consumer.poll(seconds)
            if first is None:
                return []
            messages = [first, *self._consumer.consume(_AT_ONCE, 0)]
        for message in messages:
            error = message.error()
            if error is not None:
                raise KafkaError(error.str())
        return cast("list[Record]", messages)

    def end_of(self, partition: int) -> int | None:
        """One behind the partition's last record, as told with the last answer; None before one."""
        with _told_as_kafka_errors():
            found = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), cached=True
            )
        return found[1] if found is not None and found[1] >= 0 else None

    def close(self) -> None:
        """Lets go of the connections."""
        self._consumer.close()


class RoundSender:
    """Sends records in rounds, and knows of each round whether all of it was written.

    An idempotent producer: within its life nothing is written twice or out of order. After an error
    nobody knows what was written; end it with `abandon` and make another.
    """

    def __init__(self, settings: Settings, topic: str, *, client_id: str) -> None:
        self._topic = topic
        self._refusals: list[str] = []
        self._producer = Producer(
            {
                **_client(settings, client_id),
                "enable.idempotence": True,
                "enable.gapless.guarantee": True,
                "acks": "all",
                "linger.ms": _LINGER_MS,
                "batch.size": _BATCH_BYTES,
                "message.timeout.ms": _DELIVERY_MS,
                "delivery.report.only.error": True,
                "on_delivery": lambda error, _: self._refusals.append(error.str()),
            }
        )

    def add(self, partition: int, key: bytes, value: bytes, headers: Headers) -> None:
        """Puts a record into the round; nothing is sent before `confirm`. Raises `KafkaError`."""
        with _told_as_kafka_errors():
            self._producer.produce(
                self._topic, value=value, key=key, partition=partition, headers=[*headers]
            )

    def confirm(self, seconds: float) -> None:
        """Sends the round and returns when the broker has all of it. Raises `KafkaError`."""
        with _told_as_kafka_errors():
            unconfirmed = self._producer.flush(seconds)
        if self._refusals:
            raise KafkaError(f"the broker did not take a round: {self._refusals[0]}")
        if unconfirmed:
            raise KafkaError(f"{unconfirmed} records were not confirmed in {seconds:g} s")

    def abandon(self) -> None:
        """Ends it; what has not gone out does not go out any more."""
        with _told_as_kafka_errors():
            self._producer.purge()
        self._producer.flush(0)
