"""Makes one deployment's engines match what is wanted, one look at a time.

Each look reads the deployment, the replicas' rows and the processes, and takes the next step from
there. Nothing is remembered in between that could not be seen again, so a worker that is killed
at any instant is continued by the next one.

A step is taken in the order: process, event, row. After a crash in between, the event is
recorded again under the same key, which writes nothing, and the row follows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from backend.application.store import EventStore
from backend.domain.configuration import DeployConfiguration
from backend.domain.deployment import Deployment, DeploymentState
from backend.domain.errors import DomainError, NotAllowed
from backend.domain.model import Model
from workers.serving.engine import Diagnosis, Engine, Launch
from workers.serving.engine_log import TAIL_LINES, EngineLog
from workers.serving.environments import Abandonment, EnvironmentFailed
from workers.serving.files import FilesUnavailable
from workers.serving.launcher import LocalProcesses, NoFreePort
from workers.serving.preparation import Preparations, Prepared
from workers.serving.progress import Progress
from workers.serving.records import Records
from workers.serving.replicas import Replica, Replicas, State
from workers.serving.targets import Lease

_DIAGNOSED_LINES = 400


@dataclass(frozen=True)
class Patience:
    """How long the worker waits, in seconds, and how often it tries.

    `start` until an engine answers; `drain` for running requests; `settle` until the gateway has
    seen a switch; `hang` until an engine that runs but does not respond is given up; `stable`
    after which a crash is not a quick one; `backoff` before the second restart, doubled for each
    further one up to `max_backoff`; after `quick_crashes` of them in a row the revision has failed.
    """

    start: float = 600.0
    drain: float = 60.0
    settle: float = 2.0
    health_interval: float = 5.0
    hang: float = 30.0
    stable: float = 60.0
    backoff: float = 1.0
    max_backoff: float = 60.0
    quick_crashes: int = 5
    probe: float = 30.0


@dataclass(frozen=True)
class Failure:
    """Why a revision will not serve."""

    reason: str
    remedy: str
    log_tail: Sequence[str] = ()


class Reconciler:
    """Looks after one deployment while its lease is held."""

    def __init__(
        self,
        lease: Lease,
        *,
        store: EventStore,
        records: Records,
        replicas: Replicas,
        launcher: LocalProcesses,
        preparations: Preparations,
        progress: Progress,
        client: httpx.Client,
        server: str,
        patience: Patience,
    ) -> None:
        self.lease = lease
        self._store = store
        self._records = records
        self._replicas = replicas
        self._launcher = launcher
        self._preparations = preparations
        self._progress = progress
        self._client = client
        self._server = server
        self._patience = patience
        self._logs: dict[str, EngineLog] = {}
        self._unhealthy_since: dict[str, float] = {}
        self._checked_at: dict[str, float] = {}

    def step(self) -> bool:
        """One look; returns whether anything is left to look after.

        Raises `LeaseLost`, and what PostgreSQL raises.
        """
        deployment = self._store.find(Deployment, self.lease.deployment_id)
        if deployment is None:
            return False
        wanted = _wanted(deployment)
        self._preparations.keep_only(set(wanted))
        for replica in self._replicas.all():
            self._observe(deployment, replica)
        replicas = self._replicas.all()
        for revision in wanted:
            mine = [replica for replica in replicas if replica.revision == revision]
            self._keep(deployment, revision, mine)
        for revision in sorted({replica.revision for replica in replicas} - set(wanted)):
            mine = [replica for replica in replicas if replica.revision == revision]
            self._end(deployment, revision, mine)
        left = self._replicas.all()
        if deployment.state is DeploymentState.STOPPING and not left:
            self._records.stopped(self.lease)
            self._progress.ended("stopped")
            return False
        return bool(wanted or left)

    def is_steady(self) -> bool:
        """Whether everything serves, so that the next look can wait a little longer."""
        return all(replica.state is State.READY for replica in self._replicas.all())

    def give_up(self, failure: Failure) -> None:
        """Fails the revision that is being deployed, because looking after it keeps failing."""
        deployment = self._store.find(Deployment, self.lease.deployment_id)
        if deployment is not None and deployment.state is DeploymentState.DEPLOYING:
            self._fail(deployment.desired_revision, failure)

    def shut_down(self, *, seconds: float) -> None:
        """Ends every engine of the deployment, because the whole platform ends."""
        for replica in self._replicas.all():
            if replica.is_live and replica.server == self._server:
                self._launcher.stop(replica.id, seconds=seconds)
                reason = "The platform was stopped."
                self._records.replica_lost(
                    self.lease, replica, reason=reason, exit_code=None, log_tail=[]
                )
                self._replicas.mark_ended(replica, crashed=False, reason=reason)

    def close(self) -> None:
        """Gives up what is being prepared."""
        self._preparations.close()

    # What is seen

    def _observe(self, deployment: Deployment, replica: Replica) -> None:
        if not replica.is_live:
            return
        if replica.server != self._server:
            reason = f"The server '{replica.server}' has been given up."
            self._records.replica_lost(
                self.lease, replica, reason=reason, exit_code=None, log_tail=[]
            )
            self._replicas.mark_ended(replica, crashed=False, reason=reason)
            return
        self._follow_log(replica)
        unstarted = replica.state is State.STARTING and not replica.announced
        seen = self._launcher.find(replica.id, search=unstarted)
        if seen.running or (unstarted and not seen.known):
            return
        if replica.state is State.DRAINING:
            return  # it is being stopped anyway
        # The cause often stands far above the last lines.
        lines = self._launcher.log(replica.id).tail(_DIAGNOSED_LINES)
        engine = self._preparations.engine(_configuration(deployment, replica.revision))
        why = engine.diagnose(lines, seen.exit_code)
        self._lose(replica, why, seen.exit_code, lines[-TAIL_LINES:])

    def _follow_log(self, replica: Replica) -> None:
        key = str(replica.id)
        log = self._logs.get(key)
        if log is None:
            log = self._logs[key] = self._launcher.log(replica.id)
            if replica.announced:
                log.skip()
        self._progress.log(replica.id, log.new_lines())
        log.bound()

    def _lose(
        self, replica: Replica, why: Diagnosis, exit_code: int | None, tail: list[str]
    ) -> None:
        # Its leader may have gone and left processes behind.
        self._launcher.stop(replica.id)
        self._records.replica_lost(
            self.lease, replica, reason=why.reason, exit_code=exit_code, log_tail=tail
        )
        self._replicas.mark_ended(
            replica, crashed=True, reason=why.reason, remedy=why.remedy, log_tail=tail
        )

    # What is wanted

    def _keep(self, deployment: Deployment, revision: int, mine: list[Replica]) -> None:
        fresh = revision != deployment.serving_revision
        crashed = [replica for replica in mine if replica.crashed]
        if fresh and crashed:
            last = crashed[-1]
            self._fail(revision, Failure(last.end_reason, last.end_remedy, last.log_tail))
            return
        configuration = _configuration(deployment, revision)
        try:
            prepared = self._prepared(deployment, revision, configuration)
            if prepared is None:
                return
            ready = 0
            for slot in range(configuration.scaling.min_replicas):
                in_slot = [replica for replica in mine if replica.slot == slot]
                ready += self._keep_slot(revision, slot, in_slot, prepared, configuration)
        except _RevisionLost as lost:
            self._fail(revision, lost.failure)
            return
        if fresh and ready == configuration.scaling.min_replicas:
            self._switch(revision)

    def _prepared(
        self, deployment: Deployment, revision: int, configuration: DeployConfiguration
    ) -> Prepared | None:
        model = self._store.load(Model, deployment.model_id)
        try:
            return self._preparations.get(revision, configuration, model)
        except Abandonment:
            return None
        except EnvironmentFailed as error:
            failure = Failure(error.reason, error.remedy, error.log_tail)
        except FilesUnavailable as error:
            failure = Failure(error.reason, error.remedy)
        except DomainError as error:
            failure = Failure(error.detail, error.remedy)
        raise _RevisionLost(failure)

    def _keep_slot(
        self,
        revision: int,
        slot: int,
        in_slot: list[Replica],
        prepared: Prepared,
        configuration: DeployConfiguration,
    ) -> bool:
        """Brings the slot one step on; returns whether its replica answers."""
        live = next((replica for replica in in_slot if replica.is_live), None)
        if live is None:
            if self._may_start(in_slot):
                self._replicas.add(
                    revision=revision,
                    slot=slot,
                    generation=len(in_slot),
                    server=self._server,
                    port=self._free_port(),
                )
            return False
        if live.state is State.STARTING:
            if not live.announced:
                self._start(live, prepared, configuration)
            return self._await(live, prepared.engine)
        self._check_health(live, prepared.engine)
        return live.state is State.READY

    def _may_start(self, in_slot: list[Replica]) -> bool:
        streak = 0
        for replica in reversed(in_slot):
            if not replica.crashed or replica.served_seconds >= self._patience.stable:
                break
            streak += 1
        if streak == 0:
            return True
        last = in_slot[-1]
        if streak >= self._patience.quick_crashes:
            raise _RevisionLost(
                Failure(
                    f"{last.end_reason} It ended {streak} times in a row.",
                    last.end_remedy,
                    last.log_tail,
                )
            )
        pause = min(self._patience.max_backoff, self._patience.backoff * 2 ** (streak - 1))
        return streak == 1 or (last.ended_age or 0.0) >= pause

    def _start(
        self, replica: Replica, prepared: Prepared, configuration: DeployConfiguration
    ) -> None:
        model = self._store.load(Model, self.lease.model_id)
        launch = Launch(
            replica_id=replica.id,
            model_name=model.name,
            model_directory=prepared.directory,
            total_bytes=model.total_bytes,
            port=replica.port,
            configuration=configuration,
        )
        try:
            self._launcher.start(
                prepared.engine.command(prepared.environment, launch),
                replica_id=replica.id,
                deployment_id=self.lease.deployment_id,
                model_id=self.lease.model_id,
                revision=replica.revision,
                port=replica.port,
            )
        except DomainError as error:
            raise _RevisionLost(Failure(error.detail, error.remedy)) from error
        except OSError as error:
            raise _RevisionLost(
                Failure(
                    f"The engine's process could not be started: {error}.",
                    "See that the engine's environment in LOGGIA_CACHE_DIR is whole, and that the "
                    "data directory can be written; then redeploy.",
                )
            ) from error
        self._records.replica_started(
            self.lease,
            replica,
            engine=prepared.engine.name,
            engine_version=prepared.environment.version,
        )
        self._replicas.announce(replica)

    def _await(self, replica: Replica, engine: Engine) -> bool:
        if self._answers(replica, engine):
            self._records.replica_ready(self.lease, replica)
            self._replicas.mark_ready(replica)
            return True
        tail = self._launcher.log(replica.id).tail()
        limit = self._patience.start
        if replica.age >= limit:
            self._lose(
                replica,
                Diagnosis(
                    f"The engine did not answer within {limit:g} s.",
                    "Read the log's last lines; where the model is only large, raise "
                    "LOGGIA_ENGINE_START_SECONDS. Then redeploy.",
                ),
                None,
                tail,
            )
        else:
            self._progress.starting(replica.age, limit, tail[-1] if tail else "")
        return False

    def _answers(self, replica: Replica, engine: Engine) -> bool:
        try:
            model = self._store.load(Model, self.lease.model_id)
            return engine.answers(self._client, replica.endpoint, model.name)
        except (httpx.HTTPError, ValueError, KeyError):
            return False  # still loading, or something else speaks on its port

    def _check_health(self, replica: Replica, engine: Engine) -> None:
        key, now = str(replica.id), time.monotonic()
        if now - self._checked_at.get(key, 0.0) < self._patience.health_interval:
            return
        self._checked_at[key] = now
        try:
            healthy = engine.is_alive(self._client, replica.endpoint)
        except httpx.HTTPError:
            healthy = False
        if healthy:
            self._unhealthy_since.pop(key, None)
            return
        since = self._unhealthy_since.setdefault(key, now)
        if now - since >= self._patience.hang:
            self._unhealthy_since.pop(key)
            tail = self._launcher.log(replica.id).tail()
            self._lose(
                replica,
                Diagnosis(
                    f"The engine has not responded for {self._patience.hang:g} s.",
                    "Read the log's last lines; it is started again by itself.",
                ),
                None,
                tail,
            )

    def _free_port(self) -> int:
        try:
            return self._launcher.free_port()
        except NoFreePort as error:
            raise _RevisionLost(
                Failure(f"The engine cannot listen: {error}.", "Stop other engines, then redeploy.")
            ) from error

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
            self._drain(deployment, replica)
        if live:
            return
        superseded = deployment.state not in {DeploymentState.STOPPING, DeploymentState.STOPPED}
        if superseded and revision not in deployment.failed_revisions:
            self._records.revision_retired(self.lease, revision)
        self._replicas.forget(revision)

    def _drain(self, deployment: Deployment, replica: Replica) -> None:
        if replica.state is State.READY:
            self._replicas.mark_draining(replica)
            return
        if replica.state is State.DRAINING:
            waited = replica.draining_age or 0.0
            requests = self._requests(deployment, replica)
            unsettled = waited < self._patience.settle
            if (requests or unsettled) and waited < self._patience.drain:
                self._progress.draining(waited, self._patience.drain, requests)
                return
        # One that never served has nothing to finish.
        self._launcher.stop(replica.id)
        self._replicas.mark_ended(replica, crashed=False)
        self._progress.drained()

    def _requests(self, deployment: Deployment, replica: Replica) -> int:
        if not self._launcher.find(replica.id).running:
            return 0
        engine = self._preparations.engine(_configuration(deployment, replica.revision))
        try:
            load = engine.load(self._client, replica.endpoint)
        except (httpx.HTTPError, ValueError):
            return 1  # unknown: as if busy, until the time for draining is over
        return load.running + load.waiting

    def _fail(self, revision: int, failure: Failure) -> None:
        for replica in self._replicas.all():
            if replica.revision == revision and replica.is_live:
                self._launcher.stop(replica.id)
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


class _RevisionLost(Exception):
    """The revision at hand cannot be served."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def _wanted(deployment: Deployment) -> list[int]:
    """The revisions that should run, the one that serves first."""
    if deployment.state in {DeploymentState.STOPPING, DeploymentState.STOPPED}:
        return []
    wanted = [] if deployment.serving_revision is None else [deployment.serving_revision]
    if deployment.state is DeploymentState.DEPLOYING:
        desired = deployment.desired_revision
        if desired not in wanted and desired not in deployment.failed_revisions:
            wanted.append(desired)
    return wanted


def _configuration(deployment: Deployment, revision: int) -> DeployConfiguration:
    return DeployConfiguration.from_dict(deployment.revisions[revision])
