"""A model's deployment: what is wanted, what serves, and every revision there was."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import DictRow

from backend.domain.errors import NotFound
from backend.infra.postgres import Pool
from backend.readmodels.actions import Actions, MayAct, Situation, actions_of
from backend.readmodels.configuration import Change, ConfigurationView, changes, from_domain
from backend.readmodels.servable import obstacles

CONSUMER = "deployments"
_MOST_SCALINGS = 50


class EndpointView(msgspec.Struct, rename="camel", frozen=True):
    """Where an OpenAI client points, and the model's name there."""

    base_url: str
    model: str


class ReplicaView(msgspec.Struct, rename="camel", frozen=True):
    """An engine process: `starting`, `ready` or `lost`; `warnings` say what is doubtful."""

    id: UUID
    revision: int
    state: str
    endpoint: str | None
    started_at: datetime | None
    warnings: list[str]


class FailureView(msgspec.Struct, rename="camel", frozen=True):
    """Why the wanted revision does not serve, with the engine's last words."""

    reason: str
    remedy: str
    log_tail: list[str]


class DeploymentView(msgspec.Struct, rename="camel", frozen=True):
    """The deployment now. `endpoint` is null while nothing serves.

    `replicas_wanted` and `replicas_ready` count those of the revision that serves or, where none
    does, of the one that is wanted.
    """

    id: UUID
    version: int
    state: str
    model_id: UUID
    desired_revision: int | None
    serving_revision: int | None
    configuration: ConfigurationView
    endpoint: EndpointView | None
    replicas_wanted: int
    replicas_ready: int
    replicas: list[ReplicaView]
    failure: FailureView | None
    actions: Actions


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
    configuration: ConfigurationView
    reason: str | None
    outcome: str
    deployed_at: datetime | None
    failed_at: datetime | None
    retired_at: datetime | None
    seconds: float | None
    failure: str | None
    log_tail: list[str] | None
    changes: list[Change]
    scalings: list[ScalingDecision]


class History(msgspec.Struct, rename="camel", frozen=True):
    """Every revision, newest first."""

    items: list[HistoryEntry]


def current(pool: Pool, model_id: UUID, *, gateway_url: str, may: MayAct) -> DeploymentView:
    """The model's deployment. Raises `NotFound` where it has never been deployed."""
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT d.*, m.name AS model_name, m.state AS model_state, m.publication, "
            "m.latest_state, m.retriable, m.kind, m.base_model_id, m.format, m.task, "
            "m.architecture, m.adapter FROM deployments.deployments AS d "
            "JOIN gallery.models AS m USING (model_id) WHERE d.model_id = %s",
            (model_id,),
        ).fetchone()
        if row is None:
            raise _never_deployed(model_id)
        hindered = obstacles(connection, [row])
        serving = row["serving_revision"]
        revision = connection.execute(
            "SELECT configuration, failure, failure_remedy, log_tail, failed_at "
            "FROM deployments.revisions WHERE model_id = %s AND revision = %s",
            (model_id, row["desired_revision"]),
        ).fetchone()
        counted = connection.execute(
            "SELECT replicas_wanted, (SELECT count(*) FROM deployments.replicas AS r "
            "WHERE r.model_id = v.model_id AND r.revision = v.revision AND r.state = 'ready') "
            "AS ready FROM deployments.revisions AS v WHERE model_id = %s AND revision = %s",
            (model_id, serving or row["desired_revision"]),
        ).fetchone()
        replicas = connection.execute(
            "SELECT replica_id AS id, revision, state, endpoint, started_at, warnings "
            "FROM deployments.replicas WHERE model_id = %s ORDER BY started_at",
            (model_id,),
        ).fetchall()
    if revision is None or counted is None:
        raise _never_deployed(model_id)
    situation = Situation(
        state=row["model_state"],
        latest_state=row["latest_state"],
        publication=row["publication"],
        deployment_state=row["state"],
        retriable=row["retriable"],
        obstacle=hindered.get(model_id),
    )
    return DeploymentView(
        id=row["deployment_id"],
        version=row["version"],
        state=row["state"],
        model_id=model_id,
        desired_revision=row["desired_revision"],
        serving_revision=serving,
        configuration=from_domain(revision["configuration"]),
        endpoint=EndpointView(f"{gateway_url}/v1", row["model_name"])
        if serving is not None
        else None,
        replicas_wanted=counted["replicas_wanted"],
        replicas_ready=counted["ready"],
        replicas=[ReplicaView(**replica) for replica in replicas],
        failure=_failure(revision),
        actions=actions_of(situation, may),
    )


def history(pool: Pool, model_id: UUID) -> History:
    """Every revision, newest first. Raises `NotFound` where the model was never deployed."""
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT * FROM deployments.revisions WHERE model_id = %s ORDER BY revision",
            (model_id,),
        ).fetchall()
        scaled = connection.execute(
            "SELECT revision, decided_at, from_replicas, to_replicas, running, waiting, "
            "sustained_seconds, reason FROM (SELECT *, row_number() OVER "
            "(PARTITION BY revision ORDER BY position DESC) AS number "
            "FROM deployments.scalings WHERE model_id = %s) AS s "
            "WHERE number <= %s ORDER BY position DESC",
            (model_id, _MOST_SCALINGS),
        ).fetchall()
    if not rows:
        raise _never_deployed(model_id)
    entries: list[HistoryEntry] = []
    before: ConfigurationView | None = None
    for row in rows:
        configuration = from_domain(row["configuration"])
        decisions = [_decision(taken) for taken in scaled if taken["revision"] == row["revision"]]
        entries.append(_entry(row, configuration, changes(before, configuration), decisions))
        before = configuration
    return History(entries[::-1])


def replica(pool: Pool, model_id: UUID, wanted: UUID | None) -> UUID | None:
    """The wanted replica if it is this model's, else the newest one. Raises `NotFound`."""
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT replica_id FROM deployments.replicas WHERE model_id = %(model)s "
            "AND (%(wanted)s::uuid IS NULL OR replica_id = %(wanted)s) "
            "ORDER BY started_at DESC LIMIT 1",
            {"model": model_id, "wanted": wanted},
        ).fetchone()
    if row is None and wanted is not None:
        raise NotFound(
            f"This model has no replica {wanted}.",
            remedy="Reload the deployment to see its replicas.",
            field="replica",
        )
    return row["replica_id"] if row else None


def _never_deployed(model_id: UUID) -> NotFound:
    return NotFound(f"The model {model_id} has never been deployed.", remedy="Deploy it first.")


def _failure(revision: dict[str, Any]) -> FailureView | None:
    if revision["failed_at"] is None:
        return None
    return FailureView(revision["failure"], revision["failure_remedy"], revision["log_tail"] or [])


def _decision(row: DictRow) -> ScalingDecision:
    return ScalingDecision(**{field: row[field] for field in ScalingDecision.__struct_fields__})


def _entry(
    row: DictRow,
    configuration: ConfigurationView,
    changed: list[Change],
    decisions: list[ScalingDecision],
) -> HistoryEntry:
    deployed_at: datetime | None = row["deployed_at"]
    return HistoryEntry(
        revision=row["revision"],
        trigger=row["trigger"],
        actor=row["actor"],
        requested_at=row["requested_at"],
        configuration=configuration,
        reason=row["reason"] or None,
        outcome=row["outcome"],
        deployed_at=deployed_at,
        failed_at=row["failed_at"],
        retired_at=row["retired_at"],
        seconds=(deployed_at - row["requested_at"]).total_seconds() if deployed_at else None,
        failure=row["failure"],
        log_tail=row["log_tail"],
        changes=changed,
        scalings=decisions,
    )
