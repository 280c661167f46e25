"""Deployments: what is wanted and what serves, every revision there was, replicas, API keys."""

from __future__ import annotations

from typing import Any

from backend.contracts.codec import PublicEvent, to_dict
from projections import held_adapters
from projections.tables import Fold, Handlers, Row, Rows, Table

DEPLOYMENTS = Table(
    name="deployments",
    columns={
        "model_id": "uuid",
        "deployment_id": "uuid NOT NULL",
        "version": "bigint NOT NULL",
        "state": "text NOT NULL",
        "desired_revision": "int",
        "serving_revision": "int",
        "terms_version": "text NOT NULL",
        "terms_sha256": "text NOT NULL",
        "terms_accepted_by": "text NOT NULL",
        "terms_accepted_at": "timestamptz NOT NULL",
        "updated_at": "timestamptz NOT NULL",
        "position": "bigint NOT NULL",
    },
    key=("model_id",),
)
REVISIONS = Table(
    name="revisions",
    columns={
        "model_id": "uuid",
        "revision": "int",
        "trigger": "text NOT NULL",
        "actor": "text NOT NULL",
        "requested_at": "timestamptz NOT NULL",
        "model_version": "text NOT NULL",
        "configuration": "jsonb NOT NULL",
        "replicas_wanted": "int NOT NULL",
        "reason": "text NOT NULL",
        "restored_revision": "int",
        # pending, deployed, failed or superseded.
        "outcome": "text NOT NULL",
        "started_at": "timestamptz",
        "ready_at": "timestamptz",
        "deployed_at": "timestamptz",
        "failed_at": "timestamptz",
        "retired_at": "timestamptz",
        "failure": "text",
        "failure_remedy": "text",
        "log_tail": "jsonb",
    },
    key=("model_id", "revision"),
)
REPLICAS = Table(
    name="replicas",
    columns={
        "model_id": "uuid",
        "replica_id": "uuid",
        "revision": "int NOT NULL",
        # starting, ready or lost.
        "state": "text NOT NULL",
        "server": "text NOT NULL",
        "engine": "text NOT NULL",
        "engine_version": "text NOT NULL",
        "endpoint": "text",
        "started_at": "timestamptz NOT NULL",
        "ready_at": "timestamptz",
        "startup_seconds": "double precision",
        # What is doubtful about it, in words.
        "warnings": "text[] NOT NULL",
    },
    key=("model_id", "replica_id"),
)
SCALINGS = Table(
    name="scalings",
    columns={
        "model_id": "uuid",
        "position": "bigint",
        "revision": "int NOT NULL",
        "decided_at": "timestamptz NOT NULL",
        "from_replicas": "int NOT NULL",
        "to_replicas": "int NOT NULL",
        # Requests at the gateway, and for how many seconds so many replicas had been needed.
        "running": "int NOT NULL",
        "waiting": "int NOT NULL",
        "sustained_seconds": "double precision NOT NULL",
        "reason": "text NOT NULL",
    },
    key=("model_id", "position"),
    group=None,
)
API_KEYS = Table(
    name="api_keys",
    columns={
        "model_id": "uuid",
        "key_id": "uuid",
        "name": "text NOT NULL",
        "prefix": "text NOT NULL",
        "created_at": "timestamptz NOT NULL",
        "created_by": "text NOT NULL",
        "expires_at": "timestamptz",
        "requests_per_minute": "int",
        "revoked_at": "timestamptz",
        "revoked_by": "text",
    },
    key=("model_id", "key_id"),
)
_ALL = (DEPLOYMENTS, REVISIONS, REPLICAS)


def _deployment(rows: Rows, event: PublicEvent) -> Row:
    row = rows.change(DEPLOYMENTS, event.partition_key)
    row["version"] = event.aggregate_version
    row["position"] = event.position
    row["updated_at"] = event.time.isoformat()
    return row


def _terms_accepted(rows: Rows, event: PublicEvent, facts: Any) -> None:
    if rows.find(DEPLOYMENTS, event.partition_key) is None:
        rows.insert(
            DEPLOYMENTS,
            {
                "model_id": facts.model_id,
                "deployment_id": facts.deployment_id,
                "state": "stopped",
                "desired_revision": None,
                "serving_revision": None,
            },
        )
    row = _deployment(rows, event)
    row.update(
        terms_version=facts.terms_version,
        terms_sha256=facts.terms_sha256,
        terms_accepted_by=event.actor,
        terms_accepted_at=row["updated_at"],
    )


def _requested(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = _deployment(rows, event)
    _supersede(rows, row)
    for replica in rows.of_group(REPLICAS, facts.model_id):
        if replica["state"] == "lost":
            rows.delete(REPLICAS, facts.model_id, replica["replica_id"])
    row.update(state="deploying", desired_revision=facts.revision)
    rows.insert(
        REVISIONS,
        {
            "model_id": facts.model_id,
            "revision": facts.revision,
            "trigger": facts.trigger,
            "actor": event.actor,
            "requested_at": row["updated_at"],
            "model_version": facts.model_version,
            "configuration": to_dict(facts.configuration),
            "replicas_wanted": _wanted_at_first(rows, row, facts.configuration.scaling),
            "reason": facts.reason,
            "restored_revision": facts.restored_revision
            if facts.HasField("restored_revision")
            else None,
            "outcome": "pending",
        },
    )


def _wanted_at_first(rows: Rows, deployment: Row, scaling: Any) -> int:
    """At least one, which must prove the revision, and as many as serve now, within the bounds."""
    before, least, most = 0, int(scaling.min_replicas), int(scaling.max_replicas)
    if deployment["serving_revision"] is not None:
        served = rows.change(REVISIONS, deployment["model_id"], deployment["serving_revision"])
        before = served["replicas_wanted"]
    return max(1, least, min(before, most))


def _supersede(rows: Rows, deployment: Row) -> None:
    """The revision that was wanted until now and did not come to serve is not wanted any more."""
    if deployment["desired_revision"] is None:
        return
    before = rows.change(REVISIONS, deployment["model_id"], deployment["desired_revision"])
    if before["outcome"] == "pending":
        before["outcome"] = "superseded"


def _replica_started(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = _deployment(rows, event)
    for replica in rows.of_group(REPLICAS, facts.model_id):
        if replica["state"] == "lost" and replica["revision"] == facts.revision:
            rows.delete(REPLICAS, facts.model_id, replica["replica_id"])
    rows.insert(
        REPLICAS,
        {
            "model_id": facts.model_id,
            "replica_id": facts.replica_id,
            "revision": facts.revision,
            "state": "starting",
            "server": facts.server,
            "engine": facts.engine,
            "engine_version": facts.engine_version,
            "started_at": row["updated_at"],
            "warnings": [],
        },
    )
    revision = rows.change(REVISIONS, facts.model_id, facts.revision)
    if revision.get("started_at") is None:
        revision["started_at"] = row["updated_at"]


def _replica_ready(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = _deployment(rows, event)
    replica = rows.find(REPLICAS, facts.model_id, facts.replica_id)
    if replica is not None:
        replica.update(
            state="ready",
            endpoint=facts.endpoint,
            startup_seconds=facts.startup_seconds,
            ready_at=row["updated_at"],
            warnings=list(facts.warnings),
        )
    revision = rows.change(REVISIONS, facts.model_id, facts.revision)
    if revision.get("ready_at") is None:
        revision["ready_at"] = row["updated_at"]


def _replica_lost(rows: Rows, event: PublicEvent, facts: Any) -> None:
    _deployment(rows, event)
    replica = rows.find(REPLICAS, facts.model_id, facts.replica_id)
    if replica is not None:
        replica.update(state="lost", endpoint=None)


def _replica_retired(rows: Rows, event: PublicEvent, facts: Any) -> None:
    _deployment(rows, event)
    if rows.find(REPLICAS, facts.model_id, facts.replica_id) is not None:
        rows.delete(REPLICAS, facts.model_id, facts.replica_id)


def _scaled(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = _deployment(rows, event)
    rows.change(REVISIONS, facts.model_id, facts.revision)["replicas_wanted"] = facts.to_replicas
    rows.insert(
        SCALINGS,
        {
            "model_id": facts.model_id,
            "position": event.position,
            "revision": facts.revision,
            "decided_at": row["updated_at"],
            "from_replicas": facts.from_replicas,
            "to_replicas": facts.to_replicas,
            "running": facts.running,
            "waiting": facts.waiting,
            "sustained_seconds": facts.sustained_seconds,
            "reason": facts.reason,
        },
    )


def _revision_deployed(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = _deployment(rows, event)
    row["serving_revision"] = facts.revision
    if row["desired_revision"] == facts.revision:
        row["state"] = "deployed"
    rows.change(REVISIONS, facts.model_id, facts.revision).update(
        outcome="deployed", deployed_at=row["updated_at"]
    )


def _revision_failed(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = _deployment(rows, event)
    if row["desired_revision"] == facts.revision:
        row["state"] = "failed"
    if row["serving_revision"] == facts.revision:
        row["serving_revision"] = None
    rows.change(REVISIONS, facts.model_id, facts.revision).update(
        outcome="failed",
        failed_at=row["updated_at"],
        failure=facts.reason,
        failure_remedy=facts.remedy,
        log_tail=list(facts.log_tail),
    )
    for replica in rows.of_group(REPLICAS, facts.model_id):
        if replica["revision"] == facts.revision:
            rows.change(REPLICAS, facts.model_id, replica["replica_id"]).update(
                state="lost", endpoint=None
            )


def _revision_retired(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = _deployment(rows, event)
    rows.change(REVISIONS, facts.model_id, facts.revision)["retired_at"] = row["updated_at"]
    for replica in rows.of_group(REPLICAS, facts.model_id):
        if replica["revision"] == facts.revision:
            rows.delete(REPLICAS, facts.model_id, replica["replica_id"])


def _stop_requested(rows: Rows, event: PublicEvent, _facts: Any) -> None:
    row = _deployment(rows, event)
    _supersede(rows, row)
    row["state"] = "stopping"


def _stopped(rows: Rows, event: PublicEvent, facts: Any) -> None:
    row = _deployment(rows, event)
    served = row["serving_revision"]
    if served is not None:
        rows.change(REVISIONS, facts.model_id, served)["retired_at"] = row["updated_at"]
    row.update(state="stopped", serving_revision=None)
    for replica in rows.of_group(REPLICAS, facts.model_id):
        rows.delete(REPLICAS, facts.model_id, replica["replica_id"])
    held_adapters.stop(rows, facts.model_id)


def _key_created(rows: Rows, event: PublicEvent, facts: Any) -> None:
    rows.insert(
        API_KEYS,
        {
            "model_id": facts.model_id,
            "key_id": facts.key_id,
            "name": facts.name,
            "prefix": facts.prefix,
            "created_at": event.time.isoformat(),
            "created_by": event.actor,
            "expires_at": to_dict(facts)["expires_at"],
            "requests_per_minute": facts.requests_per_minute
            if facts.HasField("requests_per_minute")
            else None,
        },
    )


def _key_revoked(rows: Rows, event: PublicEvent, facts: Any) -> None:
    rows.change(API_KEYS, facts.model_id, facts.key_id).update(
        revoked_at=event.time.isoformat(), revoked_by=event.actor
    )


DEPLOYMENT_HISTORY = Handlers(
    name="deployments",
    description="Deployments with every revision, replicas and API keys",
    tables=(*_ALL, SCALINGS, held_adapters.ADAPTERS, API_KEYS),
    folds={
        "TermsAccepted": Fold(_terms_accepted, (DEPLOYMENTS,)),
        "DeploymentRequested": Fold(_requested, _ALL),
        "ReplicaStarted": Fold(_replica_started, _ALL),
        "ReplicaReady": Fold(_replica_ready, _ALL),
        "ReplicaLost": Fold(_replica_lost, _ALL),
        "ReplicaRetired": Fold(_replica_retired, _ALL),
        "DeploymentScaled": Fold(_scaled, _ALL),
        "RevisionDeployed": Fold(_revision_deployed, _ALL),
        "RevisionFailed": Fold(_revision_failed, _ALL),
        "RevisionRetired": Fold(_revision_retired, _ALL),
        "DeploymentStopRequested": Fold(_stop_requested, _ALL),
        "DeploymentStopped": Fold(_stopped, (*_ALL, held_adapters.ADAPTERS)),
        **held_adapters.folds(_deployment, DEPLOYMENTS),
        "ApiKeyCreated": Fold(_key_created, ()),
        "ApiKeyRevoked": Fold(_key_revoked, (API_KEYS,)),
    },
)
