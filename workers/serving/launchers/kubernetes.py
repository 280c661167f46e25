"""Replicas on a Kubernetes cluster.

One replica here is one workload there, with as many pods as the cluster's own autoscaler wants. Its
objects carry labels that say whose they are, and nothing else about them is remembered: the next
worker finds them by these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow

from backend.domain.configuration import Scaling
from backend.domain.errors import Invalid, NotAllowed
from backend.domain.server import KUBERNETES
from backend.infra.settings import Settings
from workers.serving.containers import MODELS, Container, Containerised, ContainerOrder, Images
from workers.serving.engine import Engine
from workers.serving.engines.container import ContainerImage
from workers.serving.engines.vllm import Vllm
from workers.serving.launchers import kubernetes_manifests as manifests
from workers.serving.launchers.fetched_log import FetchedLog
from workers.serving.launchers.kubernetes_api import Cluster, Kind
from workers.serving.launchers.kubernetes_log import PodLog
from workers.serving.launchers.kubernetes_view import (
    Mirror,
    replica_of,
    sight_deployment,
    sight_inference_service,
)
from workers.serving.launchers.launcher import STOP_SECONDS, Order, Place, Sighting, Wanted
from workers.serving.preparation import Needs

JSON = dict[str, Any]

_ENGINE_PORT = 8000


@dataclass(frozen=True)
class _Mirrors:
    workloads: Mirror
    services: Mirror
    pods: Mirror


class Kubernetes:
    """Makes, finds and removes workloads in one namespace, as a `Launcher`."""

    engines = (ContainerImage.name, Vllm.name)
    needs = Needs(environment=False, files=False)
    ends_with_platform = False

    def __init__(self, settings: Settings, cluster: Cluster, secret: Callable[[str], str]) -> None:
        """`secret` opens the connection of a name for a container's environment."""
        self.server = f"{KUBERNETES}:{cluster.namespace}"
        self._settings = settings
        self._cluster = cluster
        self._secret = secret
        self._kserve = settings.kubernetes_shape == "kserve"
        self._main = Kind.INFERENCE_SERVICE if self._kserve else Kind.DEPLOYMENT
        self._installation = hashlib.sha256(b"installation\0" + settings.secret_key).hexdigest()[
            :16
        ]
        selector = manifests.selector(self._installation)
        self._mirrors = _Mirrors(
            workloads=Mirror(cluster, self._main, selector),
            services=Mirror(cluster, Kind.SERVICE, selector),
            pods=Mirror(cluster, Kind.POD, selector),
        )
        self._logs: dict[UUID, PodLog] = {}

    def bounds(self, scaling: Scaling) -> tuple[int, int]:
        """One workload, whose pods the cluster counts; none at times where that is not its own."""
        if self._kserve:
            return 1, 1
        return min(1, scaling.min_replicas), 1

    def place(self, wanted: Wanted, cursor: Cursor[DictRow]) -> Place:  # noqa: ARG002
        """The cluster finds room by itself, and says later where the workload answers."""
        return Place(self.server, "")

    def start(self, order: Order) -> str:
        """Makes the workload's objects, those that are not there. Raises `DomainError`."""
        workload = self._workload(order)
        secret = manifests.secret(workload)
        if secret is not None:
            self._ensure(Kind.SECRET, secret)
        if self._kserve:
            self._mirrors.workloads.learn(
                self._ensure(self._main, manifests.inference_service(workload))
            )
        else:
            self._mirrors.workloads.learn(self._ensure(self._main, manifests.deployment(workload)))
            self._mirrors.services.learn(self._ensure(Kind.SERVICE, manifests.service(workload)))
            autoscaler = manifests.autoscaler(workload)
            if autoscaler is not None:
                self._ensure(Kind.AUTOSCALER, autoscaler)
        return workload.container.version

    def devices(self, order: Order) -> list[str]:  # noqa: ARG002
        """The cluster chooses them, for each pod anew."""
        return []

    def find(self, replica_id: UUID, *, search: bool = False) -> Sighting:  # noqa: ARG002
        """What the cluster says of it. Raises `Unreachable` before it has said anything."""
        name = manifests.name_of(replica_id)
        workload = self._mirrors.workloads.get(name)
        if workload is None:
            return Sighting(known=False, running=False)
        pods = self._pods(replica_id)
        if self._kserve:
            seen = sight_inference_service(workload, pods)
        else:
            seen = sight_deployment(workload, self._mirrors.services.get(name), pods)
        if not seen.running:
            self.log(replica_id).refresh()
        return seen

    def stop(self, replica_id: UUID, *, seconds: float = STOP_SECONDS) -> None:  # noqa: ARG002
        """Deletes the workload's objects; the cluster lets its pods finish and removes them."""
        # The lines of pods that are being deleted can soon be had no more.
        self.log(replica_id).refresh()
        name = manifests.name_of(replica_id)
        around = [] if self._kserve else [Kind.AUTOSCALER, Kind.SERVICE]
        for kind in (*around, self._main, Kind.SECRET):
            found = self._cluster.read(kind, name)
            if found is not None and self._is_ours(found):
                self._cluster.delete(kind, name, found["metadata"]["uid"])
        self._logs.pop(replica_id, None)

    def speaks(self, engine: Engine) -> Engine:
        """As it is."""
        return engine

    def leaving(self, server: str) -> str | None:  # noqa: ARG002
        """Nobody drains it here."""
        return None

    def log(self, replica_id: UUID) -> FetchedLog:
        """The output of all its pods."""
        log = self._logs.get(replica_id)
        if log is None:
            path = self._settings.data / "engines" / str(replica_id) / "log"
            log = PodLog(path, self._cluster, lambda: self._pods(replica_id))
            self._logs[replica_id] = log
        return log

    def replicas(self) -> set[UUID]:
        """Every replica of this installation that the cluster has something of."""
        return {UUID(replica_of(found)) for found in self._mirrors.workloads.all()}

    def close(self) -> None:
        """Ends the watching."""
        for mirror in (self._mirrors.workloads, self._mirrors.services, self._mirrors.pods):
            mirror.close()

    def _pods(self, replica_id: UUID) -> list[JSON]:
        return self._mirrors.pods.having(manifests.REPLICA, str(replica_id))

    def _ensure(self, kind: Kind, manifest: JSON) -> JSON:
        """The object, made now or by a worker before. Raises `NotAllowed` for somebody else's."""
        name = manifest["metadata"]["name"]
        made = self._cluster.create(kind, manifest) or self._cluster.read(kind, name)
        if made is None:  # deleted in between; the next look makes it
            made = self._cluster.create(kind, manifest)
        if made is None or not self._is_ours(made):
            raise NotAllowed(
                f"There is a {kind} '{name}' in the namespace {self._cluster.namespace} that is "
                "not of this Loggia.",
                remedy="Remove it, or give this Loggia a namespace of its own; then redeploy.",
            )
        return made

    def _is_ours(self, found: JSON) -> bool:
        labels = found["metadata"].get("labels", {})
        return bool(labels.get(manifests.INSTALLATION) == self._installation)

    def _workload(self, order: Order) -> manifests.Workload:
        settings, wanted = self._settings, order.wanted
        return manifests.Workload(
            owner=manifests.Owner(
                installation=self._installation,
                deployment_id=wanted.deployment_id,
                model_id=wanted.model_id,
                revision=wanted.revision,
                replica_id=wanted.replica_id,
            ),
            container=self._container(order),
            configuration=wanted.configuration,
            start_seconds=settings.engine_start_seconds,
            drain_seconds=settings.engine_drain_seconds,
            files=self._files(order),
            service_account=settings.kubernetes_service_account,
            pull_secret=settings.kubernetes_pull_secret,
            scaling_metric=settings.kubernetes_scaling_metric,
        )

    def _container(self, order: Order) -> Container:
        engine = order.prepared.engine
        if not isinstance(engine, Containerised):
            raise Invalid(
                f"engine: '{engine.name}' does not run on Kubernetes.",
                remedy="Choose another engine or another server.",
                field="engine",
            )
        subject = order.prepared.subject
        launch = order.prepared.launch(
            replica_id=order.wanted.replica_id,
            port=_ENGINE_PORT,
            configuration=order.wanted.configuration,
            directory=MODELS / (subject.whole.manifest_sha256 or ""),
            adapter_directory=(
                MODELS / (subject.version.manifest_sha256 or "") if subject.base else None
            ),
            host="0.0.0.0",  # noqa: S104
        )
        images = Images(
            vllm={
                "gpu": self._settings.kubernetes_vllm_image,
                "cpu": self._settings.kubernetes_vllm_cpu_image,
            }
        )
        return engine.container(ContainerOrder(launch, subject, images, self._secret))

    def _files(self, order: Order) -> manifests.FilesFetch | None:
        subject = order.prepared.subject
        versions = [subject.whole] if subject.base is None else [subject.whole, subject.version]
        wanted = [v.manifest_sha256 for v in versions if v.manifest_sha256 is not None]
        if not wanted:
            return None
        settings = self._settings
        if settings.kubernetes_image is None:
            raise NotAllowed(
                "Pods have nothing to fetch model files with.",
                remedy="Name the image of this Loggia in LOGGIA_KUBERNETES_IMAGE, then redeploy.",
            )
        if not settings.object_store.startswith("s3://"):
            raise NotAllowed(
                "Pods cannot reach the object store, which is a folder of this machine.",
                remedy="Keep files in an S3-compatible store (LOGGIA_OBJECT_STORE_URL) to serve "
                "them on Kubernetes.",
            )
        environment = {"LOGGIA_OBJECT_STORE_URL": settings.object_store}
        if settings.object_store_endpoint:
            environment["LOGGIA_OBJECT_STORE_ENDPOINT"] = settings.object_store_endpoint
        return manifests.FilesFetch(
            image=settings.kubernetes_image,
            environment=environment,
            secret=settings.kubernetes_object_store_secret,
            claim=settings.kubernetes_models_claim,
            manifests=wanted,
        )


def connect(settings: Settings, namespace: str, secret: Callable[[str], str]) -> Kubernetes:
    """The cluster that the settings name. Raises `Invalid`."""
    kubeconfig: Path | None = settings.kubernetes_kubeconfig
    cluster = Cluster(
        namespace,
        kubeconfig=kubeconfig,
        context=settings.kubernetes_context,
    )
    return Kubernetes(settings, cluster, secret)
