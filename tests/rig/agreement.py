"""Event table, topic and read models of one installation, compared with each other.

Each function returns the faults that it finds, by kind; every list is empty where all is well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from psycopg import IsolationLevel

from backend.application.feed import EventFeed
from backend.application.store import EventStore
from backend.contracts.codec import PublicEvent
from backend.infra.postgres import connect
from backend.infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.projections.contents import contents_seen, replayed
from tests.relay.topic import read_topic

Faults = dict[str, list[Any]]


def stored(settings: Settings) -> list[PublicEvent]:
    """The event table."""
    store = EventStore(settings, pool_size=1)
    try:
        return EventFeed(store, settings.dsn).read(0, 100_000)
    finally:
        store.close()


def topic_faults(settings: Settings) -> Faults:
    """Once the relay has nothing left: every event at least once, each key's in their order."""
    table = {event.position: event for event in stored(settings)}
    first_seen: dict[str, list[int]] = defaultdict(list)
    seen: set[int] = set()
    foreign = []
    for events in read_topic(settings).values():
        for event in events:
            known = table.get(event.position)
            if known is None or known.event_id != event.event_id:
                foreign.append(event)
            elif event.position not in seen:
                seen.add(event.position)
                first_seen[event.partition_key].append(event.position)
    return {
        "not on the topic": sorted(table.keys() - seen),
        "not in the store": foreign,
        "out of order": [key for key, found in first_seen.items() if found != sorted(found)],
    }


def view_faults(settings: Settings) -> Faults:
    """At any instant: a read model's rows are what a replay gives of exactly those events that its
    stored position counts as applied."""
    faults: Faults = {"view": [], "offset": []}
    with connect(settings.dsn, autocommit=False) as connection:
        # All of it as of one instant, whoever goes on writing.
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        marks = connection.execute("SELECT * FROM loggia.consumer_watermark").fetchall()
        events = stored(settings)
        for mark in marks:
            projection = PROJECTIONS.get(mark["consumer"])
            if projection is None:
                continue
            ahead = set(mark["ahead"])
            applied = [e for e in events if e.position <= mark["position"] or e.position in ahead]
            live = contents_seen(connection, projection, projection.name)
            fresh = replayed(connection, projection, applied)
            faults["view"] += [(mark, table) for table in fresh if fresh[table] != live[table]]
            counted = {event.position for event in applied}
            progress = connection.execute(
                "SELECT partition, position FROM loggia.consumer_progress "
                "WHERE consumer = %s AND position > 0",
                (mark["consumer"],),
            )
            faults["offset"] += [(mark, row) for row in progress if row["position"] not in counted]
        connection.rollback()
    return faults


def marker_since(position: int) -> Callable[[PublicEvent], str | None]:
    """The marker of events that clients' commands have made behind a position: their chain's id.

    That an archive has arrived is recorded by the upload, which is no command.
    """

    def marker_of(event: PublicEvent) -> str | None:
        commanded = event.actor.startswith("user:") and event.causation_id is None
        if event.position <= position or not commanded or event.type == "ModelArchiveReceived":
            return None
        return event.correlation_id

    return marker_of


def has_come_to_rest(settings: Settings) -> bool:
    """Whether relay and projections have all that is in the store."""
    with connect(settings.dsn) as connection:
        row = connection.execute(
            "SELECT (SELECT max(notification_id) FROM loggia.loggia_events) AS last, "
            "(SELECT max(position) FROM loggia.relay_progress) AS sent, "
            "(SELECT min(COALESCE(w.position, 0)) FROM unnest(%s::text[]) AS p (name) "
            "LEFT JOIN loggia.consumer_watermark AS w ON w.consumer = p.name) AS applied",
            (list(PROJECTIONS),),
        ).fetchone()
    return row is not None and row["last"] == row["sent"] == row["applied"]
