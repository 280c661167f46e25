"""What the worker observed, as commands. Repeating one writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid5

from backend.application.adapters import Adapters
from backend.application.commands import CommandContext
from backend.application.deployments import Deployments
from backend.domain.configuration import Optimization
from workers.serving.autoscaler import Decision
from workers.serving.optimization.artefacts import Artefact
from workers.serving.preparation import Prepared
from workers.serving.replicas import Replica
from workers.serving.targets import Lease, fence

ACTOR = "worker:deploy"


class Records:
    """Writes observations about one deployment under its lease."""

    def __init__(self, deployments: Deployments, adapters: Adapters) -> None:
        self._deployments = deployments
        self._adapters = adapters

    def revision_prepared(self, lease: Lease, revision: int, prepared: Prepared) -> None:
        """The revision's environment and files are in place."""
        self._deployments.record_revision_prepared(
            self._context(lease, uuid5(lease.deployment_id, f"{revision}:prepared")),
            lease.model_id,
            revision=revision,
            environment_seconds=prepared.environment_seconds,
            files_seconds=prepared.files_seconds,
            fence=fence(lease),
        )

    def optimization_started(self, lease: Lease, revision: int, optimization: Optimization) -> None:
        """The revision's model is being converted."""
        self._deployments.record_optimization_started(
            self._context(lease, uuid5(lease.deployment_id, f"{revision}:optimizing")),
            lease.model_id,
            revision=revision,
            method=optimization.method,
            quantization=optimization.quantization,
            fence=fence(lease),
        )

    def optimization_finished(
        self,
        lease: Lease,
        revision: int,
        optimization: Optimization,
        artefact: Artefact,
        *,
        size_before_bytes: int,
        checks: Sequence[dict[str, Any]],
    ) -> None:
        """The converted files are stored."""
        key = f"{revision}:optimized:{artefact.manifest_sha256}"
        self._deployments.record_optimization_finished(
            self._context(lease, uuid5(lease.deployment_id, key)),
            lease.model_id,
            revision=revision,
            method=optimization.method,
            quantization=optimization.quantization,
            artefact_sha256=artefact.manifest_sha256,
            size_before_bytes=size_before_bytes,
            size_after_bytes=artefact.total_bytes,
            reused=artefact.reused,
            checks=checks,
            fence=fence(lease),
        )

    def replica_started(
        self,
        lease: Lease,
        replica: Replica,
        *,
        server: str,
        engine: str,
        engine_version: str,
        devices: Sequence[str],
    ) -> None:
        """The replica has been brought into being on the server of this public name."""
        self._deployments.record_replica_started(
            self._context(lease, uuid5(replica.id, "started")),
            lease.model_id,
            revision=replica.revision,
            replica_id=replica.id,
            server=server,
            engine=engine,
            engine_version=engine_version,
            devices=devices,
            fence=fence(lease),
        )

    def replica_ready(self, lease: Lease, replica: Replica, *, warnings: Sequence[str]) -> None:
        """The replica does what it is for; `warnings` say what is doubtful about it."""
        self._deployments.record_replica_ready(
            self._context(lease, uuid5(replica.id, "ready")),
            lease.model_id,
            revision=replica.revision,
            replica_id=replica.id,
            endpoint=replica.endpoint,
            startup_seconds=round(replica.age, 3),
            warnings=warnings,
            fence=fence(lease),
        )

    def replica_lost(
        self,
        lease: Lease,
        replica: Replica,
        *,
        reason: str,
        exit_code: int | None,
        log_tail: Sequence[str],
    ) -> None:
        """The replica has gone without being asked to."""
        self._deployments.record_replica_lost(
            self._context(lease, uuid5(replica.id, "lost")),
            lease.model_id,
            revision=replica.revision,
            replica_id=replica.id,
            reason=reason,
            exit_code=exit_code,
            log_tail=log_tail,
            fence=fence(lease),
        )

    def scaled(self, lease: Lease, revision: int, decision: Decision) -> None:
        """Another number of replicas is wanted. Raises `NotAllowed` where it does not serve."""
        # A number may be wanted many times; the deployment itself tells a repetition.
        self._deployments.scale(
            self._context(lease, None),
            lease.model_id,
            revision=revision,
            replicas=decision.replicas,
            running=decision.running,
            waiting=decision.waiting,
            sustained_seconds=decision.sustained_seconds,
            reason=decision.reason,
            fence=fence(lease),
        )

    def replica_retired(self, lease: Lease, replica: Replica, *, reason: str) -> None:
        """The replica gets no new requests."""
        self._deployments.retire_replica(
            self._context(lease, uuid5(replica.id, "retired")),
            lease.model_id,
            revision=replica.revision,
            replica_id=replica.id,
            reason=reason,
            fence=fence(lease),
        )

    def revision_deployed(self, lease: Lease, revision: int) -> None:
        """All replicas of the revision answer. Raises `NotAllowed` where it is superseded."""
        self._deployments.record_revision_deployed(
            self._context(lease, uuid5(lease.deployment_id, f"{revision}:deployed")),
            lease.model_id,
            revision=revision,
            fence=fence(lease),
        )

    def revision_failed(
        self, lease: Lease, revision: int, *, reason: str, remedy: str, log_tail: Sequence[str]
    ) -> None:
        """The revision will not serve."""
        self._deployments.record_revision_failed(
            self._context(lease, uuid5(lease.deployment_id, f"{revision}:failed")),
            lease.model_id,
            revision=revision,
            reason=reason,
            remedy=remedy,
            log_tail=log_tail,
            fence=fence(lease),
        )

    def revision_retired(self, lease: Lease, revision: int) -> None:
        """The revision's replicas have ended after it was replaced."""
        self._deployments.record_revision_retired(
            self._context(lease, uuid5(lease.deployment_id, f"{revision}:retired")),
            lease.model_id,
            revision=revision,
            fence=fence(lease),
        )

    def adapter_loaded(
        self, lease: Lease, revision: int, adapter_model_id: UUID, *, warnings: Sequence[str]
    ) -> None:
        """Every replica of the revision answers under its name. Its state tells a repetition."""
        self._adapters.record_loaded(
            self._context(lease, None),
            lease.model_id,
            revision=revision,
            adapter_model_id=adapter_model_id,
            warnings=warnings,
            fence=fence(lease),
        )

    def adapter_unloaded(
        self,
        lease: Lease,
        revision: int,
        adapter_model_id: UUID,
        *,
        name: str,
        reason: str,
        failed: bool,
    ) -> None:
        """No replica answers under its name any more, or one could not be made to."""
        self._adapters.record_unloaded(
            self._context(lease, None),
            lease.model_id,
            revision=revision,
            adapter_model_id=adapter_model_id,
            name=name,
            reason=reason,
            failed=failed,
            fence=fence(lease),
        )

    def stopped(self, lease: Lease) -> None:
        """Nothing runs any more."""
        # A deployment stops many times; its state alone tells a repetition.
        self._deployments.record_stopped(
            self._context(lease, None), lease.model_id, fence=fence(lease)
        )

    @staticmethod
    def _context(lease: Lease, key: UUID | None) -> CommandContext:
        return CommandContext(
            actor=ACTOR,
            correlation_id=lease.correlation_id,
            causation_id=lease.event_id,
            idempotency_key=str(key) if key else None,
        )
