"""Servers that were registered: what was said of them, and whether they answer or are emptied."""

from __future__ import annotations

from typing import Any

from backend.contracts.codec import PublicEvent, to_dict
from projections.tables import Fold, Handlers, Row, Rows, Table

SERVERS_TABLE = Table(
    name="servers",
    columns={
        "server_id": "uuid",
        "version": "bigint NOT NULL",
        "name": "text NOT NULL",
        "pool": "text NOT NULL",
        "address": "text NOT NULL",
        "grpc_address": "text NOT NULL",
        "engine": "text NOT NULL",
        "engine_version": "text NOT NULL",
        "capacity": "jsonb NOT NULL",
        "has_credentials": "boolean NOT NULL",
        "registered_at": "timestamptz NOT NULL",
        "registered_by": "text NOT NULL",
        "draining_since": "timestamptz",
        "drain_reason": "text NOT NULL",
        "lost_since": "timestamptz",
        "lost_reason": "text NOT NULL",
        "position": "bigint NOT NULL",
    },
    key=("server_id",),
    group="server_id",
)


def _described(facts: Any) -> Row:
    described = to_dict(facts)
    return {
        name: described[name]
        for name in (
            "server_id", "name", "pool", "address", "grpc_address", "engine", "engine_version",
            "capacity", "has_credentials",
        )
    }  # fmt: skip


def _registered(rows: Rows, event: PublicEvent, facts: Any) -> None:
    rows.insert(
        SERVERS_TABLE,
        {
            **_described(facts),
            "version": event.aggregate_version,
            "registered_at": event.time.isoformat(),
            "registered_by": event.actor,
            "draining_since": None,
            "drain_reason": "",
            "lost_since": None,
            "lost_reason": "",
            "position": event.position,
        },
    )


def _server(rows: Rows, event: PublicEvent) -> Row:
    row = rows.change(SERVERS_TABLE, event.aggregate_id)
    row.update(version=event.aggregate_version, position=event.position)
    return row


def _changed(rows: Rows, event: PublicEvent, facts: Any) -> None:
    _server(rows, event).update(_described(facts))


def _drain_requested(rows: Rows, event: PublicEvent, facts: Any) -> None:
    _server(rows, event).update(draining_since=event.time.isoformat(), drain_reason=facts.reason)


def _drain_ended(rows: Rows, event: PublicEvent, _facts: Any) -> None:
    _server(rows, event).update(draining_since=None, drain_reason="")


def _removed(rows: Rows, event: PublicEvent, _facts: Any) -> None:
    rows.delete(SERVERS_TABLE, event.aggregate_id)


def _lost(rows: Rows, event: PublicEvent, facts: Any) -> None:
    _server(rows, event).update(lost_since=event.time.isoformat(), lost_reason=facts.reason)


def _recovered(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = _server(rows, event)
    row.update(lost_since=None, lost_reason="")
    row["engine_version"] = facts.engine_version or row["engine_version"]


SERVERS = Handlers(
    name="servers",
    description="Registered servers and whether they answer",
    tables=(SERVERS_TABLE,),
    folds={
        event_type: Fold(apply, (SERVERS_TABLE,))
        for event_type, apply in {
            "ServerRegistered": _registered,
            "ServerChanged": _changed,
            "ServerDrainRequested": _drain_requested,
            "ServerDrainEnded": _drain_ended,
            "ServerRemoved": _removed,
            "ServerLost": _lost,
            "ServerRecovered": _recovered,
        }.items()
    },
)
