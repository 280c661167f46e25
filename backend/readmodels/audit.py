"""The audit's queries: events by model, actor, type and time, and the latest outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composable

from backend.infra.postgres import Pool
from backend.readmodels.cursors import Cursors
from backend.readmodels.wire_names import camel_keys

CONSUMER = "audit"
OUTCOMES = (
    "ModelValidated",
    "ModelImportFailed",
    "ModelImportCancelled",
    "RevisionDeployed",
    "RevisionFailed",
    "ReplicaLost",
    "DeploymentStopped",
    "ModelPublished",
    "ModelWithdrawn",
)
_MOST_NOTIFICATIONS = 50


class EventItem(msgspec.Struct, rename="camel", frozen=True):
    """One event, with its facts."""

    position: int
    type: str
    time: datetime
    actor: str
    model_id: UUID | None
    aggregate_id: UUID
    aggregate_version: int
    correlation_id: UUID
    causation_id: UUID | None
    data: dict[str, Any]


class EventPage(msgspec.Struct, rename="camel", frozen=True):
    """A page of events, newest first."""

    items: list[EventItem]
    next_cursor: str | None


class Notification(msgspec.Struct, rename="camel", frozen=True):
    """An outcome that somebody waits for. `modelName` is null where the model is gone."""

    position: int
    type: str
    time: datetime
    actor: str
    model_id: UUID | None
    model_name: str | None
    data: dict[str, Any]


class Notifications(msgspec.Struct, rename="camel", frozen=True):
    """The latest outcomes, newest first."""

    items: list[Notification]


@dataclass(frozen=True)
class EventFilters:
    """Which events; times are exclusive bounds."""

    model_id: UUID | None = None
    actor: str | None = None
    types: tuple[str, ...] = ()
    after: datetime | None = None
    before: datetime | None = None
    about_people: bool = True

    def condition(self) -> tuple[list[Composable], list[Any]]:
        """Parts of the WHERE clause and their values."""
        parts: list[Composable] = [SQL("true")]
        values: list[Any] = []
        for part, value in (
            (SQL("model_id = %s"), self.model_id),
            (SQL("actor = %s"), self.actor),
            (SQL("type = ANY(%s)"), list(self.types) or None),
            (SQL("time > %s"), self.after),
            (SQL("time < %s"), self.before),
        ):
            if value is not None:
                parts.append(part)
                values.append(value)
        if not self.about_people:
            parts.append(SQL("model_id IS NOT NULL"))
        return parts, values


def page(
    pool: Pool, filters: EventFilters, cursor: str | None, limit: int, cursors: Cursors
) -> EventPage:
    """Events, newest first. Raises `Invalid` for a cursor of another list."""
    scope = f"events {filters}"
    parts, values = filters.condition()
    if cursor is not None:
        parts.append(SQL("position < %s"))
        values.extend(cursors.read(scope, cursor))
    with pool.connection() as connection:
        rows = connection.execute(
            SQL(
                "SELECT position, type, time, actor, model_id, aggregate_id, aggregate_version, "
                "correlation_id, causation_id, data FROM audit.events WHERE {} "
                "ORDER BY position DESC LIMIT %s"
            ).format(SQL(" AND ").join(parts)),
            [*values, limit + 1],
        ).fetchall()
    more = len(rows) > limit
    rows = rows[:limit]
    return EventPage(
        items=[EventItem(**{**row, "data": camel_keys(row["data"])}) for row in rows],
        next_cursor=cursors.write(scope, [rows[-1]["position"]]) if more else None,
    )


def outcomes(pool: Pool) -> list[Notification]:
    """The latest outcomes, newest first."""
    with pool.connection() as connection:
        rows: list[DictRow] = connection.execute(
            "SELECT e.position, e.type, e.time, e.actor, e.model_id, m.name AS model_name, e.data "
            "FROM audit.events AS e LEFT JOIN gallery.models AS m ON m.model_id = e.model_id "
            "WHERE e.type = ANY(%s) ORDER BY e.position DESC LIMIT %s",
            (list(OUTCOMES), _MOST_NOTIFICATIONS),
        ).fetchall()
    return [Notification(**{**row, "data": camel_keys(row["data"])}) for row in rows]
