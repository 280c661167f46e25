"""A model's deployment: what is wanted, what is kept for later, and what serves."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import DictRow

from backend.infra.postgres import Pool
from backend.readmodels.actions import Actions, MayAct, Situation, actions_of
from backend.readmodels.configuration import Change, ConfigurationView, changes, from_domain
from backend.readmodels.deployment_history import never_deployed
from backend.readmodels.servable import obstacles

CONSUMER = "deployments"


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


class PendingView(msgspec.Struct, rename="camel", frozen=True):
    """A configuration that is kept and not deployed, and how it differs from what is wanted."""

    configuration: ConfigurationView
    changes: list[Change]
    saved_by: str
    saved_at: datetime
    reason: str | None


class DeploymentView(msgspec.Struct, rename="camel", frozen=True):
    """The deployment now. `endpoint` is null while nothing serves, `pending` where nothing was
    changed since.

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
    pending: PendingView | None
    endpoint: EndpointView | None
    replicas_wanted: int
    replicas_ready: int
    replicas: list[ReplicaView]
    failure: FailureView | None
    actions: Actions


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
            raise never_deployed(model_id)
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
        raise never_deployed(model_id)
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
        pending=_pending(row, from_domain(revision["configuration"])),
        endpoint=EndpointView(f"{gateway_url}/v1", row["model_name"])
        if serving is not None
        else None,
        replicas_wanted=counted["replicas_wanted"],
        replicas_ready=counted["ready"],
        replicas=[ReplicaView(**replica) for replica in replicas],
        failure=_failure(revision),
        actions=actions_of(situation, may),
    )


def _pending(row: DictRow, deployed: ConfigurationView) -> PendingView | None:
    if row["saved_configuration"] is None:
        return None
    saved = from_domain(row["saved_configuration"])
    return PendingView(
        configuration=saved,
        changes=changes(deployed, saved),
        saved_by=row["saved_by"],
        saved_at=row["saved_at"],
        reason=row["saved_reason"] or None,
    )


def _failure(revision: dict[str, Any]) -> FailureView | None:
    if revision["failed_at"] is None:
        return None
    return FailureView(revision["failure"], revision["failure_remedy"], revision["log_tail"] or [])
