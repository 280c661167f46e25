"""The events of a deployment: what each changes about the aggregate."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from backend.domain.configuration import completed
from backend.domain.events import Aggregate

if TYPE_CHECKING:
    from backend.domain.deployment import Deployment

JSON = dict[str, Any]


class DeploymentState(StrEnum):
    """What the deployment is doing."""

    OPTIMIZING = "optimizing"
    DEPLOYING = "deploying"
    DEPLOYED = "deployed"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


class DeploymentEvent(Aggregate.Event):
    """An event about a deployment."""

    deployment_id: UUID
    model_id: UUID


class Created(Aggregate.Created):
    TOPIC = "TermsAccepted"
    deployment_id: UUID
    model_id: UUID
    terms_version: str
    terms_sha256: str


class TermsAccepted(DeploymentEvent):
    TOPIC = "TermsAcceptedAgain"
    terms_version: str
    terms_sha256: str

    def apply(self, aggregate: Deployment) -> None:
        aggregate.terms_version = self.terms_version


class Requested(DeploymentEvent):
    TOPIC = "DeploymentRequested"
    class_version = 2
    revision: int
    trigger: str
    model_version: str
    # Of an adapter's base model; None for others.
    base_model_version: str | None
    configuration: JSON
    reason: str
    restored_revision: int | None

    def apply(self, aggregate: Deployment) -> None:
        configuration = completed(self.configuration)
        converts = configuration["optimization"]["method"] == "ctranslate2"
        aggregate.state = DeploymentState.OPTIMIZING if converts else DeploymentState.DEPLOYING
        aggregate.desired_revision = self.revision
        aggregate.revisions[self.revision] = configuration
        aggregate.model_versions[self.revision] = self.model_version
        aggregate.base_model_versions[self.revision] = self.base_model_version
        if self.trigger in {"deploy", "redeploy"}:
            aggregate.saved_configuration = None
        aggregate.note_adapter_rank(self.revision)
        # One replica at least must prove the revision, and it must bear what the one before bears.
        before = aggregate.wanted_replicas.get(aggregate.serving_revision or 0, 0)
        scaling = configuration["scaling"]
        least, most = scaling["min_replicas"], scaling["max_replicas"]
        aggregate.wanted_replicas[self.revision] = max(1, least, min(before, most))

    @staticmethod
    def upcast_v1_v2(state: JSON) -> None:
        """Version 1 served no adapters."""
        state["base_model_version"] = None


class ReplicaStarted(DeploymentEvent):
    TOPIC = "ReplicaStarted"
    class_version = 2
    revision: int
    replica_id: UUID
    server: str
    engine: str
    engine_version: str
    # The GPUs that it was given, by name and with their index before it where it is known.
    devices: list[str]

    @staticmethod
    def upcast_v1_v2(state: JSON) -> None:
        """Version 1 did not say."""
        state["devices"] = []

    def apply(self, aggregate: Deployment) -> None:
        aggregate.replicas[str(self.replica_id)] = "started"


class ReplicaReady(DeploymentEvent):
    TOPIC = "ReplicaReady"
    class_version = 2
    revision: int
    replica_id: UUID
    endpoint: str
    startup_seconds: float
    # What is doubtful about it, for people.
    warnings: list[str]

    @staticmethod
    def upcast_v1_v2(state: JSON) -> None:
        """Version 1 doubted nothing."""
        state["warnings"] = []

    def apply(self, aggregate: Deployment) -> None:
        aggregate.replicas[str(self.replica_id)] = self.endpoint


class ReplicaLost(DeploymentEvent):
    TOPIC = "ReplicaLost"
    revision: int
    replica_id: UUID
    reason: str
    exit_code: int | None
    log_tail: list[str]

    def apply(self, aggregate: Deployment) -> None:
        aggregate.replicas.pop(str(self.replica_id), None)


class RevisionDeployed(DeploymentEvent):
    TOPIC = "RevisionDeployed"
    revision: int
    replaced_revision: int | None

    def apply(self, aggregate: Deployment) -> None:
        aggregate.serving_revision = self.revision
        if aggregate.desired_revision == self.revision:
            aggregate.state = DeploymentState.DEPLOYED


class RevisionFailed(DeploymentEvent):
    TOPIC = "RevisionFailed"
    revision: int
    reason: str
    remedy: str
    log_tail: list[str]
    serving_revision: int | None

    def apply(self, aggregate: Deployment) -> None:
        aggregate.failed_revisions.append(self.revision)
        if aggregate.desired_revision == self.revision:
            aggregate.state = DeploymentState.FAILED
        if aggregate.serving_revision == self.revision:
            aggregate.serving_revision = None


class RevisionRetired(DeploymentEvent):
    TOPIC = "RevisionRetired"
    revision: int

    def apply(self, aggregate: Deployment) -> None:
        aggregate.retired_revisions.append(self.revision)


class StopRequested(DeploymentEvent):
    TOPIC = "DeploymentStopRequested"
    reason: str

    def apply(self, aggregate: Deployment) -> None:
        aggregate.state = DeploymentState.STOPPING


class Stopped(DeploymentEvent):
    TOPIC = "DeploymentStopped"

    def apply(self, aggregate: Deployment) -> None:
        aggregate.state = DeploymentState.STOPPED
        aggregate.serving_revision = None
        aggregate.replicas = {}
        aggregate.adapters = {}


class OptimizationStarted(DeploymentEvent):
    TOPIC = "OptimizationStarted"
    revision: int
    method: str
    quantization: str | None


class OptimizationFinished(DeploymentEvent):
    TOPIC = "OptimizationFinished"
    revision: int
    method: str
    quantization: str | None
    # The manifest of the files that were made, by digest.
    artefact_sha256: str
    size_before_bytes: int
    size_after_bytes: int
    # Made for an earlier revision of the same version.
    reused: bool
    # What the quality probe found, as checks of a report.
    checks: list[JSON]

    def apply(self, aggregate: Deployment) -> None:
        aggregate.artefacts[self.revision] = self.artefact_sha256
        if (
            aggregate.state is DeploymentState.OPTIMIZING
            and aggregate.desired_revision == self.revision
        ):
            aggregate.state = DeploymentState.DEPLOYING


class DeploymentScaled(DeploymentEvent):
    TOPIC = "DeploymentScaled"
    revision: int
    from_replicas: int
    to_replicas: int
    # What the decision was made from: requests at the gateway, and for how long it was so.
    running: int
    waiting: int
    sustained_seconds: float
    reason: str

    def apply(self, aggregate: Deployment) -> None:
        aggregate.wanted_replicas[self.revision] = self.to_replicas


class ReplicaRetired(DeploymentEvent):
    TOPIC = "ReplicaRetired"
    revision: int
    replica_id: UUID
    reason: str

    def apply(self, aggregate: Deployment) -> None:
        aggregate.replicas.pop(str(self.replica_id), None)


class AdapterLoaded(DeploymentEvent):
    TOPIC = "AdapterLoaded"
    revision: int
    adapter_model_id: UUID
    adapter_name: str
    adapter_version: str
    # What is doubtful about it, for people.
    warnings: list[str]

    def apply(self, aggregate: Deployment) -> None:
        aggregate.adapters[str(self.adapter_model_id)] = self.adapter_version


class AdapterUnloaded(DeploymentEvent):
    TOPIC = "AdapterUnloaded"
    revision: int
    adapter_model_id: UUID
    adapter_name: str
    reason: str

    def apply(self, aggregate: Deployment) -> None:
        aggregate.adapters.pop(str(self.adapter_model_id), None)
        # Where it could not be loaded, it is not wanted any more either.
        aggregate.wanted_adapters.pop(str(self.adapter_model_id), None)


class ConfigurationSaved(DeploymentEvent):
    TOPIC = "ConfigurationSaved"
    configuration: JSON
    reason: str

    def apply(self, aggregate: Deployment) -> None:
        aggregate.saved_configuration = completed(self.configuration)


class ConfigurationDiscarded(DeploymentEvent):
    TOPIC = "ConfigurationDiscarded"

    def apply(self, aggregate: Deployment) -> None:
        aggregate.saved_configuration = None


class RevisionPrepared(DeploymentEvent):
    TOPIC = "RevisionPrepared"
    revision: int
    # How long the engine's environment and the model's files took to be in place.
    environment_seconds: float
    files_seconds: float

    def apply(self, aggregate: Deployment) -> None:
        aggregate.prepared_revisions.append(self.revision)
