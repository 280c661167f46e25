"""The deploy worker: takes leases, and looks after each deployment in a thread of its own."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import httpx
import psycopg
from eventsourcing.persistence import PersistenceError
from psycopg_pool import PoolTimeout

from backend.application.adapters import Adapters
from backend.application.commands import CommandRunner
from backend.application.deployments import Deployments
from backend.application.engine_facts import EngineFactsTable
from backend.application.servers import Servers
from backend.application.store import EventStore, StoreUnavailable
from backend.domain.deployment import Deployment
from backend.domain.model import Model
from backend.infra.connections import ConnectionStore, Seal
from backend.infra.demand import DemandCalls
from backend.infra.jobs import LeaseLost
from backend.infra.logging import get_logger
from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool
from backend.infra.processes import RUN_ID_VARIABLE
from backend.infra.servers import ServerStore
from backend.infra.settings import Settings
from backend.infra.telemetry import TelemetryPublisher
from backend.sources.guarded import GuardedClient
from workers.serving.engine import Engine
from workers.serving.environments import EngineEnvironments
from workers.serving.failures import Failure
from workers.serving.files import ModelFiles
from workers.serving.installed import InstalledEngines
from workers.serving.launchers.configured import Configured
from workers.serving.launchers.directory import Directory
from workers.serving.launchers.launcher import Unreachable
from workers.serving.launchers.local import LocalProcesses
from workers.serving.launchers.remote import RemoteServers, ServerCredentials
from workers.serving.measuring import Measuring
from workers.serving.optimization.artefacts import Artefacts
from workers.serving.optimization.conversion import Conversions
from workers.serving.patience import Patience
from workers.serving.preparation import Preparations
from workers.serving.progress import Progress
from workers.serving.reconciler import Outlook, Reconciler
from workers.serving.records import Records
from workers.serving.replicas import Replicas, live_on
from workers.serving.targets import Lease, Targets
from workers.serving.watching import ServerWatch

_TICK_SECONDS = 0.25
_STEADY_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_MAX_RETRY_SECONDS = 30.0
_STOP_SECONDS = 5.0
_UNFORESEEN = 8
_CONNECT_SECONDS = 2.0
_DATABASE_ERRORS = (psycopg.Error, PoolTimeout, StoreUnavailable, PersistenceError)
_log = get_logger(__name__)


@dataclass
class _Care:
    """One deployment in this worker's care."""

    reconciler: Reconciler
    wake: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class ServingWorker:
    """Looks after every deployment whose lease it gets."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        engines: dict[str, Engine],
        *,
        patience: Patience | None = None,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._engines = engines
        self._patience = patience or Patience(
            start=settings.engine_start_seconds, drain=settings.engine_drain_seconds
        )
        self._local = LocalProcesses(settings.data)
        self._store = EventStore(settings)
        runner = CommandRunner(self._store, settings.secret_key)
        self._records = Records(Deployments(runner), Adapters(runner))
        self._targets = Targets(
            pool, worker=self._local.server, lease_seconds=settings.job_lease_seconds
        )
        self._calls = DemandCalls(settings.dsn)
        seal = Seal(settings.secret_key)
        servers = ServerStore(pool, seal)
        self._guarded = GuardedClient.from_settings(settings)
        remote = RemoteServers(pool, servers, self._guarded)
        self._launchers = Configured(
            Directory(self._local, remote), settings, ConnectionStore(pool, seal)
        )
        objects = ObjectStore.from_settings(settings)
        self._artefacts = Artefacts(pool, objects)
        self._files = ModelFiles(
            objects,
            settings.data / "engines" / "files",
            settings.roots,
        )
        self._environments = EngineEnvironments(
            settings.cache, pip_arguments=settings.engine_pip_arguments
        )
        self._conversions = Conversions(
            self._artefacts, self._environments, settings.data / "engines" / "conversions"
        )
        self._facts = EngineFactsTable(pool)
        self._installed = InstalledEngines(self._facts, self._environments)
        self._publisher = TelemetryPublisher(settings, client_id="loggia-work-deploy")
        self._client = httpx.Client(
            timeout=httpx.Timeout(self._patience.probe, connect=_CONNECT_SECONDS),
            trust_env=False,
            auth=ServerCredentials(remote),
        )
        self._watch = ServerWatch(settings, servers, Servers(runner, seal))
        self._measuring = Measuring(
            pool,
            self._local,
            self._launchers,
            engines,
            self._environments,
            self._client,
            watches=lambda: self._watch.watches,
        )
        self._cared: dict[UUID, _Care] = {}
        self._renewed_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Works until `stop` is set; then, under `loggia up`, ends the engines too."""
        self._conversions.clear()
        self._tidy()
        teller = threading.Thread(target=self._tell_engines, args=(stop,), name="engines")
        teller.start()
        observers = [
            threading.Thread(target=part.run, args=(stop,), name=type(part).__name__)
            for part in (self._watch, self._measuring)
        ]
        for observer in observers:
            observer.start()
        while not stop.is_set():
            try:
                self._take()
                self._hold()
            except _DATABASE_ERRORS as error:
                _log.warning("PostgreSQL unreachable, trying again", error=str(error))
                stop.wait(_RETRY_SECONDS)
            for model_id in self._calls.heard(_TICK_SECONDS):
                self._wake(model_id)
        teller.join(timeout=_STOP_SECONDS)
        self._calls.close()
        self._finish()
        for observer in observers:
            observer.join(timeout=_STOP_SECONDS)
        self._guarded.close()
        self._client.close()
        self._store.close()

    def _tell_engines(self, stop: threading.Event) -> None:
        try:
            self._launchers.tell(self._facts)
            self._installed.tell_all(self._engines, stop)
        except _DATABASE_ERRORS as error:
            _log.warning("what the engines say could not be noted", error=str(error))

    def _wake(self, model_id: str) -> None:
        """Requests wait for a replica of the model."""
        care = self._cared.get(Deployment.create_id(UUID(model_id)))
        if care is not None:
            care.wake.set()

    def _take(self) -> None:
        for deployment_id, care in list(self._cared.items()):
            if care.thread is not None and not care.thread.is_alive():
                del self._cared[deployment_id]
                self._tidy()
        while (lease := self._targets.claim(self._cared.keys())) is not None:
            care = _Care(self._reconciler(lease))
            care.thread = threading.Thread(
                target=self._look_after, args=(care,), name=f"deployment {lease.deployment_id}"
            )
            self._cared[lease.deployment_id] = care
            care.thread.start()

    def _hold(self) -> None:
        """Keeps the leases, and wakes whoever has news."""
        due = time.monotonic() - self._renewed_at >= self._settings.job_lease_seconds / 3
        if due:
            self._renewed_at = time.monotonic()
        held = {} if due else self._targets.held()
        for deployment_id, care in self._cared.items():
            try:
                known = care.reconciler.lease
                lease = self._targets.renew(known) if due else held.get(deployment_id, known)
            except LeaseLost:
                care.stopped.set()
                care.wake.set()
                continue
            if lease.fence == known.fence and lease.position != known.position:
                care.reconciler.lease = lease
                care.wake.set()

    def _reconciler(self, lease: Lease) -> Reconciler:
        progress = Progress(self._publisher, lease.model_id)
        return Reconciler(
            lease,
            pool=self._pool,
            store=self._store,
            records=self._records,
            replicas=Replicas(self._pool, lease),
            launchers=self._launchers,
            preparations=Preparations(
                self._engines,
                self._environments,
                self._files,
                self._artefacts,
                self._conversions,
                progress,
                self._installed.tell,
            ),
            progress=progress,
            client=self._client,
            patience=self._patience,
        )

    def _look_after(self, care: _Care) -> None:
        reconciler = care.reconciler
        log = _log.bind(model=str(reconciler.lease.model_id))
        unforeseen = 0
        while not care.stopped.is_set():
            care.wake.clear()
            pause = _TICK_SECONDS
            try:
                lease = reconciler.lease
                outlook = reconciler.step()
                if outlook is Outlook.NOTHING_LEFT and self._targets.settle(lease):
                    break
                if outlook is Outlook.STEADY:
                    pause = _STEADY_SECONDS
                unforeseen = 0
            except LeaseLost as error:
                log.warning("another worker has taken over", error=str(error))
                break
            except _DATABASE_ERRORS as error:
                log.warning("PostgreSQL unreachable, trying again", error=str(error))
                pause = _RETRY_SECONDS
            except Unreachable as error:
                log.warning("a launcher does not answer, trying again", error=str(error))
                pause = _RETRY_SECONDS
            except Exception as error:  # one deployment's trouble must not end the others
                unforeseen += 1
                log.exception("looking after a deployment failed", attempt=unforeseen)
                pause = min(_MAX_RETRY_SECONDS, _RETRY_SECONDS * 2**unforeseen)
                if unforeseen == _UNFORESEEN:
                    self._give_up(reconciler, error)
            care.wake.wait(pause)
        reconciler.close()

    @staticmethod
    def _give_up(reconciler: Reconciler, error: Exception) -> None:
        with suppress(LeaseLost, *_DATABASE_ERRORS):
            reconciler.give_up(
                Failure(
                    f"The deploy worker met an unforeseen error: {error}.",
                    "Read the worker's log, then redeploy.",
                )
            )

    def _tidy(self) -> None:
        """Ends engines that belong to no replica, and removes files that no deployment needs."""
        # Read before the rows: whoever starts an engine has written its row first.
        running = list(self._local.records())
        try:
            live = live_on(self._pool, self._local.server)
            for record in running:
                if record.replica_id not in live:
                    self._local.stop(record.replica_id)
            self._files.remove_unused(self._used_files)
        except _DATABASE_ERRORS as error:
            _log.warning("tidying up is left for later", error=str(error))
            return
        self._local.clear_old_folders()
        self._launchers.tidy(lambda server: live_on(self._pool, server))

    def _used_files(self) -> set[str]:
        """The manifests of what any deployment still may serve."""
        models = self._targets.open_models()
        return self._artefacts.manifests(list(models)).union(*map(self._files_in_use, models))

    def _files_in_use(self, model_id: UUID) -> set[str]:
        """The manifests of what the model's deployment still may serve, of bases too."""
        model = self._store.find(Model, model_id)
        deployment = self._store.find(Deployment, Deployment.create_id(model_id))
        if model is None or deployment is None:
            return set()
        kept = deployment.model_versions.keys() - set(deployment.retired_revisions)
        used = [model.versions[deployment.model_versions[revision]] for revision in kept]
        for revision in kept:
            base_id = model.versions[deployment.model_versions[revision]].base_model_id
            base = self._store.find(Model, base_id) if base_id is not None else None
            if base and (served := base.base_version(deployment.base_model_versions[revision])):
                used.append(served)
        for adapter_id, wanted in deployment.wanted_adapters.items():
            adapter = self._store.find(Model, UUID(adapter_id))
            if adapter is not None:
                used.append(adapter.version_of(wanted["version"]))
        return {v.manifest_sha256 for v in used if v.manifest_sha256 is not None}

    def _finish(self) -> None:
        for care in self._cared.values():
            care.stopped.set()
            care.wake.set()
        for care in self._cared.values():
            if care.thread is not None:
                care.thread.join(timeout=_STOP_SECONDS)
        if os.environ.get(RUN_ID_VARIABLE):
            # Under `loggia up` nothing may be left running. Elsewhere the next worker adopts
            # the engines, so that a new version of it disturbs nobody.
            with ThreadPoolExecutor(max_workers=16) as executor:
                executor.map(self._shut_down, self._cared.values())
        for care in self._cared.values():
            with suppress(*_DATABASE_ERRORS):
                self._targets.release(care.reconciler.lease)
        self._launchers.close()
        self._publisher.close()

    @staticmethod
    def _shut_down(care: _Care) -> None:
        try:
            care.reconciler.shut_down(seconds=_STOP_SECONDS)
        except (LeaseLost, *_DATABASE_ERRORS) as error:
            _log.warning("engines were left to the supervisor", error=str(error))
