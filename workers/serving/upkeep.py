"""One replica's life under the worker's care: started, awaited, watched, drained, given up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import httpx

from backend.application.store import EventStore
from backend.domain.configuration import DeployConfiguration
from backend.domain.deployment import Deployment
from backend.domain.errors import DomainError
from workers.serving.engine import Diagnosis, Engine
from workers.serving.engine_log import TAIL_LINES
from workers.serving.failures import Failure, PlaceUnknown, RevisionLost
from workers.serving.held_adapters import HeldAdapters, doubts
from workers.serving.launchers.launcher import (
    Launcher,
    Launchers,
    NoPlace,
    Order,
    PlaceLost,
    ReplicaLog,
    StillPreparing,
    Wanted,
)
from workers.serving.patience import Patience
from workers.serving.preparation import Preparations, Prepared
from workers.serving.progress import Progress
from workers.serving.records import Records
from workers.serving.replicas import Replica, Replicas, State
from workers.serving.subject import Subject, Subjects
from workers.serving.targets import Lease

_DIAGNOSED_LINES = 400


class Upkeep:
    """Takes a replica one step on, in the order: process, event, row."""

    def __init__(
        self,
        lease: Callable[[], Lease],
        *,
        store: EventStore,
        records: Records,
        replicas: Replicas,
        launchers: Launchers,
        preparations: Preparations,
        progress: Progress,
        client: httpx.Client,
        patience: Patience,
    ) -> None:
        self._lease = lease
        self._records = records
        self._replicas = replicas
        self._launchers = launchers
        self._preparations = preparations
        self._progress = progress
        self._client = client
        self._patience = patience
        self._subjects = Subjects(store, lease().model_id)
        self.adapters = HeldAdapters(
            lease,
            store=store,
            records=records,
            preparations=preparations,
            client=client,
            settle=patience.settle,
        )
        self._logs: dict[str, ReplicaLog] = {}
        self._unhealthy_since: dict[str, float] = {}
        self._checked_at: dict[str, float] = {}
        self._placeless_since: dict[UUID, float] = {}

    def observe(self, deployment: Deployment, replica: Replica) -> bool:
        """Looks at the replica's process; returns whether it turned out to be gone."""
        if not replica.is_live:
            return False
        launcher = self._launchers.at(replica.server)
        if launcher is None:
            reason = f"The server '{replica.server}' has been given up."
            self._records.replica_lost(
                self._lease(), replica, reason=reason, exit_code=None, log_tail=[]
            )
            self._replicas.mark_ended(replica, crashed=False, reason=reason)
            return True
        self._follow_log(replica, launcher)
        unstarted = replica.state is State.STARTING and not replica.announced
        seen = launcher.find(replica.id, search=unstarted)
        if seen.running or (unstarted and not seen.known):
            return False
        if replica.state is State.DRAINING:
            return False  # it is being stopped anyway
        # The cause often stands far above the last lines.
        lines = launcher.log(replica.id).tail(_DIAGNOSED_LINES)
        engine = self._preparations.engine(configuration_of(deployment, replica.revision))
        why = seen.why or engine.diagnose(lines, seen.exit_code)
        self._lose(replica, why, seen.exit_code, lines[-TAIL_LINES:], crashed=seen.crashed)
        return True

    def _follow_log(self, replica: Replica, launcher: Launcher) -> None:
        """Shows and keeps what the engine has said since the last look."""
        key = str(replica.id)
        log = self._logs.get(key)
        if log is None:
            log = self._logs[key] = launcher.log(replica.id)
            log.go_on(self._replicas.log_offset(replica))
        if lines := log.new_lines():
            self._progress.log(replica.id, lines)
            self._replicas.keep_log(replica, lines, log.offset)
        log.bound()

    def _lose(
        self,
        replica: Replica,
        why: Diagnosis,
        exit_code: int | None,
        tail: list[str],
        *,
        crashed: bool = True,
    ) -> None:
        # Its leader may have gone and left processes behind.
        self.stop(replica)
        self.adapters.forget(replica.id)
        self._records.replica_lost(
            self._lease(), replica, reason=why.reason, exit_code=exit_code, log_tail=tail
        )
        self._replicas.mark_ended(
            replica, crashed=crashed, reason=why.reason, remedy=why.remedy, log_tail=tail
        )

    def subject(self, deployment: Deployment, revision: int) -> Subject:
        """What the revision serves. Raises `NotAllowed` where no engine can."""
        return self._subjects.of(deployment, revision)

    def may_start(self, in_slot: list[Replica], *, others_serve: bool) -> bool:
        """Whether it is time for a further replica in the slot.

        Raises `RevisionLost` after too many quick crashes, unless others serve meanwhile.
        """
        streak = 0
        for replica in reversed(in_slot):
            if not replica.crashed or replica.served_seconds >= self._patience.stable:
                break
            streak += 1
        if streak == 0:
            return True
        last = in_slot[-1]
        if streak >= self._patience.quick_crashes and not others_serve:
            raise RevisionLost(
                Failure(
                    f"{last.end_reason} It ended {streak} times in a row.",
                    last.end_remedy,
                    last.log_tail,
                )
            )
        return streak == 1 or (last.ended_age or 0.0) >= self._patience.pause(streak)

    def give_up(self, replica: Replica, failure: Failure) -> None:
        """One that cannot even be started; it counts as a crash, and is tried again later."""
        self.stop(replica)
        self._replicas.mark_ended(
            replica,
            crashed=True,
            reason=failure.reason,
            remedy=failure.remedy,
            log_tail=failure.log_tail,
        )

    def start(
        self, replica: Replica, prepared: Prepared, configuration: DeployConfiguration
    ) -> bool:
        """Brings it into being; False where its place has gone. Raises `RevisionLost`."""
        lease = self._lease()
        wanted = Wanted(
            replica_id=replica.id,
            deployment_id=lease.deployment_id,
            model_id=lease.model_id,
            revision=replica.revision,
            slot=replica.slot,
            configuration=configuration,
        )
        order = Order(wanted, replica.place, prepared)
        try:
            engine_version = self._launcher(replica).start(order)
        except PlaceLost as lost:
            self._replicas.mark_ended(replica, crashed=False, reason=str(lost))
            return False
        except StillPreparing as news:
            self._progress.starting(replica.age, self._patience.start, str(news))
            return True
        except DomainError as error:
            raise RevisionLost(Failure(error.detail, error.remedy)) from error
        except OSError as error:
            raise RevisionLost(
                Failure(
                    f"The engine's process could not be started: {error}.",
                    "See that the engine's environment in LOGGIA_CACHE_DIR is whole, and that the "
                    "data directory can be written; then redeploy.",
                )
            ) from error
        self._records.replica_started(
            self._lease(),
            replica,
            server=self._launchers.public_name(replica.server),
            engine=prepared.engine.name,
            engine_version=engine_version,
            devices=self._launcher(replica).devices(order),
        )
        self._replicas.announce(replica)
        return True

    def await_answer(self, replica: Replica, prepared: Prepared) -> bool:
        replica = self._located(replica)
        answers = bool(replica.endpoint) and self._answers(replica, prepared)
        if answers and self.adapters.bring(replica, prepared):
            self._records.replica_ready(
                self._lease(), replica, warnings=self._doubts(replica, prepared)
            )
            self._replicas.mark_ready(replica)
            return True
        tail = self._launcher(replica).log(replica.id).tail()
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

    def _located(self, replica: Replica) -> Replica:
        """The replica with its address, where its launcher had to find one."""
        endpoint = self._launcher(replica).find(replica.id).endpoint
        if endpoint is None or endpoint == replica.endpoint:
            return replica
        self._replicas.locate(replica, endpoint)
        return replace(replica, endpoint=endpoint)

    def _answers(self, replica: Replica, prepared: Prepared) -> bool:
        subject = prepared.subject
        if self._launcher(replica).find(replica.id).healthy is False:
            return False
        try:
            return self._spoken(replica, prepared.engine).answers(
                self._client, replica.endpoint, subject.name, subject.use
            )
        except (httpx.HTTPError, ValueError, LookupError):
            return False  # still loading, or something else speaks on its port

    def _doubts(self, replica: Replica, prepared: Prepared) -> list[str]:
        """Whether an adapter changes what its base answers."""
        subject = prepared.subject
        if subject.base_name is None:
            return []
        return doubts(
            prepared.engine,
            self._client,
            replica.endpoint,
            adapter=subject.name,
            base=subject.base_name,
            use=subject.use,
        )

    def check_health(self, replica: Replica, engine: Engine) -> None:
        key, now = str(replica.id), time.monotonic()
        if now - self._checked_at.get(key, 0.0) < self._patience.health_interval:
            return
        self._checked_at[key] = now
        if self._is_healthy(replica, engine):
            self._unhealthy_since.pop(key, None)
            return
        since = self._unhealthy_since.setdefault(key, now)
        if now - since >= self._patience.hang:
            self._unhealthy_since.pop(key)
            tail = self._launcher(replica).log(replica.id).tail()
            self._lose(
                replica,
                Diagnosis(
                    f"The engine has not responded for {self._patience.hang:g} s.",
                    "Read the log's last lines; it is started again by itself.",
                ),
                None,
                tail,
            )

    def _is_healthy(self, replica: Replica, engine: Engine) -> bool:
        known = self._launcher(replica).find(replica.id).healthy
        if known is not None:
            return known
        try:
            return self._spoken(replica, engine).is_alive(self._client, replica.endpoint)
        except httpx.HTTPError:
            return False

    def place(
        self,
        revision: int,
        slot: int,
        generation: int,
        configuration: DeployConfiguration,
        *,
        serves: bool,
    ) -> None:
        """Finds a place for one more replica, and writes its row; waits where there is none now.

        Raises `PlaceUnknown`, and `RevisionLost` where there never will be one, or where a revision
        that does not serve yet has waited as long as for an engine's start.
        """
        wanted = self._replicas.wanted(
            revision=revision, slot=slot, generation=generation, configuration=configuration
        )
        try:
            launcher = self.launcher_of(configuration)
            self._replicas.add(wanted, launcher, generation=generation)
        except NoPlace as error:
            waited = time.monotonic() - self._placeless_since.setdefault(
                wanted.replica_id, time.monotonic()
            )
            limit = self._patience.start
            if not serves and (error.forever or waited >= limit):
                raise RevisionLost(Failure(error.detail, error.remedy)) from error
            self._progress.starting(min(waited, limit), limit, error.detail)
        except DomainError as error:
            raise RevisionLost(Failure(error.detail, error.remedy)) from error
        else:
            self._placeless_since.pop(wanted.replica_id, None)

    def leaving(self, replica: Replica) -> str | None:
        """Why the replica is to move elsewhere, or None."""
        launcher = self._launchers.at(replica.server)
        return launcher.leaving(replica.server) if launcher is not None else None

    def launcher_of(self, configuration: DeployConfiguration) -> Launcher:
        """The one that brings its replicas into being. Raises `PlaceUnknown`."""
        try:
            return self._launchers.named(configuration.hardware.server)
        except DomainError as error:
            raise PlaceUnknown(Failure(error.detail, error.remedy)) from error

    def stop(self, replica: Replica) -> None:
        """Ends what belongs to the replica; nothing does where its server was given up."""
        launcher = self._launchers.at(replica.server)
        if launcher is not None:
            launcher.stop(replica.id)
            self._follow_log(replica, launcher)  # its last words

    def retire(self, replica: Replica, reason: str) -> None:
        """The gateway stops using it at the event; then it is drained."""
        self._records.replica_retired(self._lease(), replica, reason=reason)
        self._replicas.mark_draining(replica)

    def drain(self, deployment: Deployment, replica: Replica) -> None:
        """Lets it finish its requests, for a bounded time, and ends it."""
        if replica.state is State.READY:
            self._replicas.mark_draining(replica)
            return
        if replica.state is State.DRAINING and replica.ready_age is not None:
            waited = replica.draining_age or 0.0
            requests = self._requests(deployment, replica)
            unsettled = waited < self._patience.settle
            if (requests or unsettled) and waited < self._patience.drain:
                self._progress.draining(waited, self._patience.drain, requests)
                return
        # One that never served has nothing to finish.
        self.stop(replica)
        self._replicas.mark_ended(replica, crashed=False)
        self._progress.drained()

    def _requests(self, deployment: Deployment, replica: Replica) -> int:
        seen = self._launcher(replica).find(replica.id)
        if not seen.running:
            return 0
        engine = self._preparations.engine(configuration_of(deployment, replica.revision))
        try:
            spoken = self._spoken(replica, engine)
            loads = [
                spoken.load(self._client, address)
                for address in ((replica.endpoint,) if seen.inside is None else seen.inside)
            ]
        except (httpx.HTTPError, ValueError):
            return 1  # unknown: as if busy, until the time for draining is over
        return sum(load.running + load.waiting for load in loads)

    def _spoken(self, replica: Replica, engine: Engine) -> Engine:
        return self._launcher(replica).speaks(engine)

    def _launcher(self, replica: Replica) -> Launcher:
        found = self._launchers.at(replica.server)
        if found is None:  # given up since this look began; the next one records it
            raise RuntimeError(f"nobody looks after the server '{replica.server}'")
        return found


def configuration_of(deployment: Deployment, revision: int) -> DeployConfiguration:
    return DeployConfiguration.from_dict(deployment.revisions[revision])
