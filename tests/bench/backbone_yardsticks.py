"""The least that any implementation with these parts can do, measured beside the product."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from backend.application.store import EventStore
from backend.infra.settings import Settings
from tests.builders.histories import History, write

VALUE = b"x" * 400
PAGE = 1000


def seconds_of(work: Callable[[], object]) -> float:
    """How long the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def topic(settings: Settings) -> str:
    """A new topic with one partition."""
    name = f"yardstick-{uuid4().hex[:8]}"
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    admin.close()
    return name


Headers = list[tuple[str, bytes]]


def raw_produce(
    settings: Settings,
    name: str,
    records: int,
    value: bytes = VALUE,
    headers: Headers | None = None,
) -> float:
    """Records a second, as fast as the client library can."""
    producer = KafkaProducer(
        bootstrap_servers=settings.bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        batch_size=256 * 1024,
    )
    producer.send(name, b"warm", partition=0).get(timeout=20)

    def produce() -> None:
        futures = [
            producer.send(name, value, key=b"k", headers=headers, partition=0)
            for _ in range(records)
        ]
        producer.flush(timeout=60)
        assert all(future.succeeded() for future in futures)

    seconds = seconds_of(produce)
    producer.close()
    return records / seconds


def raw_consume(settings: Settings, name: str, records: int) -> float:
    """Records a second from the beginning of a topic, nothing done with them."""
    consumer = KafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        enable_auto_commit=False,
        max_poll_records=2000,
        max_partition_fetch_bytes=8 * 1024**2,
        fetch_max_wait_ms=10,
    )
    partition = TopicPartition(name, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)

    def consume() -> None:
        seen = 0
        while seen < records:
            seen += sum(len(found) for found in consumer.poll(timeout_ms=500).values())

    seconds = seconds_of(consume)
    consumer.close()
    return records / seconds


def select_and_decode(store: EventStore, events: int) -> float:
    """Events a second from the store to domain events."""

    def read() -> None:
        after = 0
        while after < events:
            page = store.recorder.select_notifications(
                start=after, limit=PAGE, inclusive_of_start=False
            )
            for notification in page:
                store.mapper.to_domain_event(notification)
            after = page[-1].id

    return events / seconds_of(read)


def upsert(settings: Settings, rows: int) -> float:
    """Rows a second into a narrow view, a thousand to a commit with the progress."""
    with psycopg.connect(settings.dsn) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS yard_view (id text PRIMARY KEY, n bigint, doc text)"
        )
        connection.execute(
            "CREATE TABLE IF NOT EXISTS yard_progress (k text PRIMARY KEY, n bigint)"
        )
        connection.execute("TRUNCATE yard_view, yard_progress")
        connection.commit()

        def write_rows() -> None:
            for first in range(0, rows, PAGE):
                with connection.transaction(), connection.cursor() as cursor:
                    cursor.executemany(
                        "INSERT INTO yard_view VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE "
                        "SET n = excluded.n, doc = excluded.doc",
                        [(f"m{n % 20_000}", n, "x" * 200) for n in range(first, first + PAGE)],
                    )
                    cursor.execute(
                        "INSERT INTO yard_progress VALUES ('p', %s) ON CONFLICT (k) "
                        "DO UPDATE SET n = excluded.n",
                        (first,),
                    )

        return rows / seconds_of(write_rows)


def pipeline(settings: Settings, rate: float, events: int) -> list[float]:
    """Seconds from each save to its row: store, NOTIFY, topic, upsert; no domain, no contract."""
    name = topic(settings)
    store = EventStore(settings)
    after = store.recorder.max_notification_id() or 0
    context = multiprocessing.get_context("spawn")
    ready: Any = context.Queue()
    seen: Any = context.Queue()
    children = [
        context.Process(
            target=_pipeline_relay, args=(settings.dsn, settings, name, after, events, ready)
        ),
        context.Process(target=_pipeline_view, args=(settings, name, events, ready, seen)),
    ]
    for child in children:
        child.start()
    try:
        for _ in children:
            ready.get(timeout=30)
        time.sleep(0.5)
        started: dict[int, float] = {}
        history = History(seed=1, models=50)
        due = time.perf_counter()
        domain = history.domain(events)[:events]
        for position, event in enumerate(domain, start=after + 1):
            due += 1 / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            started[position] = time.perf_counter()
            write(store, [event], after=position - 1)
        return [at - started[position] for position, at in (seen.get(timeout=30) for _ in domain)]
    finally:
        for child in children:
            child.kill()
            child.join()
        store.close()


def _pipeline_relay(
    dsn: str, settings: Settings, name: str, after: int, events: int, ready: Any
) -> None:
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap_servers, acks="all", linger_ms=0)
    producer.partitions_for(name)
    last = after + events
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("LISTEN loggia_events")
        ready.put("relay")
        while after < last:
            rows = connection.execute(
                "SELECT notification_id, state FROM loggia.loggia_events "
                "WHERE notification_id > %s ORDER BY notification_id LIMIT 500",
                (after,),
            ).fetchall()
            for position, state in rows:
                producer.send(name, state, headers=[("position", b"%d" % position)], partition=0)
                after = position
            if not rows:
                for _ in connection.notifies(timeout=1, stop_after=1):
                    pass
    producer.flush()


def _pipeline_view(settings: Settings, name: str, events: int, ready: Any, seen: Any) -> None:
    consumer = KafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False, fetch_max_wait_ms=10
    )
    partition = TopicPartition(name, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    consumer.poll(200)
    with psycopg.connect(settings.dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS yard_rows (id bigint PRIMARY KEY, doc bytea)"
        )
        connection.execute("CREATE TABLE IF NOT EXISTS yard_place (k text PRIMARY KEY, n bigint)")
        ready.put("view")
        count = 0
        while count < events:
            for records in consumer.poll(200).values():
                rows = [(int(dict(record.headers)["position"]), record.value) for record in records]
                with connection.transaction(), connection.cursor() as cursor:
                    cursor.executemany(
                        "INSERT INTO yard_rows VALUES (%s, %s) ON CONFLICT (id) DO NOTHING", rows
                    )
                    cursor.execute(
                        "INSERT INTO yard_place VALUES ('p', %s) ON CONFLICT (k) "
                        "DO UPDATE SET n = excluded.n",
                        (records[-1].offset,),
                    )
                at = time.perf_counter()
                for position, _ in rows:
                    seen.put((position, at))
                count += len(rows)
