"""Makes one deployment's engines match what is wanted, one look at a time.

Each look reads the deployment, the replicas' rows and the processes, and takes the next step from
there. Nothing is remembered in between that could not be seen again, so a worker that is killed
at any instant is continued by the next one.

A step is taken in the order: process, event, row. After a crash in between, the event is
recorded again under the same key, which writes nothing, and the row follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from itertools import count, islice

import httpx

from backend.application.store import EventStore
from backend.domain.configuration import DeployConfiguration, Optimization
from backend.domain.deployment import Deployment
from backend.domain.deployment_events import DeploymentState
from backend.domain.errors import DomainError, NotAllowed
from backend.infra.postgres import Pool
from workers.serving.failures import Failure, PlaceUnknown, RevisionLost
from workers.serving.launchers.launcher import Launchers, Unreachable
from workers.serving.optimization import conversion
from workers.serving.patience import Patience
from workers.serving.preparation import Preparations, Prepared
from workers.serving.progress import Progress
from workers.serving.readiness import Readiness
from workers.serving.records import Records
from workers.serving.replicas import Replica, Replicas, State
from workers.serving.scaling import Scaling
from workers.serving.targets import Lease
from workers.serving.upkeep import Upkeep, configuration_of

# A revision is wanted that does not serve yet.
_COMING = frozenset({DeploymentState.OPTIMIZING, DeploymentState.DEPLOYING})


class Outlook(Enum):
    """What a look has found."""

    UNDER_WAY = "something changes, look again soon"
    STEADY = "everything serves"
    NOTHING_LEFT = "nothing runs and nothing is wanted"


class Reconciler:
    """Looks after one deployment while its lease is held."""

    def __init__(
        self,
        lease: Lease,
        *,
        pool: Pool,
        store: EventStore,
        records: Records,
        replicas: Replicas,
        launchers: Launchers,
        preparations: Preparations,
        progress: Progress,
        client: httpx.Client,
        patience: Patience,
    ) -> None:
        self.lease = lease
        self._store = store
        self._records = records
        self._replicas = replicas
        self._launchers = launchers
        self._preparations = preparations
        self._progress = progress
        self._optimizing: set[int] = set()
        self._unreachable: Unreachable | None = None
        self._adapters_done = True
        self._scaling = Scaling(lambda: self.lease, pool=pool, records=records, launchers=launchers)
        self._upkeep = Upkeep(
            lambda: self.lease,
            store=store,
            records=records,
            replicas=replicas,
            launchers=launchers,
            preparations=preparations,
            progress=progress,
            client=client,
            patience=patience,
        )
        self._readiness = Readiness(
            self._upkeep.subject, launchers=launchers, preparations=preparations, patience=patience
        )

    def step(self) -> Outlook:
        """One look, and the next step of whatever is under way.

        Raises `LeaseLost`, what PostgreSQL raises, and `Unreachable` where a launcher did not
        answer, once all that could be done without it has been done.
        """
        self._unreachable = None
        outlook = self._look()
        if self._unreachable is not None:
            raise self._unreachable
        return outlook

    def _look(self) -> Outlook:
        deployment = self._store.find(Deployment, self.lease.deployment_id)
        if deployment is None:
            return Outlook.NOTHING_LEFT
        if self._scaling.look(deployment):
            deployment = self._store.load(Deployment, self.lease.deployment_id)
        wanted = _wanted(deployment)
        self._upkeep.adapters.look(deployment)
        self._adapters_done = True
        self._preparations.keep_only(set(wanted))
        replicas = self._replicas.all()
        if self._observe(deployment, replicas):
            replicas = self._replicas.all()
        for revision in wanted:
            mine = [replica for replica in replicas if replica.revision == revision]
            with self._reaching():
                self._keep(deployment, revision, mine)
        for revision in sorted({replica.revision for replica in replicas} - set(wanted)):
            mine = [replica for replica in replicas if replica.revision == revision]
            with self._reaching():
                self._end(deployment, revision, mine)
        if not wanted and not self._replicas.all():
            if deployment.state is DeploymentState.STOPPING:
                self._records.stopped(self.lease)
                self._progress.ended("stopped")
            return Outlook.NOTHING_LEFT
        live = [replica for replica in replicas if replica.is_live]
        under_way = deployment.state in {*_COMING, DeploymentState.STOPPING}
        if (
            under_way
            or not self._adapters_done
            or any(replica.state is not State.READY for replica in live)
        ):
            return Outlook.UNDER_WAY
        return Outlook.STEADY

    def _observe(self, deployment: Deployment, replicas: list[Replica]) -> bool:
        """Looks at every process; returns whether one turned out to be gone."""
        gone = False
        for replica in replicas:
            with self._reaching():
                gone = self._upkeep.observe(deployment, replica) or gone
        return gone

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """What needs a launcher that does not answer is left to the next look."""
        try:
            yield
        except Unreachable as error:
            self._unreachable = error

    def give_up(self, failure: Failure) -> None:
        """Fails the revision that is being deployed, because looking after it keeps failing."""
        deployment = self._store.find(Deployment, self.lease.deployment_id)
        if deployment is not None and deployment.state in _COMING:
            self._fail(deployment.desired_revision, failure)

    def shut_down(self, *, seconds: float) -> None:
        """Ends every engine of the deployment, because the whole platform ends."""
        for replica in self._replicas.all():
            with self._reaching():
                self._shut_down(replica, seconds)

    def _shut_down(self, replica: Replica, seconds: float) -> None:
        launcher = self._launchers.at(replica.server) if replica.is_live else None
        if launcher is not None and launcher.ends_with_platform:
            launcher.stop(replica.id, seconds=seconds)
            reason = "The platform was stopped."
            self._records.replica_lost(
                self.lease, replica, reason=reason, exit_code=None, log_tail=[]
            )
            self._replicas.mark_ended(replica, crashed=False, reason=reason)

    def close(self) -> None:
        """Gives up what is being prepared."""
        self._preparations.close()

    # What is wanted

    def _keep(self, deployment: Deployment, revision: int, mine: list[Replica]) -> None:
        fresh = revision != deployment.serving_revision
        crashed = [replica for replica in mine if replica.crashed]
        if fresh and crashed:
            last = crashed[-1]
            self._fail(revision, Failure(last.end_reason, last.end_remedy, last.log_tail))
            return
        configuration = configuration_of(deployment, revision)
        try:
            launcher = self._upkeep.launcher_of(configuration)
            least, most = launcher.bounds(configuration.scaling)
            wanted = max(least, min(most, deployment.wanted_replicas[revision]))
            kept = self._dismiss(deployment, mine, wanted)
            prepare = self._readiness.of if fresh else self._readiness.again
            prepared = prepare(deployment, revision, configuration)
            self._note_optimization(deployment, revision, configuration.optimization, prepared)
            if prepared is None:
                if not fresh:
                    self._watch(configuration, kept)
                return
            if fresh and revision not in deployment.prepared_revisions:
                self._records.revision_prepared(self.lease, revision, prepared)
            ready = 0
            for slot in _slots(kept, wanted, self._upkeep.leaving):
                in_slot = [replica for replica in mine if replica.slot == slot]
                others = [r for r in kept if r.slot != slot and r.state is State.READY]
                others_serve = bool(others) and not fresh
                ready += self._keep_slot(
                    revision,
                    slot,
                    in_slot,
                    prepared,
                    configuration,
                    serves=not fresh,
                    others_serve=others_serve,
                )
        except RevisionLost as lost:
            if fresh or not isinstance(lost, PlaceUnknown):
                self._fail(revision, lost.failure)
            elif deployment.wanted_replicas[revision]:
                self._progress.starting(0, 1, lost.failure.reason)
            return
        if not fresh:
            running = [replica for replica in mine if replica.state is State.READY]
            self._adapters_done = self._upkeep.adapters.keep(revision, running, prepared)
        if fresh and ready:
            self._progress.ready(ready, wanted)
        if fresh and ready >= wanted:
            self._switch(revision)

    def _dismiss(self, deployment: Deployment, mine: list[Replica], wanted: int) -> list[Replica]:
        """Retires what is more than wanted, and drains it; returns the rest.

        First go those whose server is being emptied, as soon as others answer in their place.
        """
        for replica in mine:
            if replica.state is State.DRAINING:
                self._upkeep.drain(deployment, replica)
        # One that does not answer yet is missed least.
        kept = sorted((r for r in mine if r.is_kept), key=lambda r: r.state is not State.READY)
        leaving = {r.id: why for r in kept if (why := self._upkeep.leaving(r)) is not None}
        staying = [replica for replica in kept if replica.id not in leaving]
        for replica in staying[wanted:]:
            self._upkeep.retire(replica, f"Scaled down to {wanted}.")
        staying = staying[:wanted]
        missing = wanted - sum(replica.state is State.READY for replica in staying)
        going = [replica for replica in kept if replica.id in leaving]
        for replica in going[missing:]:
            self._upkeep.retire(replica, leaving[replica.id])
        return staying + going[:missing]

    def _watch(self, configuration: DeployConfiguration, kept: list[Replica]) -> None:
        """Sees that those which serve respond, while no other can be started."""
        try:
            engine = self._preparations.engine(configuration)
        except DomainError:
            return  # only an engine that is known can be asked
        for replica in kept:
            if replica.state is State.READY:
                self._upkeep.check_health(replica, engine)

    def _note_optimization(
        self,
        deployment: Deployment,
        revision: int,
        optimization: Optimization,
        prepared: Prepared | None,
    ) -> None:
        if not optimization.converts or revision in deployment.artefacts:
            return
        if prepared is None:
            if revision not in self._optimizing:
                self._optimizing.add(revision)
                self._records.optimization_started(self.lease, revision, optimization)
        elif prepared.artefact is not None:
            before = prepared.subject.whole.total_bytes
            self._records.optimization_finished(
                self.lease,
                revision,
                optimization,
                prepared.artefact,
                size_before_bytes=before,
                checks=conversion.checks(
                    prepared.artefact, before, optimization.quantization or ""
                ),
            )

    def _keep_slot(
        self,
        revision: int,
        slot: int,
        in_slot: list[Replica],
        prepared: Prepared,
        configuration: DeployConfiguration,
        *,
        serves: bool,
        others_serve: bool,
    ) -> bool:
        """Brings the slot one step on; returns whether its replica answers."""
        live = next((replica for replica in in_slot if replica.is_kept), None)
        try:
            if live is None:
                if self._upkeep.may_start(in_slot, others_serve=others_serve):
                    generation = max((r.generation + 1 for r in in_slot), default=0)
                    self._upkeep.place(revision, slot, generation, configuration, serves=serves)
                return False
            if live.state is State.STARTING:
                started = live.announced or self._upkeep.start(live, prepared, configuration)
                return started and self._upkeep.await_answer(live, prepared)
        except RevisionLost as lost:
            if not others_serve:
                raise
            if live is not None:
                self._upkeep.give_up(live, lost.failure)
            return False
        self._upkeep.check_health(live, prepared.engine)
        return live.state is State.READY

    def _switch(self, revision: int) -> None:
        try:
            self._records.revision_deployed(self.lease, revision)
        except NotAllowed:
            return  # superseded or stopped a moment ago; the next look sees it
        self._progress.ended("deployed")

    # What is no longer wanted

    def _end(self, deployment: Deployment, revision: int, mine: list[Replica]) -> None:
        live = [replica for replica in mine if replica.is_live]
        for replica in live:
            self._upkeep.drain(deployment, replica)
        if live:
            return
        superseded = deployment.state not in {DeploymentState.STOPPING, DeploymentState.STOPPED}
        if superseded and revision not in deployment.failed_revisions:
            self._records.revision_retired(self.lease, revision)
        self._replicas.forget(revision)

    def _fail(self, revision: int, failure: Failure) -> None:
        for replica in self._replicas.all():
            if replica.revision == revision and replica.is_live:
                self._upkeep.stop(replica)
                self._replicas.mark_ended(replica, crashed=False)
        self._records.revision_failed(
            self.lease,
            revision,
            reason=failure.reason,
            remedy=failure.remedy,
            log_tail=failure.log_tail,
        )
        self._replicas.forget(revision)
        self._progress.ended("failed")


def _wanted(deployment: Deployment) -> list[int]:
    """The revisions that should run, the one that serves first."""
    if deployment.state in {DeploymentState.STOPPING, DeploymentState.STOPPED}:
        return []
    wanted = [] if deployment.serving_revision is None else [deployment.serving_revision]
    if deployment.state in _COMING:
        desired = deployment.desired_revision
        if desired not in wanted and desired not in deployment.failed_revisions:
            wanted.append(desired)
    return wanted


def _slots(kept: list[Replica], wanted: int, leaving: Callable[[Replica], str | None]) -> list[int]:
    """The slots of these replicas, and free ones for those that are missing or leave."""
    taken = {replica.slot for replica in kept}
    staying = sum(leaving(replica) is None for replica in kept)
    free = (slot for slot in count() if slot not in taken)
    return sorted([*taken, *islice(free, max(0, wanted - staying))])
