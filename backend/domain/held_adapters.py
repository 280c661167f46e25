"""Adapters that are called by their names beside a running base model: part of a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from backend.domain.deployment_events import (
    AdapterLoaded,
    AdapterUnloaded,
    DeploymentEvent,
    DeploymentState,
)
from backend.domain.errors import NotAllowed, NotFound
from backend.domain.servable import Obstacle
from backend.domain.server import LOCAL

if TYPE_CHECKING:
    from backend.domain.deployment import Deployment

JSON = dict[str, Any]
MAX_ADAPTERS = 64
# Engines that hold adapters at all hold those of usual ranks.
_LEAST_RANK = 16
_COMING = frozenset({DeploymentState.OPTIMIZING, DeploymentState.DEPLOYING})


class AdapterLoadRequested(DeploymentEvent):
    TOPIC = "AdapterLoadRequested"
    adapter_model_id: UUID
    adapter_name: str
    adapter_version: str
    # The largest of its modules.
    rank: int

    def apply(self, aggregate: Deployment) -> None:
        key = str(self.adapter_model_id)
        aggregate.wanted_adapters[key] = {
            "name": self.adapter_name,
            "version": self.adapter_version,
            "rank": self.rank,
        }
        if key in aggregate.adapters:
            # What the engines hold still was taken back, or is another version's.
            aggregate.adapters[key] = None


class AdapterUnloadRequested(DeploymentEvent):
    TOPIC = "AdapterUnloadRequested"
    adapter_model_id: UUID
    adapter_name: str
    reason: str

    def apply(self, aggregate: Deployment) -> None:
        aggregate.wanted_adapters.pop(str(self.adapter_model_id), None)


def hosting_obstacle(configuration: JSON) -> Obstacle | None:
    """Why engines of this configuration hold no adapters beside their model, or None."""
    if configuration.get("engine", "vllm") != "vllm":
        return Obstacle(
            "Adapters are loaded by vLLM; the base model runs on another engine.",
            "Redeploy the base model with vLLM.",
        )
    server = configuration.get("hardware", {}).get("server", LOCAL)
    if server != LOCAL:
        # Their files would have to be brought to engines that Loggia does not start as processes.
        return Obstacle(
            f"Adapters are loaded on the deploy worker's own machine; the base model runs on "
            f"'{server}'.",
            f"Redeploy the base model on '{LOCAL}', or deploy the adapter as a model of its own.",
        )
    return None


class HoldsAdapters:
    """What a deployment decides about adapters beside its model.

    `wanted_adapters` holds name, version and rank by model id; `adapters` the versions of those
    that engines hold, None where it was asked for anew since; `adapter_ranks` the largest rank
    that each revision's engines hold.
    """

    state: DeploymentState
    desired_revision: int
    serving_revision: int | None
    revisions: dict[int, JSON]
    model_versions: dict[int, str]
    base_model_versions: dict[int, str | None]
    wanted_adapters: dict[str, JSON]
    adapters: dict[str, str | None]
    adapter_ranks: dict[int, int]

    if TYPE_CHECKING:

        def _record(self, event_class: type[Any], **facts: Any) -> None: ...

        def _request(
            self,
            *,
            trigger: str,
            configuration: JSON,
            model_version: str,
            base_model_version: str | None,
            reason: str,
        ) -> None: ...

    @property
    def hosting_revision(self) -> int:
        """The revision that adapters are loaded beside: the one that comes, else that serves."""
        if self.serving_revision is None or self.state in _COMING:
            return self.desired_revision
        return self.serving_revision

    def load_adapter(self, *, adapter_model_id: UUID, name: str, version: str, rank: int) -> None:
        """Asks for an adapter of this base model to be callable by its name beside it.

        Where the engines that run hold no adapter of this rank, a revision with the same
        configuration is asked for that does. Raises `NotAllowed`.
        """
        if self.serving_revision is None and self.state is not DeploymentState.DEPLOYING:
            raise NotAllowed(
                "The base model is not being served, so that no adapter can be loaded.",
                remedy="Deploy the base model first.",
            )
        revision = self.hosting_revision
        configuration = self.revisions[revision]
        hindered = hosting_obstacle(configuration)
        if hindered is not None:
            raise NotAllowed(hindered.reason, remedy=hindered.remedy)
        wanted = {"name": name, "version": version, "rank": rank}
        if self.wanted_adapters.get(str(adapter_model_id)) == wanted:
            return
        if len(self.wanted_adapters.keys() - {str(adapter_model_id)}) >= MAX_ADAPTERS:
            raise NotAllowed(
                f"{MAX_ADAPTERS} adapters are loaded already.", remedy="Unload one of them first."
            )
        self._record(
            AdapterLoadRequested,
            adapter_model_id=adapter_model_id,
            adapter_name=name,
            adapter_version=version,
            rank=rank,
        )
        if rank > self.adapter_ranks.get(revision, 0):
            self._request(
                trigger="adapters",
                configuration=configuration,
                model_version=self.model_versions[revision],
                base_model_version=self.base_model_versions[revision],
                reason=f"So that adapters up to the rank of '{name}' can be loaded.",
            )

    def unload_adapter(self, *, adapter_model_id: UUID, reason: str) -> None:
        """Asks for an adapter not to be callable beside this model any more.

        Raises `NotFound` where it is neither loaded nor asked for.
        """
        known = self.wanted_adapters.get(str(adapter_model_id))
        if known is None:
            if str(adapter_model_id) in self.adapters:
                return  # it is being unloaded
            raise NotFound("This adapter is not loaded.", remedy="Reload to see which are.")
        self._record(
            AdapterUnloadRequested,
            adapter_model_id=adapter_model_id,
            adapter_name=known["name"],
            reason=reason,
        )

    def record_adapter_loaded(
        self, *, revision: int, adapter_model_id: UUID, warnings: Sequence[str]
    ) -> None:
        """Every replica of the serving revision answers under the adapter's name."""
        wanted = self.wanted_adapters.get(str(adapter_model_id))
        if wanted is None or self.adapters.get(str(adapter_model_id)) == wanted["version"]:
            return
        self._record(
            AdapterLoaded,
            revision=revision,
            adapter_model_id=adapter_model_id,
            adapter_name=wanted["name"],
            adapter_version=wanted["version"],
            warnings=list(warnings),
        )

    def record_adapter_unloaded(
        self, *, revision: int, adapter_model_id: UUID, name: str, reason: str, failed: bool
    ) -> None:
        """No replica answers under the adapter's name; `failed` where it was wanted to."""
        key = str(adapter_model_id)
        if (key in self.wanted_adapters) is not failed:
            return  # asked for or taken back a moment ago
        if not failed and key not in self.adapters:
            return
        self._record(
            AdapterUnloaded,
            revision=revision,
            adapter_model_id=adapter_model_id,
            adapter_name=name,
            reason=reason,
        )

    def note_adapter_rank(self, revision: int) -> None:
        """The revision's engines hold the adapters that are wanted now, and others as large."""
        ranks = [int(adapter["rank"]) for adapter in self.wanted_adapters.values()]
        self.adapter_ranks[revision] = max([_LEAST_RANK, *ranks]) if ranks else 0
