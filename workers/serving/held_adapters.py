"""Adapters beside a running base model: brought onto every replica, and taken off again.

What a replica holds is asked of its engine; what is remembered here only saves asking twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

import httpx

from backend.application.store import EventStore
from backend.domain.deployment import Deployment
from backend.domain.deployment_events import DeploymentState
from backend.domain.errors import DomainError
from backend.domain.model import Model
from backend.domain.servable import Use
from workers.serving.engine import AdapterFiles, AdapterRefused, Engine, HoldsAdapters
from workers.serving.files import FilesUnavailable
from workers.serving.preparation import Preparations, Prepared
from workers.serving.records import Records
from workers.serving.replicas import Replica
from workers.serving.targets import Lease

# Of an adapter's effect on numbers of its base: far below what any training does.
_NOTICEABLE = 1e-4
_ODD_ANSWERS = (httpx.HTTPError, ValueError, LookupError)
_UNDER_WAY = {DeploymentState.OPTIMIZING, DeploymentState.DEPLOYING}


class HeldAdapters:
    """The adapters of one deployment. `look` comes first in every step."""

    def __init__(
        self,
        lease: Callable[[], Lease],
        *,
        store: EventStore,
        records: Records,
        preparations: Preparations,
        client: httpx.Client,
        settle: float,
    ) -> None:
        """`settle` is how long the gateway may take, in seconds, to stop calling one."""
        self._lease = lease
        self._store = store
        self._records = records
        self._preparations = preparations
        self._client = client
        self._settle = settle
        self._deployment: Deployment | None = None
        self._held: dict[UUID, dict[str, Path]] = {}
        self._placed: dict[tuple[str, str], AdapterFiles] = {}
        self._leaving: dict[str, float] = {}
        self._given_up: set[str] = set()

    def look(self, deployment: Deployment) -> None:
        """What is wanted now."""
        self._deployment = deployment
        self._given_up.clear()
        for adapter_id in self._leaving.keys() & deployment.wanted_adapters.keys():
            del self._leaving[adapter_id]

    def bring(self, replica: Replica, prepared: Prepared) -> bool:
        """Loads what the replica lacks; returns whether it holds all that it can."""
        deployment, engine = self._deployment, _holder(prepared)
        if deployment is None or engine is None:
            return True
        complete = True
        for adapter_id, wanted in deployment.wanted_adapters.items():
            if wanted["rank"] > prepared.subject.adapter_rank or adapter_id in self._given_up:
                continue
            try:
                files = self._files(adapter_id, wanted["version"])
                if files is None:
                    complete = False
                    continue
                self._load(engine, replica, files)
            except (AdapterRefused, DomainError, FilesUnavailable) as error:
                why = f"It could not be loaded: {error}"
                self._give_up(deployment, replica.revision, adapter_id, why)
            except _ODD_ANSWERS:
                complete = False  # the replica is slow or has gone; the next look sees it
        return complete

    def keep(self, revision: int, replicas: Sequence[Replica], prepared: Prepared) -> bool:
        """Brings the serving revision's ready replicas up to date, and records what is done.

        Returns whether nothing is left to do.
        """
        deployment = self._deployment
        if deployment is None or not (deployment.wanted_adapters or deployment.adapters):
            return True
        holder = _holder(prepared)
        if holder is None:
            return self._give_all_up(deployment, revision)
        done = all(self.bring(replica, prepared) for replica in replicas)
        for adapter_id, wanted in deployment.wanted_adapters.items():
            if adapter_id in self._given_up:
                continue
            if wanted["rank"] > prepared.subject.adapter_rank:
                done = self._await_larger(deployment, revision, adapter_id) and done
            elif deployment.adapters.get(adapter_id) != wanted["version"] and done and replicas:
                self._records.adapter_loaded(
                    self._lease(),
                    revision,
                    UUID(adapter_id),
                    warnings=doubts(
                        prepared.engine,
                        self._client,
                        replicas[0].endpoint,
                        adapter=wanted["name"],
                        base=prepared.subject.name,
                        use=prepared.subject.use,
                    ),
                )
        for adapter_id in deployment.adapters.keys() - deployment.wanted_adapters.keys():
            done = self._take_off(revision, adapter_id, replicas, holder) and done
        return done

    def forget(self, replica_id: UUID) -> None:
        """The replica has gone."""
        self._held.pop(replica_id, None)

    def _give_all_up(self, deployment: Deployment, revision: int) -> bool:
        """The engine holds no adapters; one that does may be under way."""
        if deployment.state in _UNDER_WAY:
            return False
        for adapter_id in deployment.wanted_adapters:
            self._give_up(deployment, revision, adapter_id, "The engine holds no adapters.")
        return True

    def _await_larger(self, deployment: Deployment, revision: int, adapter_id: str) -> bool:
        """A revision whose engines can hold the adapter is under way, or has failed."""
        if deployment.state in _UNDER_WAY:
            return False
        why = "The engines that run cannot hold it, and larger ones could not be started."
        self._give_up(deployment, revision, adapter_id, why)
        return True

    def _take_off(
        self, revision: int, adapter_id: str, replicas: Sequence[Replica], engine: HoldsAdapters
    ) -> bool:
        since = self._leaving.setdefault(adapter_id, time.monotonic())
        if time.monotonic() - since < self._settle:
            return False
        name = self._store.load(Model, UUID(adapter_id)).name
        for replica in replicas:
            try:
                engine.unload_adapter(self._client, replica.endpoint, name)
                self._known(engine, replica).pop(name, None)
            except (AdapterRefused, *_ODD_ANSWERS):
                return False  # nobody calls it any more, so that trying again disturbs nobody
        del self._leaving[adapter_id]
        self._records.adapter_unloaded(
            self._lease(), revision, UUID(adapter_id), name=name, reason="As asked.", failed=False
        )
        return True

    def _give_up(self, deployment: Deployment, revision: int, adapter_id: str, why: str) -> None:
        self._given_up.add(adapter_id)
        self._records.adapter_unloaded(
            self._lease(),
            revision,
            UUID(adapter_id),
            name=deployment.wanted_adapters[adapter_id]["name"],
            reason=why,
            failed=True,
        )

    def _load(self, engine: HoldsAdapters, replica: Replica, files: AdapterFiles) -> None:
        """Loads it, unless it is there. What an earlier request began may have come to its end."""
        held = self._known(engine, replica)
        if held.get(files.name) == files.directory:
            return
        try:
            engine.load_adapter(self._client, replica.endpoint, files, anew=files.name in held)
        except _ODD_ANSWERS:
            self.forget(replica.id)
            raise
        except AdapterRefused:
            self.forget(replica.id)
            if self._known(engine, replica).get(files.name) != files.directory:
                raise
        else:
            held[files.name] = files.directory

    def _files(self, adapter_id: str, version: str) -> AdapterFiles | None:
        placed = self._placed.get((adapter_id, version))
        if placed is None or not placed.directory.is_dir():
            model = self._store.load(Model, UUID(adapter_id))
            directory = self._preparations.directory(model.version_of(version))
            if directory is None:
                return None
            self._placed[adapter_id, version] = AdapterFiles(model.name, directory, 0)
        return self._placed[adapter_id, version]

    def _known(self, engine: HoldsAdapters, replica: Replica) -> dict[str, Path]:
        if replica.id not in self._held:
            self._held[replica.id] = dict(engine.loaded_adapters(self._client, replica.endpoint))
        return self._held[replica.id]


def _holder(prepared: Prepared) -> HoldsAdapters | None:
    """The engine where it can hold adapters: it knows how, and the files are on its machine."""
    engine = prepared.engine
    if isinstance(engine, HoldsAdapters) and prepared.directory is not None:
        return engine
    return None


def doubts(
    engine: Engine, client: httpx.Client, endpoint: str, *, adapter: str, base: str, use: Use
) -> list[str]:
    """Whether an adapter changes what its base answers, as warnings for people."""
    try:
        effect = engine.effect(client, endpoint, adapter, base, use)
    except _ODD_ANSWERS as error:
        return [f"The adapter could not be compared with its base: {error}."]
    if effect >= _NOTICEABLE:
        return []
    warning = (
        "The adapter has no effect: for the same input it answers as its base, "
        f"'{base}', does. Make sure that it was trained on this base."
    )
    return [warning]
