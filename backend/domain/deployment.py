"""The Deployment aggregate: a model's serving, as a sequence of revisions.

The revision asked for last is desired; what the deploy worker reports is observed. Traffic moves
to a revision only when all its replicas answer, so the endpoint never goes dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid5

from backend.domain import deployment_events, held_adapters
from backend.domain.configuration import DeployConfiguration
from backend.domain.deployment_events import DeploymentState
from backend.domain.errors import Invalid, NotAllowed, NotFound
from backend.domain.events import Aggregate, event_header
from backend.domain.held_adapters import HoldsAdapters

JSON = dict[str, Any]


class Deployment(HoldsAdapters, Aggregate):
    """One model's deployment; its id follows from the model's id."""

    TOPIC = "Deployment"

    Event = deployment_events.DeploymentEvent
    Created = deployment_events.Created
    TermsAccepted = deployment_events.TermsAccepted
    Requested = deployment_events.Requested
    ReplicaStarted = deployment_events.ReplicaStarted
    ReplicaReady = deployment_events.ReplicaReady
    ReplicaLost = deployment_events.ReplicaLost
    RevisionDeployed = deployment_events.RevisionDeployed
    RevisionFailed = deployment_events.RevisionFailed
    RevisionRetired = deployment_events.RevisionRetired
    StopRequested = deployment_events.StopRequested
    Stopped = deployment_events.Stopped
    OptimizationStarted = deployment_events.OptimizationStarted
    OptimizationFinished = deployment_events.OptimizationFinished
    DeploymentScaled = deployment_events.DeploymentScaled
    ReplicaRetired = deployment_events.ReplicaRetired
    AdapterLoadRequested = held_adapters.AdapterLoadRequested
    AdapterUnloadRequested = held_adapters.AdapterUnloadRequested
    AdapterLoaded = deployment_events.AdapterLoaded
    AdapterUnloaded = deployment_events.AdapterUnloaded
    ConfigurationSaved = deployment_events.ConfigurationSaved
    ConfigurationDiscarded = deployment_events.ConfigurationDiscarded
    RevisionPrepared = deployment_events.RevisionPrepared

    def __init__(self, *, model_id: UUID, terms_version: str) -> None:
        self.model_id = model_id
        self.terms_version = terms_version
        self.state = DeploymentState.STOPPED
        self.desired_revision = 0
        self.serving_revision: int | None = None
        self.revisions: dict[int, JSON] = {}
        # Each revision serves the files of one version of the model, and of no other one later.
        self.model_versions: dict[int, str] = {}
        self.base_model_versions: dict[int, str | None] = {}
        self.replicas: dict[str, str] = {}
        self.failed_revisions: list[int] = []
        self.retired_revisions: list[int] = []
        # Of a revision whose model was transformed before it is served: the files made, by digest.
        self.artefacts: dict[int, str] = {}
        # Of each revision: as many as at its request, until the autoscaler decides otherwise.
        self.wanted_replicas: dict[int, int] = {}
        # Adapters that are to be callable beside the model, by id: name, version and rank; those
        # that engines hold, by id with their version, None until it is the one that was asked for
        # last; and the rank that each revision's engines hold.
        self.wanted_adapters: dict[str, JSON] = {}
        self.adapters: dict[str, str | None] = {}
        self.adapter_ranks: dict[int, int] = {}
        # What the next redeployment begins with, where somebody has changed it and not deployed.
        self.saved_configuration: JSON | None = None
        self.prepared_revisions: list[int] = []

    @staticmethod
    def create_id(model_id: UUID) -> UUID:
        """The deployment of a model: there is one."""
        return uuid5(model_id, "deployment")

    @classmethod
    def begin(cls, *, model_id: UUID, terms_version: str, terms_sha256: str) -> Deployment:
        """The first deployment of a model, for which the terms have been accepted."""
        deployment_id = cls.create_id(model_id)
        return cls._create(
            cls.Created,
            id=deployment_id,
            deployment_id=deployment_id,
            model_id=model_id,
            terms_version=terms_version,
            terms_sha256=terms_sha256,
            **event_header(),
        )

    def accept_terms(self, *, terms_version: str, terms_sha256: str) -> None:
        """Records who accepted which text for the next revision."""
        self._record(self.TermsAccepted, terms_version=terms_version, terms_sha256=terms_sha256)

    def request(
        self,
        *,
        configuration: DeployConfiguration,
        model_version: str,
        base_model_version: str | None = None,
        reason: str,
    ) -> None:
        """Asks for a new revision with this configuration, an adapter's with its base's version."""
        self._request(
            trigger="redeploy" if self.revisions else "deploy",
            configuration=configuration.to_dict(),
            model_version=model_version,
            base_model_version=base_model_version,
            reason=reason,
        )

    def roll_back(self, *, revision: int, reason: str) -> None:
        """Asks for a new revision that restores an earlier one, with its version of the model.

        Raises `NotFound`, `Invalid`.
        """
        if revision not in self.revisions:
            raise NotFound(
                f"Revision {revision} does not exist.",
                remedy=f"Choose one from 1 to {max(self.revisions, default=0)}.",
                field="revision",
            )
        if not reason.strip():
            raise Invalid(
                "A rollback needs a reason.", remedy="Say why, in a few words.", field="reason"
            )
        self._request(
            trigger="rollback",
            configuration=self.revisions[revision],
            model_version=self.model_versions[revision],
            base_model_version=self.base_model_versions[revision],
            reason=reason,
            restored_revision=revision,
        )

    def start(self) -> None:
        """Serves again what was desired when the deployment was stopped."""
        if self.state not in {DeploymentState.STOPPED, DeploymentState.FAILED}:
            raise NotAllowed(
                f"The deployment is {self.state.value}.", remedy="Stop it before starting it."
            )
        self._request(
            trigger="start",
            configuration=self.revisions[self.desired_revision],
            model_version=self.model_versions[self.desired_revision],
            base_model_version=self.base_model_versions[self.desired_revision],
            reason="",
            restored_revision=self.desired_revision,
        )

    def save_configuration(self, *, configuration: DeployConfiguration, reason: str) -> None:
        """Keeps a configuration for a later redeployment; what is deployed stays as it is.

        Saving what is deployed discards what was saved. Raises `NotAllowed`.
        """
        self._require_revision()
        wanted = configuration.to_dict()
        if wanted == self.revisions[self.desired_revision]:
            if self.saved_configuration is not None:
                self._record(self.ConfigurationDiscarded)
        elif wanted != self.saved_configuration:
            self._record(self.ConfigurationSaved, configuration=wanted, reason=reason)

    def discard_configuration(self) -> None:
        """Forgets what was saved. Raises `NotAllowed` where nothing was."""
        if self.saved_configuration is None:
            raise NotAllowed(
                "There are no pending changes.", remedy="Reload to see what is deployed."
            )
        self._record(self.ConfigurationDiscarded)

    def stop(self, *, reason: str) -> None:
        """Asks for the end of serving; running requests are finished first."""
        if self.state is DeploymentState.STOPPING:
            return
        if self.state is DeploymentState.STOPPED:
            raise NotAllowed("The deployment is stopped.", remedy="Start it or redeploy it.")
        self._record(self.StopRequested, reason=reason)

    def record_optimization_started(
        self, *, revision: int, method: str, quantization: str | None
    ) -> None:
        """The revision's model is being converted."""
        if revision not in self.artefacts:
            self._record(
                self.OptimizationStarted,
                revision=revision,
                method=method,
                quantization=quantization,
            )

    def record_optimization_finished(
        self,
        *,
        revision: int,
        method: str,
        quantization: str | None,
        artefact_sha256: str,
        size_before_bytes: int,
        size_after_bytes: int,
        reused: bool,
        checks: Sequence[JSON],
    ) -> None:
        """The files that the revision serves are there; sizes are of all files together."""
        if self.artefacts.get(revision) == artefact_sha256:
            return
        self._record(
            self.OptimizationFinished,
            revision=revision,
            method=method,
            quantization=quantization,
            artefact_sha256=artefact_sha256,
            size_before_bytes=size_before_bytes,
            size_after_bytes=size_after_bytes,
            reused=reused,
            checks=list(checks),
        )

    def record_revision_prepared(
        self, *, revision: int, environment_seconds: float, files_seconds: float
    ) -> None:
        """The engine's environment and the model's files are in place for the revision."""
        if revision not in self.prepared_revisions:
            self._record(
                self.RevisionPrepared,
                revision=revision,
                environment_seconds=environment_seconds,
                files_seconds=files_seconds,
            )

    def record_replica_started(
        self,
        *,
        revision: int,
        replica_id: UUID,
        server: str,
        engine: str,
        engine_version: str,
        devices: Sequence[str] = (),
    ) -> None:
        """A replica has been started for the revision; `devices` are the GPUs given to it."""
        self._record(
            self.ReplicaStarted,
            revision=revision,
            replica_id=replica_id,
            server=server,
            engine=engine,
            engine_version=engine_version,
            devices=list(devices),
        )

    def record_replica_ready(
        self,
        *,
        revision: int,
        replica_id: UUID,
        endpoint: str,
        startup_seconds: float,
        warnings: Sequence[str] = (),
    ) -> None:
        """The replica has answered at this endpoint; `warnings` say what is doubtful about it."""
        if self.replicas.get(str(replica_id)) == endpoint:
            return
        self._record(
            self.ReplicaReady,
            revision=revision,
            replica_id=replica_id,
            endpoint=endpoint,
            startup_seconds=startup_seconds,
            warnings=list(warnings),
        )

    def record_replica_lost(
        self,
        *,
        revision: int,
        replica_id: UUID,
        reason: str,
        exit_code: int | None,
        log_tail: list[str],
    ) -> None:
        """The replica has gone without being asked to."""
        if str(replica_id) not in self.replicas:
            return
        self._record(
            self.ReplicaLost,
            revision=revision,
            replica_id=replica_id,
            reason=reason,
            exit_code=exit_code,
            log_tail=log_tail,
        )

    def scale(
        self,
        *,
        revision: int,
        replicas: int,
        running: int,
        waiting: int,
        sustained_seconds: float,
        reason: str,
    ) -> None:
        """Another number of replicas is wanted of the revision that serves.

        `running` and `waiting` are the requests that led to it, and `sustained_seconds` says for
        how long it had been so. Raises `NotAllowed`, and `Invalid` beyond the configured bounds.
        """
        stopping = self.state in {DeploymentState.STOPPING, DeploymentState.STOPPED}
        if stopping or revision != self.serving_revision:
            raise NotAllowed(
                f"Revision {revision} does not serve.", remedy="Scale the one that serves."
            )
        scaling = self.revisions[revision]["scaling"]
        least, most = scaling["min_replicas"], scaling["max_replicas"]
        if not least <= replicas <= most:
            raise Invalid(
                f"{replicas} replicas are out of range.",
                remedy=f"Choose a number from {least} to {most}, or redeploy with other bounds.",
                field="replicas",
            )
        before = self.wanted_replicas[revision]
        if replicas == before:
            return
        self._record(
            self.DeploymentScaled,
            revision=revision,
            from_replicas=before,
            to_replicas=replicas,
            running=running,
            waiting=waiting,
            sustained_seconds=sustained_seconds,
            reason=reason,
        )

    def retire_replica(self, *, revision: int, replica_id: UUID, reason: str) -> None:
        """The replica gets no new requests, and ends when its running ones are finished."""
        if str(replica_id) in self.replicas:
            self._record(
                self.ReplicaRetired, revision=revision, replica_id=replica_id, reason=reason
            )

    def record_revision_deployed(self, *, revision: int) -> None:
        """All replicas of the revision answer: traffic goes there from now on."""
        if self.serving_revision == revision:
            return
        if self.state in {DeploymentState.STOPPING, DeploymentState.STOPPED}:
            raise NotAllowed(
                f"The deployment is {self.state.value}; revision {revision} is not wanted.",
                remedy="Stop the revision's replicas.",
            )
        if revision != self.desired_revision:
            raise NotAllowed(
                f"Revision {revision} has been superseded by {self.desired_revision}.",
                remedy="Stop the revision's replicas.",
            )
        self._record(
            self.RevisionDeployed, revision=revision, replaced_revision=self.serving_revision
        )

    def record_revision_failed(
        self, *, revision: int, reason: str, remedy: str, log_tail: list[str]
    ) -> None:
        """The revision will not serve. Whatever served before goes on."""
        if revision in self.failed_revisions:
            return
        serving = self.serving_revision if self.serving_revision != revision else None
        self._record(
            self.RevisionFailed,
            revision=revision,
            reason=reason,
            remedy=remedy,
            log_tail=log_tail,
            serving_revision=serving,
        )

    def record_revision_retired(self, *, revision: int) -> None:
        """A replaced revision has been drained and its replicas have ended."""
        if revision not in self.retired_revisions:
            self._record(self.RevisionRetired, revision=revision)

    def record_stopped(self) -> None:
        """No replica runs any more, as asked."""
        if self.state is DeploymentState.STOPPING:
            self._record(self.Stopped)

    @property
    def state_for_caller(self) -> dict[str, Any]:
        return {
            **super().state_for_caller,
            "state": self.state.value,
            "desiredRevision": self.desired_revision,
            "servingRevision": self.serving_revision,
        }

    def _require_revision(self) -> None:
        if not self.revisions:
            raise NotAllowed("This model has never been deployed.", remedy="Deploy it first.")

    def _request(
        self,
        *,
        trigger: str,
        configuration: JSON,
        model_version: str,
        base_model_version: str | None,
        reason: str,
        restored_revision: int | None = None,
    ) -> None:
        if self.state is DeploymentState.STOPPING:
            raise NotAllowed(
                "The deployment is being stopped.", remedy="Wait until it is stopped, then deploy."
            )
        self._record(
            self.Requested,
            revision=max(self.revisions, default=0) + 1,
            trigger=trigger,
            model_version=model_version,
            base_model_version=base_model_version,
            configuration=configuration,
            reason=reason,
            restored_revision=restored_revision,
        )

    def _record(self, event_class: type[Any], **facts: Any) -> None:
        self.record(event_class, deployment_id=self.id, model_id=self.model_id, **facts)
