"""Commands about deployments: what people ask for, and what the deploy worker observes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from backend.application import terms
from backend.application.commands import Accepted, CommandContext, CommandRunner, Decision
from backend.application.engine_facts import EngineFactsTable
from backend.application.store import InTransaction
from backend.domain.configuration import DeployConfiguration
from backend.domain.deployment import Deployment
from backend.domain.errors import Invalid, NotAllowed
from backend.domain.model import Model, ModelState
from backend.domain.servable import ENGINES, Imported, obstacle
from backend.domain.version import Version


class Deployments:
    """Deploy, redeploy, roll back, start and stop; and the worker's records."""

    def __init__(self, runner: CommandRunner, engines: EngineFactsTable | None = None) -> None:
        """`engines` tells what installed engines know; without it the deploy worker finds out."""
        self._runner = runner
        self._store = runner.store
        self._engines = engines

    def request(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        configuration: dict[str, Any],
        terms_version: str,
        terms_accepted: bool,
        reason: str = "",
    ) -> Accepted:
        """Deploys or redeploys a model's current version with a complete configuration.

        Raises `Invalid` for the configuration or the terms, `NotAllowed` for the model's state and
        where no engine can serve it.
        The expected version is the deployment's, 0 where there is none yet.
        """

        def decide() -> Decision:
            wanted = DeployConfiguration.from_dict(configuration)
            if self._engines is not None:
                self._engines.check(wanted)
            version, base = self._current(model_id, wanted)
            if not terms_accepted or terms_version != terms.VERSION:
                raise Invalid(
                    f"The terms of version {terms.VERSION} have not been accepted.",
                    remedy="Read the terms and accept them.",
                    field="terms",
                )
            deployment = self._store.find(Deployment, Deployment.create_id(model_id))
            if deployment is None:
                deployment = Deployment.begin(
                    model_id=model_id, terms_version=terms.VERSION, terms_sha256=terms.SHA256
                )
            else:
                deployment.accept_terms(terms_version=terms.VERSION, terms_sha256=terms.SHA256)
            deployment.request(
                configuration=wanted,
                model_version=version.number,
                base_model_version=base.number if base else None,
                reason=reason.strip(),
            )
            return Decision([deployment], result={"revision": deployment.desired_revision})

        return self._runner.run(context, decide)

    def roll_back(
        self, context: CommandContext, model_id: UUID, *, revision: int, reason: str
    ) -> Accepted:
        """Restores an earlier revision's configuration and model version as a new revision."""

        def act(deployment: Deployment) -> dict[str, Any]:
            self._require_servable(model_id, deployment, revision)
            deployment.roll_back(revision=revision, reason=reason)
            return {"revision": deployment.desired_revision}

        return self._decide(context, model_id, act)

    def start(self, context: CommandContext, model_id: UUID) -> Accepted:
        """Serves again what was stopped."""

        def act(deployment: Deployment) -> dict[str, Any]:
            self._require_servable(model_id, deployment, deployment.desired_revision)
            deployment.start()
            return {"revision": deployment.desired_revision}

        return self._decide(context, model_id, act)

    def stop(self, context: CommandContext, model_id: UUID, *, reason: str = "") -> Accepted:
        """Ends serving once running requests are finished."""
        return self._decide(context, model_id, lambda d: d.stop(reason=reason))

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
        fence: InTransaction | None = None,
    ) -> Accepted:
        """An engine has been started."""
        return self._decide(
            context,
            model_id,
            lambda d: d.record_replica_started(
                revision=revision,
                replica_id=replica_id,
                server=server,
                engine=engine,
                engine_version=engine_version,
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

    def _current(
        self, model_id: UUID, wanted: DeployConfiguration
    ) -> tuple[Version, Version | None]:
        """What is deployed now, and an adapter's base. Raises `NotAllowed`."""
        model = self._ready(model_id)
        version = model.require_ready("deploy")
        return version, self._check_servable(model, version, None, wanted)

    def _require_servable(self, model_id: UUID, deployment: Deployment, revision: int) -> None:
        """Raises `NotAllowed` where what the revision served cannot be served any more."""
        model = self._ready(model_id)
        number = deployment.model_versions.get(revision)
        if number is not None:
            base_number = deployment.base_model_versions.get(revision)
            served = DeployConfiguration.from_dict(deployment.revisions[revision])
            self._check_servable(model, model.version_of(number), base_number, served)

    def _ready(self, model_id: UUID) -> Model:
        model = self._store.load(Model, model_id)
        if model.state is not ModelState.READY:
            raise NotAllowed(
                f"'{model.name}' is {model.state.value.replace('_', ' ')}; "
                "only a model that is ready to deploy can be deployed.",
                remedy="Wait for the import, or retry it.",
            )
        return model

    def _check_servable(
        self,
        model: Model,
        version: Version,
        base_number: str | None,
        configuration: DeployConfiguration,
    ) -> Version | None:
        """The base's version, the current one unless named. Raises `NotAllowed`."""
        base: Version | None = None
        if version.base_model_id is not None:
            owner = self._store.find(Model, version.base_model_id)
            if owner is not None and not owner.deleted:
                base = owner.base_version(base_number)
        found = obstacle(
            Imported.from_card(model.kind, version.card),
            Imported.from_card("base", base.card) if base else None,
            engine=configuration.engine,
            method=configuration.optimization.method,
            offered=self._engines.offered() if self._engines is not None else ENGINES,
        )
        if found is not None:
            raise NotAllowed(
                f"'{model.name}' cannot be deployed. {found.reason}", remedy=found.remedy
            )
        return base

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
