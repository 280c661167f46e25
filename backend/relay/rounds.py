"""What the relay sends: rounds of records, put together while the one before is being sent."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import lru_cache

import msgspec
from kafka.partitioner.default import murmur2

from backend.application.feed import EventFeed
from backend.contracts.codec import Headers, encode

_PAGE = 2000
# A round is one batch for each partition: it must stay below what makes up a batch.
_BATCH_BYTES = 900_000
_RECORD_OVERHEAD_BYTES = 700


class Round(msgspec.Struct):
    """Partition, key, value and headers of each record, and with what each partition ends then.

    It is empty where there is nothing to send now.
    """

    records: list[tuple[int, bytes, bytes, Headers]] = []
    ends: dict[int, int] = {}


@lru_cache(maxsize=100_000)
def partition_of(key: str, partitions: int) -> int:
    """The partition of a key, as Kafka's own default partitioner chooses it."""
    return int((murmur2(key.encode()) & 0x7FFFFFFF) % partitions)


def rounds_ahead(
    feed: EventFeed, after: int, tails: dict[int, int], stop: threading.Event
) -> Generator[Round]:
    """Every event behind a position that its partition does not have yet; one round ahead.

    `tails` says what each partition ends with. Raises what the feed raises.
    """
    with closing(_rounds(feed, after, dict(tails), stop)) as rounds, ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(next, rounds, None)
        while (ready := coming.result()) is not None:
            coming = ahead.submit(next, rounds, None)
            yield ready


def _rounds(
    feed: EventFeed, after: int, tails: dict[int, int], stop: threading.Event
) -> Generator[Round]:
    partitions = len(tails)
    for page in feed.follow(after, stop, page=_PAGE):
        growing = Round()
        sizes = dict.fromkeys(tails, 0)
        for stored in page:
            event = stored.public
            partition = partition_of(event.partition_key, partitions)
            previous = tails[partition]
            if event.position <= previous:
                continue
            value, headers = encode(event, previous)
            growing.records.append((partition, event.partition_key.encode(), value, headers))
            growing.ends[partition] = tails[partition] = event.position
            sizes[partition] += len(value) + _RECORD_OVERHEAD_BYTES
            if sizes[partition] >= _BATCH_BYTES:
                yield growing
                growing, sizes = Round(), dict.fromkeys(tails, 0)
        yield growing
