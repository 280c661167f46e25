"""What deploy workers observe, as commands. Repeating one writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from backend.application.commands import Accepted, CommandContext, CommandRunner, Decision
from backend.application.store import InTransaction
from backend.domain.deployment import Deployment
from backend.domain.errors import NotAllowed
from backend.domain.model import Model


class DeploymentRecords:
    """The worker's records about deployments that somebody has asked for."""

    def __init__(self, runner: CommandRunner) -> None:
        self._runner = runner
        self._store = runner.store

    def record_revision_prepared(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        revision: int,
        environment_seconds: float,
        files_seconds: float,
        fence: InTransaction | None = None,
    ) -> Accepted:
        """Environment and files are in place, and how long each took."""
        return self._decide(
            context,
            model_id,
            lambda d: d.record_revision_prepared(
                revision=revision,
                environment_seconds=environment_seconds,
                files_seconds=files_seconds,
            ),
            fence,
        )

    def record_optimization_started(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        revision: int,
        method: str,
        quantization: str | None,
        fence: InTransaction | None = None,
    ) -> Accepted:
        """The model's files are being converted."""
        return self._decide(
            context,
            model_id,
            lambda d: d.record_optimization_started(
                revision=revision, method=method, quantization=quantization
            ),
            fence,
        )

    def record_optimization_finished(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        revision: int,
        method: str,
        quantization: str | None,
        artefact_sha256: str,
        size_before_bytes: int,
        size_after_bytes: int,
        reused: bool,
        checks: Sequence[dict[str, Any]],
        fence: InTransaction | None = None,
    ) -> Accepted:
        """The converted files are stored."""
        return self._decide(
            context,
            model_id,
            lambda d: d.record_optimization_finished(
                revision=revision,
                method=method,
                quantization=quantization,
                artefact_sha256=artefact_sha256,
                size_before_bytes=size_before_bytes,
                size_after_bytes=size_after_bytes,
                reused=reused,
                checks=checks,
            ),
            fence,
        )

    def record_replica_started(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        revision: int,
        replica_id: UUID,
        server: str,
        engine: str,
        engine_version: str,
        devices: Sequence[str] = (),
        fence: InTransaction | None = None,
    ) -> Accepted:
        """An engine has been started, on these GPUs."""
        return self._decide(
            context,
            model_id,
            lambda d: d.record_replica_started(
                revision=revision,
                replica_id=replica_id,
                server=server,
                engine=engine,
                engine_version=engine_version,
                devices=devices,
            ),
            fence,
        )

    def record_replica_ready(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        revision: int,
        replica_id: UUID,
        endpoint: str,
        startup_seconds: float,
        warnings: Sequence[str] = (),
        fence: InTransaction | None = None,
    ) -> Accepted:
        """The engine has answered at the endpoint; `warnings` say what is doubtful about it."""
        return self._decide(
            context,
            model_id,
            lambda d: d.record_replica_ready(
                revision=revision,
                replica_id=replica_id,
                endpoint=endpoint,
                startup_seconds=startup_seconds,
                warnings=warnings,
            ),
            fence,
        )

    def record_replica_lost(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        revision: int,
        replica_id: UUID,
        reason: str,
        exit_code: int | None,
        log_tail: Sequence[str],
        fence: InTransaction | None = None,
    ) -> Accepted:
        """The engine ended without being asked to."""
        return self._decide(
            context,
            model_id,
            lambda d: d.record_replica_lost(
                revision=revision,
                replica_id=replica_id,
                reason=reason,
                exit_code=exit_code,
                log_tail=list(log_tail),
            ),
            fence,
        )

    def scale(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        revision: int,
        replicas: int,
        running: int,
        waiting: int,
        sustained_seconds: float,
        reason: str,
        fence: InTransaction | None = None,
    ) -> Accepted:
        """Another number of replicas is wanted. Raises `NotAllowed` where it does not serve."""
        return self._decide(
            context,
            model_id,
            lambda d: d.scale(
                revision=revision,
                replicas=replicas,
                running=running,
                waiting=waiting,
                sustained_seconds=sustained_seconds,
                reason=reason,
            ),
            fence,
        )

    def retire_replica(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        revision: int,
        replica_id: UUID,
        reason: str,
        fence: InTransaction | None = None,
    ) -> Accepted:
        """The replica gets no new requests from now on."""
        return self._decide(
            context,
            model_id,
            lambda d: d.retire_replica(revision=revision, replica_id=replica_id, reason=reason),
            fence,
        )

    def record_revision_deployed(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        revision: int,
        fence: InTransaction | None = None,
    ) -> Accepted:
        """Traffic goes to the revision from now on. Raises `NotAllowed` where it is superseded."""
        return self._decide(
            context, model_id, lambda d: d.record_revision_deployed(revision=revision), fence
        )

    def record_revision_failed(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        revision: int,
        reason: str,
        remedy: str,
        log_tail: Sequence[str],
        fence: InTransaction | None = None,
    ) -> Accepted:
        """The revision will not serve."""
        return self._decide(
            context,
            model_id,
            lambda d: d.record_revision_failed(
                revision=revision, reason=reason, remedy=remedy, log_tail=list(log_tail)
            ),
            fence,
        )

    def record_revision_retired(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        revision: int,
        fence: InTransaction | None = None,
    ) -> Accepted:
        """A replaced revision has ended."""
        return self._decide(
            context, model_id, lambda d: d.record_revision_retired(revision=revision), fence
        )

    def record_stopped(
        self, context: CommandContext, model_id: UUID, *, fence: InTransaction | None = None
    ) -> Accepted:
        """No replica runs any more."""
        return self._decide(context, model_id, Deployment.record_stopped, fence)

    def _decide(
        self,
        context: CommandContext,
        model_id: UUID,
        act: Callable[[Deployment], dict[str, Any] | None],
        fence: InTransaction | None = None,
    ) -> Accepted:
        def decide() -> Decision:
            self._store.load(Model, model_id)
            deployment = self._store.find(Deployment, Deployment.create_id(model_id))
            if deployment is None:
                raise NotAllowed("This model has never been deployed.", remedy="Deploy it first.")
            result = act(deployment) or {}
            return Decision([deployment], [fence] if fence else [], result)

        return self._runner.run(context, decide)
