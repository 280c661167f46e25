"""Batches of imports with the state of each row, and which models exist already."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from backend.domain.errors import NotFound
from backend.domain.values import name_key
from backend.infra.postgres import Pool
from backend.readmodels.version_facts import Failure, failure_of

GONE = "deleted"


class BatchRow(msgspec.Struct, rename="camel", frozen=True):
    """A model of the batch; its state is `deleted` and its name null where it is gone."""

    id: UUID
    name: str | None
    state: str
    model_version: str | None
    failure: Failure | None
    retriable: bool


class Batch(msgspec.Struct, rename="camel", frozen=True):
    """A batch of imports, of at most 1,000 models. `states` counts its rows by their state."""

    id: UUID
    address: str
    format: str
    manifest_sha256: str
    requested_by: str
    requested_at: datetime
    states: dict[str, int]
    rows: list[BatchRow]


def batch(pool: Pool, batch_id: UUID) -> Batch:
    """A batch with its rows in the order in which they were chosen. Raises `NotFound`."""
    with pool.connection() as connection:
        found = connection.execute(
            "SELECT * FROM gallery.batches WHERE batch_id = %s", (batch_id,)
        ).fetchone()
        if found is None:
            raise NotFound(f"There is no batch of imports {batch_id}.", remedy="Check the id.")
        models = connection.execute(
            "SELECT wanted.id, m.name, m.state, m.model_version, m.failure, m.retriable "
            "FROM unnest(%s::uuid[]) WITH ORDINALITY AS wanted (id, place) "
            "LEFT JOIN gallery.models AS m ON m.model_id = wanted.id ORDER BY wanted.place",
            (found["model_ids"],),
        ).fetchall()
    states: dict[str, int] = {}
    for row in models:
        state = row["state"] or GONE
        states[state] = states.get(state, 0) + 1
    return Batch(
        id=batch_id,
        address=found["address"],
        format=found["format"],
        manifest_sha256=found["manifest_sha256"],
        requested_by=found["requested_by"],
        requested_at=found["requested_at"],
        states=states,
        rows=[
            BatchRow(
                id=row["id"],
                name=row["name"],
                state=row["state"] or GONE,
                model_version=row["model_version"],
                failure=failure_of(row),
                retriable=bool(row["retriable"]),
            )
            for row in models
        ],
    )


def existing(pool: Pool, names: Sequence[str]) -> dict[str, UUID]:
    """Of these names, those that a model has already, each with the model's id.

    One query, however many names there are.
    """
    keys = {name_key(name): name for name in names}
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT name_key, model_id FROM loggia.model_names WHERE name_key = ANY(%s)",
            (list(keys),),
        ).fetchall()
    taken = {row["name_key"]: row["model_id"] for row in rows}
    return {name: taken[name_key(name)] for name in names if name_key(name) in taken}
