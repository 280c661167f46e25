"""Records about answered requests, and what the topic and the tables hold of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from kafka import TopicPartition

from backend.contracts.generated.loggia.usage.v1.usage_pb2 import RequestAnswered
from backend.contracts.usage import headers_of
from backend.gateway.metering import Answered, Work
from backend.infra import kafka
from backend.infra.postgres import Pool
from backend.infra.settings import Settings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MODEL = str(uuid4())
KEY = str(uuid4())


def answered(number: int = 0, *, model_id: str = MODEL, key_id: str | None = KEY) -> Answered:
    """An answer that took 3 tokens in, 4 out, and a quarter of a second."""
    return Answered(
        request_id=f"request-{number}",
        model_id=model_id,
        key_id=key_id,
        route="/v1/completions",
        status=200,
        seconds=0.25,
        at=NOON.timestamp(),
        work=Work(
            replica_id=str(uuid4()),
            revision=1,
            engine_seconds=0.25,
            accelerator_seconds=0.5,
            input_tokens=3,
            output_tokens=4,
            estimated=False,
        ),
    )


def record(source: str, sequence: int, **facts: Any) -> RequestAnswered:
    """A record as it is on the topic."""
    given: dict[str, Any] = {
        "request_id": f"{source}-{sequence}",
        "model_id": MODEL,
        "key_id": KEY,
        "revision": 1,
        "replica_id": str(uuid4()),
        "route": "/v1/completions",
        "input_tokens": 3,
        "output_tokens": 4,
        "milliseconds": 250,
        "engine_seconds": 0.25,
        "accelerator_seconds": 0.5,
        "status": 200,
        "source": source,
        "sequence": sequence,
    }
    at = facts.pop("at", NOON)
    made = RequestAnswered(**{**given, **facts})
    made.time.FromDatetime(at)
    return made


def put(settings: Settings, records: Iterable[RequestAnswered]) -> None:
    """Writes records to the topic."""
    with contextlib.closing(kafka.producer(settings, client_id="test-usage")) as producer:
        for each in records:
            producer.send(
                kafka.USAGE,
                key=each.model_id.encode(),
                value=each.SerializeToString(),
                headers=headers_of(each),
                partition=0,
            )
        producer.flush(timeout=30)


def on_topic(settings: Settings, *, seconds: float = 1) -> list[RequestAnswered]:
    """Every record on the topic, in order."""
    with contextlib.closing(kafka.consumer(settings, client_id="test-usage")) as reader:
        partition = TopicPartition(kafka.USAGE, 0)
        reader.assign([partition])
        reader.seek_to_beginning(partition)
        found = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for each in reader.poll(timeout_ms=200).get(partition, []):
                found.append(RequestAnswered.FromString(each.value))
        return found


def sums(pool: Pool) -> dict[str, int]:
    """All usage together."""
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT COALESCE(sum(requests), 0)::bigint AS requests, "
            "COALESCE(sum(input_tokens), 0)::bigint AS input_tokens, "
            "COALESCE(sum(output_tokens), 0)::bigint AS output_tokens, "
            "COALESCE(sum(accelerator_microseconds), 0)::bigint AS accelerator_microseconds "
            "FROM loggia.usage_days"
        ).fetchone()
    assert row is not None
    return row


def expected(requests: int) -> dict[str, int]:
    """What so many of these answers come to."""
    return {
        "requests": requests,
        "input_tokens": 3 * requests,
        "output_tokens": 4 * requests,
        "accelerator_microseconds": 500_000 * requests,
    }
