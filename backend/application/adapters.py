"""Commands about adapters that are called beside their running base model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from backend.application.commands import Accepted, CommandContext, CommandRunner, Decision
from backend.application.store import InTransaction
from backend.domain.deployment import Deployment
from backend.domain.errors import Invalid, NotAllowed
from backend.domain.model import Model, ModelState
from backend.domain.servable import Imported, adapter_rank, obstacle


class Adapters:
    """Load and unload, and what the deploy worker observes of it."""

    def __init__(self, runner: CommandRunner) -> None:
        self._runner = runner
        self._store = runner.store

    def load(self, context: CommandContext, model_id: UUID, adapter_model_id: UUID) -> Accepted:
        """Makes the adapter's current version callable beside its base.

        Raises `Invalid` for what is no adapter of this model, `NotAllowed` where vLLM cannot load
        it or the base is not served.
        """

        def act(deployment: Deployment) -> None:
            base = self._store.load(Model, model_id)
            adapter = self._store.load(Model, adapter_model_id)
            if adapter.state is not ModelState.READY:
                raise NotAllowed(
                    f"'{adapter.name}' is {adapter.state.value.replace('_', ' ')}.",
                    remedy="Wait for the import, or retry it.",
                )
            version = adapter.require_ready("load")
            if version.base_model_id != model_id:
                raise Invalid(
                    f"'{adapter.name}' is no adapter of '{base.name}'.",
                    remedy="Choose an adapter that was imported for this base model.",
                    field="adapterId",
                )
            served = base.version_of(deployment.model_versions[deployment.hosting_revision])
            found = obstacle(
                Imported.from_card(adapter.kind, version.card),
                Imported.from_card("base", served.card),
                engine="vllm",
            )
            if found is not None:
                raise NotAllowed(
                    f"'{adapter.name}' cannot be loaded. {found.reason}", remedy=found.remedy
                )
            deployment.load_adapter(
                adapter_model_id=adapter_model_id,
                name=adapter.name,
                version=version.number,
                rank=adapter_rank(version.card),
            )

        return self._decide(context, model_id, act)

    def unload(
        self, context: CommandContext, model_id: UUID, adapter_model_id: UUID, *, reason: str = ""
    ) -> Accepted:
        """Ends calls of the adapter beside its base; its running requests are finished."""
        return self._decide(
            context,
            model_id,
            lambda d: d.unload_adapter(adapter_model_id=adapter_model_id, reason=reason),
        )

    def record_loaded(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        revision: int,
        adapter_model_id: UUID,
        warnings: Sequence[str],
        fence: InTransaction | None = None,
    ) -> Accepted:
        """Every replica of the serving revision has it."""
        return self._decide(
            context,
            model_id,
            lambda d: d.record_adapter_loaded(
                revision=revision, adapter_model_id=adapter_model_id, warnings=warnings
            ),
            fence,
        )

    def record_unloaded(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        revision: int,
        adapter_model_id: UUID,
        name: str,
        reason: str,
        failed: bool,
        fence: InTransaction | None = None,
    ) -> Accepted:
        """No replica has it, or one could not load it."""
        return self._decide(
            context,
            model_id,
            lambda d: d.record_adapter_unloaded(
                revision=revision,
                adapter_model_id=adapter_model_id,
                name=name,
                reason=reason,
                failed=failed,
            ),
            fence,
        )

    def _decide(
        self,
        context: CommandContext,
        model_id: UUID,
        act: Callable[[Deployment], None],
        fence: InTransaction | None = None,
    ) -> Accepted:
        def decide() -> Decision:
            self._store.load(Model, model_id)
            deployment = self._store.find(Deployment, Deployment.create_id(model_id))
            if deployment is None:
                raise NotAllowed("This model has never been deployed.", remedy="Deploy it first.")
            act(deployment)
            return Decision(
                [deployment],
                [fence] if fence else [],
                {"revision": deployment.desired_revision},
            )

        return self._runner.run(context, decide)
