"""A deployment's history: every revision, how long each phase of it took, what changed, and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg import Connection
from psycopg.rows import DictRow

from backend.domain.errors import NotFound
from backend.infra.postgres import Pool
from backend.readmodels.configuration import Change, ConfigurationView, changes, from_domain
from backend.readmodels.cursors import Cursors

_EXPORTED_AT_ONCE = 200
_MOST_SCALINGS = 50


class PhaseView(msgspec.Struct, rename="camel", frozen=True):
    """A phase of a revision's life: `running`, `done` or `failed`; `seconds` once it has ended.

    `queued`, `environment`, `files`, `optimizing`, `starting`, `switching`, `draining`; or
    `preparing` for those before the start where nobody measured them one by one.
    """

    name: str
    state: str
    seconds: float | None


class ScalingDecision(msgspec.Struct, rename="camel", frozen=True):
    """What the autoscaler decided, and from what: requests at the gateway, for how many seconds."""

    decided_at: datetime
    from_replicas: int
    to_replicas: int
    running: int
    waiting: int
    sustained_seconds: float
    reason: str


class HistoryEntry(msgspec.Struct, rename="camel", frozen=True):
    """One revision: `pending`, `deployed`, `failed` or `superseded`; `seconds` until it served.

    Of its scaling decisions the last few, the newest first.
    """

    revision: int
    trigger: str
    actor: str
    requested_at: datetime
    model_version: str
    configuration: ConfigurationView
    reason: str | None
    restored_revision: int | None
    outcome: str
    deployed_at: datetime | None
    failed_at: datetime | None
    retired_at: datetime | None
    seconds: float | None
    phases: list[PhaseView]
    failure: str | None
    remedy: str | None
    log_tail: list[str] | None
    changes: list[Change]
    scalings: list[ScalingDecision]


class History(msgspec.Struct, rename="camel", frozen=True):
    """Revisions, newest first."""

    items: list[HistoryEntry]
    next_cursor: str | None
    total: int


class RevisionComparison(msgspec.Struct, rename="camel", frozen=True):
    """What the second revision has otherwise than the first."""

    before: HistoryEntry
    after: HistoryEntry
    changes: list[Change]


def page(pool: Pool, model_id: UUID, cursor: str | None, limit: int, cursors: Cursors) -> History:
    """A page of the history. Raises `NotFound` where the model was never deployed, `Invalid`."""
    scope = f"history {model_id}"
    below: int | None = cursors.read(scope, cursor)[0] if cursor is not None else None
    entries, total = _entries(pool, model_id, below, limit + 1)
    if not total:
        raise never_deployed(model_id)
    more = len(entries) > limit
    entries = entries[:limit]
    return History(entries, cursors.write(scope, [entries[-1].revision]) if more else None, total)


def every(pool: Pool, model_id: UUID) -> Iterator[HistoryEntry]:
    """The whole history, newest first, read a part at a time. Raises `NotFound`."""
    below: int | None = None
    while True:
        entries, total = _entries(pool, model_id, below, _EXPORTED_AT_ONCE)
        if not total:
            raise never_deployed(model_id)
        yield from entries
        if len(entries) < _EXPORTED_AT_ONCE:
            return
        below = entries[-1].revision


def compare(pool: Pool, model_id: UUID, before: int, after: int) -> RevisionComparison:
    """Any two revisions side by side. Raises `NotFound`."""
    first, second = _entry(pool, model_id, before), _entry(pool, model_id, after)
    changed = changes(first.configuration, second.configuration)
    if first.model_version != second.model_version:
        changed = [Change("modelVersion", first.model_version, second.model_version), *changed]
    return RevisionComparison(first, second, changed)


def configuration_of(pool: Pool, model_id: UUID, revision: int | None) -> dict[str, Any]:
    """The configuration of a revision as events hold it; of the one wanted now where none is named.

    Raises `NotFound`.
    """
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT configuration FROM deployments.revisions WHERE model_id = %s "
            "AND revision = COALESCE(%s, (SELECT desired_revision FROM deployments.deployments "
            "WHERE model_id = %s))",
            (model_id, revision, model_id),
        ).fetchone()
    if row is None:
        raise never_deployed(model_id) if revision is None else _no_revision(revision)
    configuration: dict[str, Any] = row["configuration"]
    return configuration


def never_deployed(model_id: UUID) -> NotFound:
    """The refusal where there is no deployment."""
    return NotFound(f"The model {model_id} has never been deployed.", remedy="Deploy it first.")


def _no_revision(revision: int) -> NotFound:
    return NotFound(
        f"There is no revision {revision}.",
        remedy="Choose one that the history has.",
        field="revision",
    )


_ROWS: LiteralString = (
    "SELECT r.*, before.configuration AS configuration_before, "
    "before.model_version AS version_before, "
    "(SELECT count(*) FROM deployments.revisions WHERE model_id = r.model_id) AS total "
    "FROM deployments.revisions AS r LEFT JOIN deployments.revisions AS before "
    "ON before.model_id = r.model_id AND before.revision = r.revision - 1 "
    "WHERE r.model_id = %(model)s "
)


def _entries(
    pool: Pool, model_id: UUID, below: int | None, limit: int
) -> tuple[list[HistoryEntry], int]:
    """Revisions below the given one, newest first, and how many there are in all."""
    with pool.connection() as connection:
        rows = connection.execute(
            _ROWS + "AND (%(below)s::int IS NULL OR r.revision < %(below)s) "
            "ORDER BY r.revision DESC LIMIT %(limit)s",
            {"model": model_id, "below": below, "limit": limit},
        ).fetchall()
        scaled = _scalings(connection, model_id, [row["revision"] for row in rows])
    # A page behind the first one may be empty, and then the history is not.
    return [_told(row, scaled) for row in rows], rows[0]["total"] if rows else int(
        below is not None
    )


def _entry(pool: Pool, model_id: UUID, revision: int) -> HistoryEntry:
    with pool.connection() as connection:
        row = connection.execute(
            _ROWS + "AND r.revision = %(revision)s", {"model": model_id, "revision": revision}
        ).fetchone()
        scaled = _scalings(connection, model_id, [revision])
    if row is None:
        raise _no_revision(revision)
    return _told(row, scaled)


_Scalings = dict[int, list[ScalingDecision]]


def _scalings(connection: Connection[DictRow], model_id: UUID, revisions: list[int]) -> _Scalings:
    """The last decisions of each of these revisions, the newest first."""
    rows = connection.execute(
        "SELECT * FROM (SELECT *, row_number() OVER "
        "(PARTITION BY revision ORDER BY position DESC) AS number FROM deployments.scalings "
        "WHERE model_id = %s AND revision = ANY(%s)) AS s WHERE number <= %s "
        "ORDER BY position DESC",
        (model_id, revisions, _MOST_SCALINGS),
    )
    found: _Scalings = {}
    for row in rows:
        facts = {field: row[field] for field in ScalingDecision.__struct_fields__}
        found.setdefault(row["revision"], []).append(ScalingDecision(**facts))
    return found


def _told(row: DictRow, scaled: _Scalings) -> HistoryEntry:
    deployed_at: datetime | None = row["deployed_at"]
    configuration = from_domain(row["configuration"])
    changed: list[Change] = []
    if row["configuration_before"] is not None:
        changed = changes(from_domain(row["configuration_before"]), configuration)
        if row["version_before"] != row["model_version"]:
            version = Change("modelVersion", row["version_before"], row["model_version"])
            changed = [version, *changed]
    return HistoryEntry(
        revision=row["revision"],
        trigger=row["trigger"],
        actor=row["actor"],
        requested_at=row["requested_at"],
        model_version=row["model_version"],
        configuration=configuration,
        reason=row["reason"] or None,
        restored_revision=row["restored_revision"],
        outcome=row["outcome"],
        deployed_at=deployed_at,
        failed_at=row["failed_at"],
        retired_at=row["retired_at"],
        seconds=(deployed_at - row["requested_at"]).total_seconds() if deployed_at else None,
        phases=phases(row),
        failure=row["failure"],
        remedy=row["failure_remedy"],
        log_tail=row["log_tail"],
        changes=changed,
        scalings=scaled.get(row["revision"], []),
    )


def phases(row: DictRow) -> list[PhaseView]:
    """How long each phase took, from what was observed; phases that never began are left out."""
    found = _before_the_start(row)
    begun: datetime | None = row["prepared_at"] or row["started_at"]
    ready: datetime | None = row["ready_at"]
    deployed: datetime | None = row["deployed_at"]
    if begun is not None:
        found.append(_phase("starting", begun, ready, row))
    if ready is not None:
        found.append(_phase("switching", ready, deployed, row))
    if row["draining_at"] is not None:
        retired: datetime | None = row["retired_at"]
        seconds = _between(row["draining_at"], retired)
        found.append(PhaseView("draining", "running" if seconds is None else "done", seconds))
    return found


def _before_the_start(row: DictRow) -> list[PhaseView]:
    optimizing = _between(row["optimizing_at"], row["optimized_at"])
    conversion = (
        [_phase("optimizing", row["optimizing_at"], row["optimized_at"], row)]
        if row["optimizing_at"] is not None
        else []
    )
    if row["prepared_at"] is None:
        until = row["optimizing_at"] or row["started_at"]
        return [_phase("preparing", row["requested_at"], until, row), *conversion]
    environment, files = row["environment_seconds"], row["files_seconds"]
    within = optimizing if optimizing and row["optimized_at"] <= row["prepared_at"] else 0.0
    whole = (row["prepared_at"] - row["requested_at"]).total_seconds()
    # The worker measures by its own clock, the events by the database's.
    queued = max(0.0, round(whole - environment - files - within, 3))
    return [
        PhaseView("queued", "done", queued),
        PhaseView("environment", "done", environment),
        PhaseView("files", "done", files),
        *conversion,
    ]


def _phase(name: str, begun: datetime, ended: datetime | None, row: DictRow) -> PhaseView:
    if ended is not None:
        return PhaseView(name, "done", _between(begun, ended))
    if row["outcome"] == "failed":
        return PhaseView(name, "failed", _between(begun, row["failed_at"]))
    return PhaseView(name, "running" if row["outcome"] == "pending" else "done", None)


def _between(begun: datetime | None, ended: datetime | None) -> float | None:
    if begun is None or ended is None:
        return None
    return max(0.0, round((ended - begun).total_seconds(), 3))
