"""Billing: prices as they were set, and how long replicas have run on which hardware.

What answers took is no event; see `projections.usage`.
"""

from __future__ import annotations

import re
from typing import Any

from backend.contracts.codec import PublicEvent, to_dict
from projections.tables import Fold, Handlers, Row, Rows, Table

PRICES = Table(
    name="prices",
    columns={
        "position": "bigint",
        "version": "bigint NOT NULL",
        "set_at": "timestamptz NOT NULL",
        "set_by": "text NOT NULL",
        "currency": "text NOT NULL",
        "hardware": "jsonb NOT NULL",
        "tokens": "jsonb NOT NULL",
    },
    key=("position",),
    group=None,
)
# What each revision gives its replicas.
HARDWARE = Table(
    name="hardware",
    columns={
        "model_id": "uuid",
        "revision": "int",
        "accelerator": "text NOT NULL",
        "accelerator_count": "int NOT NULL",
    },
    key=("model_id", "revision"),
)
# Replicas that answer; once they have ended they are in `ended`, which is never loaded. `kinds` are
# the names of their GPUs as far as known.
RUNNING = Table(
    name="running",
    columns={
        "model_id": "uuid",
        "replica_id": "uuid",
        "revision": "int NOT NULL",
        "server": "text NOT NULL",
        "accelerator": "text NOT NULL",
        "accelerator_count": "int NOT NULL",
        "kinds": "jsonb NOT NULL",
        "ready_at": "timestamptz",
    },
    key=("model_id", "replica_id"),
)
ENDED = Table(
    name="ended",
    columns={
        "model_id": "uuid NOT NULL",
        "replica_id": "uuid",
        "revision": "int NOT NULL",
        "server": "text NOT NULL",
        "accelerator": "text NOT NULL",
        "accelerator_count": "int NOT NULL",
        "kinds": "jsonb NOT NULL",
        "ready_at": "timestamptz NOT NULL",
        "ended_at": "timestamptz NOT NULL",
    },
    key=("replica_id",),
    group=None,
    indexes=("(ended_at)", "(model_id, ended_at)"),
)
# Events name a GPU with its index before it, where the index is known.
_INDEX = re.compile(r"^\d+: ")


def _prices_set(rows: Rows, event: PublicEvent, facts: Any) -> None:
    prices = to_dict(facts)
    rows.insert(
        PRICES,
        {
            "position": event.position,
            "version": event.aggregate_version,
            "set_at": event.time.isoformat(),
            "set_by": event.actor,
            "currency": prices["currency"],
            "hardware": prices["hardware"],
            "tokens": prices["tokens"],
        },
    )


def _requested(rows: Rows, _: PublicEvent, facts: Any) -> None:
    hardware = facts.configuration.hardware
    rows.insert(
        HARDWARE,
        {
            "model_id": facts.model_id,
            "revision": facts.revision,
            "accelerator": hardware.accelerator,
            "accelerator_count": hardware.accelerator_count,
        },
    )


def _started(rows: Rows, _: PublicEvent, facts: Any) -> None:
    hardware = rows.change(HARDWARE, facts.model_id, facts.revision)
    rows.insert(
        RUNNING,
        {
            **hardware,
            "replica_id": facts.replica_id,
            "server": facts.server,
            "kinds": [_INDEX.sub("", device) for device in facts.devices],
            "ready_at": None,
        },
    )


def _ready(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = rows.find(RUNNING, facts.model_id, facts.replica_id)
    if row is not None and row["ready_at"] is None:
        row["ready_at"] = event.time.isoformat()


def _replica_gone(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = rows.find(RUNNING, facts.model_id, facts.replica_id)
    if row is not None:
        _end(rows, row, event)


def _revision_gone(rows: Rows, event: PublicEvent, facts: Any) -> None:
    for row in rows.of_group(RUNNING, facts.model_id):
        if row["revision"] == facts.revision:
            _end(rows, row, event)


def _all_gone(rows: Rows, event: PublicEvent, facts: Any) -> None:
    for row in rows.of_group(RUNNING, facts.model_id):
        _end(rows, row, event)


def _end(rows: Rows, row: Row, event: PublicEvent) -> None:
    """One that never answered has cost nothing."""
    if row["ready_at"] is not None:
        rows.insert(ENDED, {**row, "ended_at": event.time.isoformat()})
    rows.delete(RUNNING, row["model_id"], row["replica_id"])


BILLING = Handlers(
    name="billing",
    description="Prices, and how long replicas have run",
    tables=(PRICES, HARDWARE, RUNNING, ENDED),
    folds={
        "PricesSet": Fold(_prices_set, ()),
        "DeploymentRequested": Fold(_requested, ()),
        "ReplicaStarted": Fold(_started, (HARDWARE, RUNNING)),
        "ReplicaReady": Fold(_ready, (RUNNING,)),
        "ReplicaLost": Fold(_replica_gone, (RUNNING,)),
        "ReplicaRetired": Fold(_replica_gone, (RUNNING,)),
        "RevisionRetired": Fold(_revision_gone, (RUNNING,)),
        "RevisionFailed": Fold(_revision_gone, (RUNNING,)),
        "DeploymentStopped": Fold(_all_gone, (RUNNING,)),
        "ModelDeleted": Fold(_all_gone, (RUNNING,)),
    },
)
