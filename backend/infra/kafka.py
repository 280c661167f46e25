"""Topics, and producers and consumers for what is not hot, with the options that matter said aloud.

Everything here works on the Kafka protocol alone, so that the embedded broker and Apache Kafka
are the same to Loggia.
"""

from __future__ import annotations

from dataclasses import dataclass

from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import TopicAlreadyExistsError

from backend.infra.settings import Settings

EVENTS = "loggia.events.v1"
TELEMETRY = "loggia.telemetry.v1"
DEAD_LETTERS = "loggia.dead-letters.v1"
USAGE = "loggia.usage.v1"

_FOREVER = "-1"
_ONE_HOUR_MS = "3600000"
_NINETY_DAYS_MS = "7776000000"
_REQUEST_TIMEOUT_MS = 10_000


@dataclass(frozen=True)
class Topic:
    """A topic as Loggia wants it; retention in milliseconds, -1 for ever."""

    name: str
    partitions: int
    retention_ms: str


def topics(settings: Settings) -> list[Topic]:
    """Every topic of Loggia."""
    return [
        Topic(EVENTS, settings.kafka_partitions, _FOREVER),
        Topic(TELEMETRY, 1, _ONE_HOUR_MS),
        Topic(DEAD_LETTERS, 1, _FOREVER),
        # One partition, so that the records of each process of the gateway are in order.
        Topic(USAGE, 1, _NINETY_DAYS_MS),
    ]


def ensure_topics(settings: Settings) -> None:
    """Creates the topics that are missing. Raises `kafka.errors.KafkaError`."""
    admin = KafkaAdminClient(
        bootstrap_servers=settings.bootstrap_servers,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        client_id="loggia-admin",
    )
    try:
        present = set(admin.list_topics())
        for topic in topics(settings):
            if topic.name in present:
                continue
            try:
                admin.create_topics(
                    [
                        NewTopic(
                            topic.name,
                            num_partitions=topic.partitions,
                            replication_factor=settings.kafka_replication,
                            topic_configs={
                                "cleanup.policy": "delete",
                                "retention.ms": topic.retention_ms,
                            },
                        )
                    ]
                )
            except TopicAlreadyExistsError:
                continue  # another process was first
    finally:
        admin.close()


def producer(settings: Settings, *, client_id: str, linger_ms: int = 0) -> KafkaProducer:
    """A producer that neither loses, nor repeats, nor reorders within its own lifetime."""
    return KafkaProducer(
        bootstrap_servers=settings.bootstrap_servers,
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        # Only `ensure_topics` knows how many partitions a topic is to have.
        allow_auto_create_topics=False,
        linger_ms=linger_ms,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        delivery_timeout_ms=20_000,
        max_block_ms=_REQUEST_TIMEOUT_MS,
    )


def consumer(settings: Settings, *, client_id: str, fetch_max_wait_ms: int = 10) -> KafkaConsumer:
    """A consumer without a group: its user keeps the progress and assigns the partitions.

    The embedded broker answers only at the end of the fetch's wait, also when something comes
    meanwhile: a short one costs it and us more, a long one is how late records may be.
    """
    return KafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        client_id=client_id,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        allow_auto_create_topics=False,
        fetch_max_wait_ms=fetch_max_wait_ms,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        max_poll_records=2000,
        metadata_max_age_ms=3_000,
    )
