"""The consumer of the documentation on a topic as only faults leave it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from backend.infra import kafka
from tests.builders.histories import History, write
from tests.relay.conftest import Line
from tests.relay.topic import put
from tests.rig.integrator import DocumentedConsumer
from tests.rig.waiting import eventually

SEED = 77


def test_the_documented_consumer_gets_past_a_hole_and_sees_every_event_once(
    line: Line, tmp_path: Path
) -> None:
    print(f"seed {SEED}")
    write(line.store, History(SEED).domain(6))
    events = line.feed.read(0, 6)
    kafka.ensure_topics(line.settings)
    stranger = kafka.producer(line.settings, client_id="test-stranger")
    stranger.send(kafka.EVENTS, value=b"not one of ours", partition=0).get(timeout=10)
    stranger.close()
    # What is missing behind the first comes later, and everything once more behind it.
    put(line.settings, [events[number - 1] for number in (1, 4, 5, 2, 3, 3, 4, 5, 6)])
    servers = ",".join(line.settings.bootstrap_servers)
    with contextlib.closing(DocumentedConsumer(tmp_path, servers)) as consumer:
        eventually(lambda: len(consumer.printed()) >= 6, "every event is printed")
        assert [(event.position, event.type) for event in consumer.printed()] == [
            (event.position, event.type) for event in events
        ]
