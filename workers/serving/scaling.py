"""Asks the autoscaler about the revision that serves, and records what it decides."""

from __future__ import annotations

from collections.abc import Callable

from backend.domain.deployment import Deployment
from backend.domain.deployment_events import DeploymentState
from backend.domain.errors import DomainError, NotAllowed
from backend.infra.demand import read_demand
from backend.infra.postgres import Pool
from workers.serving.autoscaler import Autoscaler, Policy, Reading
from workers.serving.launchers.launcher import Launchers
from workers.serving.records import Records
from workers.serving.targets import Lease
from workers.serving.upkeep import configuration_of


class Scaling:
    """One deployment's, while its lease is held. Whoever takes over begins to watch anew."""

    def __init__(
        self, lease: Callable[[], Lease], *, pool: Pool, records: Records, launchers: Launchers
    ) -> None:
        self._lease = lease
        self._launchers = launchers
        self._pool = pool
        self._records = records
        self._revision = 0
        self._autoscaler: Autoscaler | None = None

    def look(self, deployment: Deployment) -> bool:
        """Takes a reading; whether another number of replicas is wanted since."""
        revision = deployment.serving_revision
        if revision is None or deployment.state is DeploymentState.STOPPING:
            return False
        if revision != self._revision:
            configuration = configuration_of(deployment, revision)
            try:
                launcher = self._launchers.named(configuration.hardware.server)
            except DomainError:
                return False  # nothing can be placed before its server is known again
            policy = Policy.of(configuration, *launcher.bounds(configuration.scaling))
            self._revision = revision
            self._autoscaler = Autoscaler(policy) if policy.least < policy.most else None
        if self._autoscaler is None:
            return False
        lease = self._lease()
        at, demand = read_demand(self._pool, lease.model_id)
        decision = self._autoscaler.decide(
            Reading(at, demand.running, demand.waiting), deployment.wanted_replicas[revision]
        )
        if decision is None:
            return False
        try:
            self._records.scaled(lease, revision, decision)
        except NotAllowed:
            return False  # superseded or stopped a moment ago; the next look sees it
        return True
