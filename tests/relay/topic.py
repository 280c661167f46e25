"""The topic as any consumer sees it, read from the beginning to the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from kafka import TopicPartition

from backend.contracts.codec import PublicEvent, decode, encode
from backend.infra import kafka
from backend.infra.settings import Settings


def read_topic(settings: Settings) -> dict[int, list[PublicEvent]]:
    """Every record of every partition, repeats included."""
    reader = kafka.consumer(settings, client_id="test-topic")
    try:
        partitions = [
            TopicPartition(kafka.EVENTS, number)
            for number in sorted(reader.partitions_for_topic(kafka.EVENTS) or ())
        ]
        reader.assign(partitions)
        reader.seek_to_beginning(*partitions)
        ends = reader.end_offsets(partitions)
        found: dict[int, list[PublicEvent]] = defaultdict(list)
        while any(reader.position(partition) < ends[partition] for partition in partitions):
            for partition, records in reader.poll(timeout_ms=500).items():
                found[partition.partition] += [
                    decode(record.key, record.value, record.headers) for record in records
                ]
        return found
    finally:
        reader.close()


def assert_whole(settings: Settings, last: int) -> int:
    """Who follows the documented rule sees positions 1 to `last`; returns how many repeats."""
    applied: list[int] = []
    records = 0
    for events in read_topic(settings).values():
        seen = 0
        for event in events:
            records += 1
            if event.position <= seen:
                continue
            assert event.previous_position <= seen, f"a hole before {event.position}"
            assert event.previous_position == seen
            seen = event.position
            applied.append(seen)
    assert sorted(applied) == list(range(1, last + 1))
    return records - last


def put(settings: Settings, events: Sequence[PublicEvent]) -> None:
    """Puts events on the first partition, in this order, each naming the one before its position.

    It is what a relay may leave that died between two batches: later records before earlier ones.
    """
    producer = kafka.producer(settings, client_id="test-put")
    for event in events:
        value, headers = encode(event, event.position - 1)
        producer.send(kafka.EVENTS, key=b"any", value=value, headers=headers, partition=0).get(
            timeout=10
        )
    producer.close()
